// SPDX-License-Identifier: Apache-2.0

package import ControlAPIProtos
internal import FoundationEssentials
package import NodeSync
internal import Routing
package import SPIFFE
internal import SwiftProtobuf

extension Revision {
    /// Reads the wire form.
    ///
    /// - Throws: `WireError` if the epoch has not exactly 16 bytes.
    package init(parsing message: Signet_Node_V1alpha1_Revision) throws(WireError) {
        do {
            self.init(
                epoch: try Epoch(bytes: Array(message.epoch)),
                number: message.number
            )
        } catch {
            throw .field("revision.epoch", error.description)
        }
    }

    /// The wire form.
    package var message: Signet_Node_V1alpha1_Revision {
        .with {
            $0.epoch = Data(epoch.bytes)
            $0.number = number
        }
    }
}

extension ResourceKey {
    init(
        parsing type: Signet_Node_V1alpha1_ResourceType,
        _ name: String
    ) throws(WireError) {
        guard let raw = UInt8(exactly: type.rawValue), let type = ResourceType(rawValue: raw) else {
            throw .field("resource.type", "\(type.rawValue) is not known to this version")
        }
        guard !name.isEmpty, name.utf8.count <= Self.nameBytesMax else {
            throw .field("resource.name", "1 to \(Self.nameBytesMax) bytes")
        }
        self.init(type, name)
    }

    var messageType: Signet_Node_V1alpha1_ResourceType {
        Signet_Node_V1alpha1_ResourceType(rawValue: Int(type.rawValue)) ?? .unspecified
    }
}

extension SyncAcknowledgement {
    /// Reads the wire form.
    package init(parsing message: Signet_Node_V1alpha1_Ack) throws(WireError) {
        guard message.refused.count <= SyncLimits.refusalsReportedMax else {
            throw .tooMany("ack.refused", max: SyncLimits.refusalsReportedMax)
        }
        var refused: [ResourceRefusal] = []
        for refusal in message.refused {
            refused.append(
                ResourceRefusal(
                    key: try ResourceKey(parsing: refusal.type, refusal.name),
                    reason: String(refusal.reason.prefix(500))
                )
            )
        }
        self.init(applied: try Revision(parsing: message.applied), refused: refused)
    }

    /// The wire form.
    package var message: Signet_Node_V1alpha1_Ack {
        .with {
            $0.applied = applied.message
            $0.refused = refused.map { refusal in
                .with {
                    $0.type = refusal.key.messageType
                    $0.name = refusal.key.name
                    $0.reason = refusal.reason
                }
            }
        }
    }
}

extension SyncMessage {
    /// The wire form.
    package var message: Signet_Node_V1alpha1_SyncResponse {
        .with {
            switch self {
            case .delta(let delta):
                $0.delta = .with {
                    $0.from = Revision(epoch: delta.epoch, number: delta.from).message
                    $0.to = Revision(epoch: delta.epoch, number: delta.to).message
                    $0.changes = delta.changes.map(\.message)
                }
            case .snapshotBegin(let revision):
                $0.snapshotBegin = .with { $0.to = revision.message }
            case .snapshotPage(let index, let resources):
                $0.snapshotPage = .with {
                    $0.index = UInt32(clamping: index)
                    $0.resources = resources.map {
                        ResourceChange.upsert($0.key, payload: $0.payload).message
                    }
                }
            case .snapshotEnd(let count):
                $0.snapshotEnd = .with { $0.resourceCount = UInt64(count) }
            case .watermark(let revision):
                $0.watermark = .with { $0.to = revision.message }
            }
        }
    }

    /// Reads the messages that carry state; nil for those that do not (welcome, query, endpoints,
    /// checkpoint).
    ///
    /// - Throws: `WireError`; then nothing of the message may be used and the stream must end.
    package init?(
        parsing message: Signet_Node_V1alpha1_SyncResponse
    ) throws(WireError) {
        switch message.message {
        case .delta(let delta):
            let from = try Revision(parsing: delta.from)
            let to = try Revision(parsing: delta.to)
            guard from.epoch == to.epoch else {
                throw .field("delta.to", "its epoch is not that of delta.from")
            }
            var changes: [ResourceChange] = []
            for change in delta.changes { changes.append(try ResourceChange(parsing: change)) }
            self = .delta(
                SyncDelta(epoch: to.epoch, from: from.number, to: to.number, changes: changes)
            )
        case .snapshotBegin(let begin): self = .snapshotBegin(try Revision(parsing: begin.to))
        case .snapshotPage(let page):
            var resources: [Resource] = []
            for resource in page.resources {
                guard case .upsert(let key, let payload) = try ResourceChange(parsing: resource)
                else { throw .field("snapshot_page", "a snapshot removes nothing") }
                resources.append(Resource(key: key, payload: payload))
            }
            self = .snapshotPage(index: Int(page.index), resources: resources)
        case .snapshotEnd(let end):
            self = .snapshotEnd(resourceCount: Int(clamping: end.resourceCount))
        case .watermark(let mark): self = .watermark(try Revision(parsing: mark.to))
        case .checkpoint, .observedEndpoints, .query, .welcome: return nil
        case nil: throw .missing("message")
        }
    }
}

