// SPDX-License-Identifier: Apache-2.0

package import ControlAPI
package import ControlAPIProtos
internal import FoundationEssentials
package import NodeSync
internal import Reactor
internal import Routing
package import SPIFFE
internal import SwiftProtobuf

/// Limits of what an agent says, so that a broken one does not fill the proxy's memory.
package enum AgentMessageLimits {
    /// Largest message: 10,000 revocations and the bundles of some trust domains.
    package static let messageBytesMax = 32 << 20
    /// Most bundles: its own trust domain's and those of 64 that entries federate with, each.
    package static let bundlesMax = 1_024
    /// Most revocations in force at a time (docs/decisions/0009-data-path.md).
    package static let revocationsMax = 20_000
    /// Longest private key: RSA-4096 in PKCS#8 has 2.4 KiB.
    package static let keyBytesMax = 4 * 1024
}

extension ProxyTrust {
    /// Reads the wire form, all of it or nothing.
    ///
    /// - Throws: `WireError` naming the first field that cannot be read.
    package init(parsing message: Signet_Proxy_V1alpha1_Trust) throws(WireError) {
        try requireKnown(message, "trust")
        let trustDomain: TrustDomain
        do { trustDomain = try TrustDomain(message.trustDomain) } catch {
            throw .field("trust.trust_domain", error.description)
        }
        guard message.bundles.count <= AgentMessageLimits.bundlesMax else {
            throw .tooMany("trust.bundles", max: AgentMessageLimits.bundlesMax)
        }
        var bundles: [TrustDomain: TrustBundle] = [:]
        for message in message.bundles {
            let bundle = try TrustBundle(parsing: message)
            guard bundles.updateValue(bundle, forKey: bundle.trustDomain) == nil else {
                throw .field("trust.bundles", "trust domain \(bundle.trustDomain) comes twice")
            }
        }
        guard bundles[trustDomain] != nil else { throw .missing("trust.bundles.\(trustDomain)") }
        guard message.revocations.count <= AgentMessageLimits.revocationsMax else {
            throw .tooMany("trust.revocations", max: AgentMessageLimits.revocationsMax)
        }
        var revocations: [SPIFFEID: Date] = [:]
        var authorities: [[UInt8]: AuthorityStanding] = [:]
        var leaves: [PeerRevocations.Leaf: Date] = [:]
        for message in message.revocations {
            switch try Revocation(parsing: message) {
            case .authority(let keyID): authorities[keyID] = .revoked
            case .identity(let id, let before):
                revocations[id] = max(revocations[id] ?? .distantPast, before)
            case .taintedAuthority(let keyID):
                if authorities[keyID] == nil { authorities[keyID] = .tainted }
            case .leaf(let authorityKeyID, let serial, let notAfter):
                leaves[.init(authorityKeyID: authorityKeyID, serial: serial)] = notAfter
            case .node:
                throw .field("trust.revocations", "a target that this version does not know")
            }
        }
        guard message.granted.count <= Proxy.identitiesMax else {
            throw .tooMany("trust.granted", max: Proxy.identitiesMax)
        }
        var granted: Set<SPIFFEID> = []
        for text in message.granted {
            do { granted.insert(try SPIFFEID(text)) } catch {
                throw .field("trust.granted", error.description)
            }
        }
        self.init(
            trustDomain: trustDomain,
            bundles: bundles,
            revocations: revocations,
            authorities: authorities,
            leaves: leaves,
            granted: granted,
            federations: try Self.federations(message, of: granted, in: trustDomain)
        )
    }

    private static func federations(
        _ message: Signet_Proxy_V1alpha1_Trust,
        of granted: Set<SPIFFEID>,
        in own: TrustDomain
    ) throws(WireError) -> [SPIFFEID: Set<TrustDomain>] {
        let field = "trust.federations"
        var federations: [SPIFFEID: Set<TrustDomain>] = [:]
        for message in message.federations {
            try requireKnown(message, field)
            let id: SPIFFEID
            do { id = try SPIFFEID(message.spiffeID) } catch {
                throw .field(field + ".spiffe_id", error.description)
            }
            // So that there are no more of them than IDs.
            guard granted.contains(id) else { throw .field(field, "\(id) is not granted") }
            guard !message.trustDomains.isEmpty else { throw .missing(field + ".trust_domains") }
            guard message.trustDomains.count <= RegistrationEntry.federatesWithMax else {
                throw .tooMany(field + ".trust_domains", max: RegistrationEntry.federatesWithMax)
            }
            var others: Set<TrustDomain> = []
            for name in message.trustDomains {
                let other: TrustDomain
                do { other = try TrustDomain(name) } catch {
                    throw .field(field + ".trust_domains", error.description)
                }
                guard other != own, others.insert(other).inserted else {
                    throw .field(field, "\(id) names trust domain \(other) twice, or its own")
                }
            }
            guard federations.updateValue(others, forKey: id) == nil else {
                throw .field(field, "\(id) comes twice")
            }
        }
        return federations
    }
}