extension ResourceChange {
    var message: Signet_Node_V1alpha1_Resource {
        .with {
            $0.type = key.messageType
            $0.name = key.name
            switch self {
            case .remove: $0.removed = true
            case .upsert(_, let payload): $0.payload = Data(payload)
            }
        }
    }

    init(parsing message: Signet_Node_V1alpha1_Resource) throws(WireError) {
        let key = try ResourceKey(parsing: message.type, message.name)
        if message.removed {
            guard message.payload.isEmpty else {
                throw .field("resource.payload", "a removed resource has none")
            }
            self = .remove(key)
        } else {
            self = .upsert(key, payload: Array(message.payload))
        }
    }
}

/// The payloads of resources, by type.
package enum ResourcePayload: Hashable, Sendable {
    case bundle(TrustBundle)
    case entry(RegistrationEntry)
    /// The bundle of another trust domain than the server's.
    case federatedBundle(TrustBundle)
    case proxy(ProxyState)
    /// A revocation under the name that its server gave it.
    case revocation(name: String, Revocation)
    /// The list of an authority, read but not verified, and named by what it says of its signer.
    case revocationList(CertificateRevocationList)

    /// Reads a payload whose type is `key`'s.
    ///
    /// - Throws: `WireError`; the resource is then refused by name.
    package init(_ key: ResourceKey, _ payload: [UInt8]) throws(WireError) {
        switch key.type {
        case .bundle:
            let message: Signet_Node_V1alpha1_TrustBundle
            do { message = try .init(serializedBytes: payload) } catch {
                throw .field("\(key)", "not a TrustBundle")
            }
            let bundle = try TrustBundle(parsing: message)
            guard bundle.trustDomain.name == key.name else {
                throw .field("\(key)", "it holds the bundle of another trust domain")
            }
            self = .bundle(bundle)
        case .entry:
            let message: Signet_Node_V1alpha1_RegistrationEntry
            do { message = try .init(serializedBytes: payload) } catch {
                throw .field("\(key)", "not a RegistrationEntry")
            }
            let entry = try RegistrationEntry(parsing: message)
            guard entry.id == key.name else { throw .field("\(key)", "it holds another entry") }
            self = .entry(entry)
        case .federatedBundle: self = .federatedBundle(try Self.federatedBundle(key, payload))
        case .proxy:
            let message: Signet_Node_V1alpha1_ProxyState
            do { message = try .init(serializedBytes: payload) } catch {
                throw .field("\(key)", "not a ProxyState")
            }
            let state = try ProxyState(parsing: message)
            guard state.proxy.reference == key.name else {
                throw .field("\(key)", "it holds another proxy")
            }
            self = .proxy(state)
        case .revocation:
            let message: Signet_Node_V1alpha1_Revocation
            do { message = try .init(serializedBytes: payload) } catch {
                throw .field("\(key)", "not a Revocation")
            }
            self = .revocation(name: key.name, try Revocation(parsing: message))
        case .revocationList:
            let list: CertificateRevocationList
            do throws(RevocationListError) {
                list = try CertificateRevocationList(der: payload)
            } catch {
                throw .field("\(key)", error.description)
            }
            guard Hexadecimal.text(list.authorityKeyID) == key.name else {
                throw .field("\(key)", "it is the list of another authority")
            }
            self = .revocationList(list)
        case .document:
            throw .field("\(key)", "this version does not know the type")
        }
    }

    /// As a document, because a TrustBundle on the wire has no `kid`.
    private static func federatedBundle(
        _ key: ResourceKey,
        _ payload: [UInt8]
    ) throws(WireError) -> TrustBundle {
        let trustDomain: TrustDomain
        do throws(SPIFFEIDError) { trustDomain = try TrustDomain(key.name) } catch {
            throw .field("\(key)", error.description)
        }
        do throws(BundleDocumentError) {
            // A key of a kind that this version does not know is left out, as of any bundle (B-4).
            return try BundleDocument(parsing: payload).bundle(of: trustDomain)
        } catch {
            throw .field("\(key)", error.description)
        }
    }

    package var resource: Resource {
        get throws(WireError) {
            do {
                switch self {
                case .bundle(let bundle):
                    return Resource(
                        key: ResourceKey(.bundle, bundle.trustDomain.name),
                        payload: try bundle.message.serializedBytes()
                    )
                case .entry(let entry):
                    return Resource(
                        key: ResourceKey(.entry, entry.id),
                        payload: try entry.message.serializedBytes()
                    )
                case .federatedBundle(let bundle):
                    return Resource(
                        key: ResourceKey(.federatedBundle, bundle.trustDomain.name),
                        payload: try bundle.document()
                    )
                case .proxy(let state):
                    return Resource(
                        key: ResourceKey(.proxy, state.proxy.reference),
                        payload: try state.message.serializedBytes()
                    )
                case .revocation(let name, let revocation):
                    return Resource(
                        key: ResourceKey(.revocation, name),
                        payload: try revocation.message.serializedBytes()
                    )
                case .revocationList(let list):
                    return Resource(
                        key: ResourceKey(.revocationList, Hexadecimal.text(list.authorityKeyID)),
                        payload: list.der
                    )
                }
            } catch {
                throw .field("resource", "it cannot be encoded")
            }
        }
    }
}