/// A state as it came: read, but judged by nothing else that is known.
package struct ReceivedState: Sendable {
    package let sequence: UInt64
    package let revision: Revision
    package let state: ProxyState
    /// Without a value: the proxy keeps the key that it has.
    package let identities: [SPIFFEID: ProxyIdentity?]

    /// Reads the wire form, all of it or nothing.
    ///
    /// - Throws: `WireError` naming the first field that cannot be read.
    package init(parsing message: Signet_Proxy_V1alpha1_State) throws(WireError) {
        try requireKnown(message, "state")
        sequence = message.sequence
        revision = try Revision(parsing: message.revision)
        let declared: Signet_Node_V1alpha1_ProxyState
        do { declared = try .init(serializedBytes: message.proxy) } catch {
            throw .field("state.proxy", "not a ProxyState")
        }
        state = try ProxyState(parsing: declared)
        identities = try Self.identities(of: message)
        for id in identities.keys where !state.proxy.identities.contains(id) {
            throw .field("state.identities", "\(id) is not the proxy's")
        }
    }

    /// Reads the identities of a state, whatever else is in it.
    ///
    /// - Throws: `WireError` naming the first field that cannot be read.
    package static func identities(
        of message: Signet_Proxy_V1alpha1_State
    ) throws(WireError) -> [SPIFFEID: ProxyIdentity?] {
        var identities: [SPIFFEID: ProxyIdentity?] = [:]
        for message in message.identities {
            let (id, identity) = try Self.identity(message)
            guard identities.updateValue(identity, forKey: id) == nil else {
                throw .field("state.identities", "\(id) comes twice")
            }
        }
        return identities
    }

    private static func identity(
        _ message: Signet_Proxy_V1alpha1_Identity
    ) throws(WireError) -> (SPIFFEID, ProxyIdentity?) {
        let field = "state.identities"
        try requireKnown(message, field)
        let id: SPIFFEID
        do { id = try SPIFFEID(message.spiffeID) } catch {
            throw .field(field + ".spiffe_id", error.description)
        }
        let (chain, key) = (message.certificateChain, message.privateKeyPkcs8)
        if chain.isEmpty, key.isEmpty { return (id, nil) }
        guard !chain.isEmpty, !key.isEmpty else {
            throw .field(field, "\(id) has a chain or a key without the other")
        }
        guard chain.count <= PeerVerifier.chainCountMax,
            chain.reduce(0, { $0 + $1.count }) <= PeerVerifier.chainBytesMax,
            key.count <= AgentMessageLimits.keyBytesMax
        else { throw .field(field, "the chain or the key of \(id) is too large") }
        let leaf: LeafCertificate
        do {
            leaf = try LeafCertificate(der: Array(chain[0]))
            guard try leaf.checkSVIDRules() == id else {
                throw WireError.field(field, "the certificate is not that of \(id)")
            }
        } catch let error as WireError {
            throw error
        } catch {
            throw .field(field + ".certificate_chain", "\(error)")
        }
        return (
            id,
            ProxyIdentity(
                id: id,
                certificateChain: chain.map { Array($0) },
                privateKeyPKCS8: Array(key),
                authorityKeyID: leaf.authorityKeyID ?? [],
                serial: leaf.serial,
                notBefore: leaf.notBefore,
                notAfter: leaf.notAfter
            )
        )
    }
}

/// Reads the wire form of observed endpoints, all of it or nothing.
///
/// - Throws: `WireError` naming the first field that cannot be read.
package func proxyEndpoints(
    parsing message: Signet_Proxy_V1alpha1_Endpoints
) throws(WireError) -> ProxyEndpoints {
    try requireKnown(message, "endpoints")
    let field = "endpoints.ports"
    guard message.ports.count <= EndpointDirectory.portsMax else {
        throw .tooMany(field, max: EndpointDirectory.portsMax)
    }
    var result: ProxyEndpoints = [:]
    for message in message.ports {
        try requireKnown(message, field)
        let list = try ObservedEndpoints(parsing: message)
        guard result[list.port] == nil else { throw .field(field, "a port comes twice") }
        // It was read already.
        result[list.port] = list.addresses.compactMap { SocketAddress($0) }
    }
    return result
}

extension ProxyQuestion {
    /// Reads the wire form; nil for a question that this version does not know.
    package init?(parsing message: Signet_Node_V1alpha1_ProxyQuery) {
        switch message.kind {
        case .connections: self = .connections
        case .counters: self = .counters
        case .decision(let query): self = .decision(id: query.id)
        case nil: return nil
        }
    }
}

/// Refuses fields that this version does not know: they may narrow what it would do.
private func requireKnown(
    _ message: some SwiftProtobuf.Message,
    _ field: String
) throws(WireError) {
    guard message.unknownFields.data.isEmpty else {
        throw .field(field, "it has a field that this version does not know; update the proxy")
    }
}
