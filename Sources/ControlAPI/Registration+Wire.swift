// SPDX-License-Identifier: Apache-2.0

package import ControlAPIProtos
package import FoundationEssentials
package import SPIFFE
internal import SwiftProtobuf

/// Why a message from the other end cannot be read; such a message is refused whole.
package enum WireError: Error, Hashable, Sendable, CustomStringConvertible {
    /// A field breaks a rule of its type.
    case field(String, String)
    /// A field that must be set is not.
    case missing(String)
    /// More of something than the limit allows.
    case tooMany(String, max: Int)

    package var description: String {
        switch self {
        case .field(let name, let rule): "\(name): \(rule)"
        case .missing(let name): "\(name) is missing"
        case .tooMany(let name, let max): "\(name): more than \(max)"
        }
    }
}

extension RegistrationEntry {
    /// Most selectors of either kind in one entry.
    package static let selectorsMax = 64

    /// Reads the wire form.
    ///
    /// - Throws: `WireError` naming the first field that cannot be read.
    package init(parsing message: Signet_Node_V1alpha1_RegistrationEntry) throws(WireError) {
        guard !message.id.isEmpty else { throw .missing("entry.id") }
        guard !message.spiffeID.isEmpty else { throw .missing("entry.spiffe_id") }
        var bounds: [String: VariableBound] = [:]
        for (name, bound) in message.variableBounds {
            bounds[name] = try VariableBound(parsing: bound, variable: name)
        }
        // Of a template nobody has said which server is meant.
        guard !message.downstream || !message.spiffeID.contains("{") else {
            throw .field("entry.downstream", "only an entry with a literal ID may be downstream")
        }
        // A proxy would refuse its whole trust for one such entry.
        guard message.federatesWith.count <= Self.federatesWithMax else {
            throw .tooMany("entry.federates_with", max: Self.federatesWithMax)
        }
        self.init(
            id: message.id,
            namespace: message.namespace,
            name: message.name,
            revision: message.revision,
            createdAt: Date(unixMilliseconds: message.createdAtUnixMilliseconds),
            spiffeID: message.spiffeID,
            variableBounds: bounds,
            nodeSelectors: try selectors(message.nodeSelectors, "entry.node_selectors"),
            workloadSelectors: try selectors(message.workloadSelectors, "entry.workload_selectors"),
            x509SVIDTTLSeconds: message.x509SvidTtlSeconds == 0
                ? nil : Int(message.x509SvidTtlSeconds),
            jwtSVIDTTLSeconds: message.jwtSvidTtlSeconds == 0
                ? nil : Int(message.jwtSvidTtlSeconds),
            dnsNames: message.dnsNames,
            federatesWith: message.federatesWith,
            hint: message.hint,
            labels: message.labels,
            expires: message.expiresUnixMilliseconds == 0
                ? nil : Date(unixMilliseconds: message.expiresUnixMilliseconds),
            isDownstream: message.downstream
        )
    }

    /// The wire form.
    package var message: Signet_Node_V1alpha1_RegistrationEntry {
        .with {
            $0.id = id
            $0.namespace = namespace
            $0.name = name
            $0.revision = revision
            $0.createdAtUnixMilliseconds = createdAt.unixMilliseconds
            $0.spiffeID = spiffeID
            $0.variableBounds = variableBounds.mapValues(\.message)
            $0.nodeSelectors = nodeSelectors.map(\.description)
            $0.workloadSelectors = workloadSelectors.map(\.description)
            $0.x509SvidTtlSeconds = UInt32(clamping: x509SVIDTTLSeconds ?? 0)
            $0.jwtSvidTtlSeconds = UInt32(clamping: jwtSVIDTTLSeconds ?? 0)
            $0.dnsNames = dnsNames
            $0.federatesWith = federatesWith
            $0.hint = hint
            $0.labels = labels
            $0.expiresUnixMilliseconds = expires?.unixMilliseconds ?? 0
            $0.downstream = isDownstream
        }
    }
}

extension VariableBound {
    init(
        parsing message: Signet_Node_V1alpha1_VariableBound,
        variable: String
    ) throws(WireError) {
        switch message.bound {
        case .agentAsserted(true): self = .agentAsserted
        case .prefix(let prefix): self = .prefix(prefix)
        case .values(let list): self = .values(list.values)
        case .agentAsserted(false), nil: throw .missing("entry.variable_bounds.\(variable)")
        }
    }

    var message: Signet_Node_V1alpha1_VariableBound {
        .with {
            switch self {
            case .agentAsserted: $0.bound = .agentAsserted(true)
            case .prefix(let prefix): $0.bound = .prefix(prefix)
            case .values(let values): $0.bound = .values(.with { $0.values = values })
            }
        }
    }
}

extension TrustBundle {
    /// Reads the wire form.
    ///
    /// - Throws: `WireError` naming the first field that cannot be read.
    package init(parsing message: Signet_Node_V1alpha1_TrustBundle) throws(WireError) {
        guard message.x509Authorities.count <= Self.authoritiesMax else {
            throw .tooMany("bundle.x509_authorities", max: Self.authoritiesMax)
        }
        let trustDomain: TrustDomain
        do { trustDomain = try TrustDomain(message.trustDomain) } catch {
            throw .field("bundle.trust_domain", error.description)
        }
        guard message.jwtAuthorities.count <= Self.authoritiesMax else {
            throw .tooMany("bundle.jwt_authorities", max: Self.authoritiesMax)
        }
        guard message.x509Intermediates.count <= Self.authoritiesMax else {
            throw .tooMany("bundle.x509_intermediates", max: Self.authoritiesMax)
        }
        let certificates = message.x509Authorities.map { Array($0) }
        let intermediates = message.x509Intermediates.map { Array($0) }
        self.init(
            trustDomain: trustDomain,
            x509Authorities: certificates,
            x509Intermediates: intermediates,
            jwtAuthorities: try JWTAuthority.list(
                parsing: message.jwtAuthorities,
                beside: certificates + intermediates
            ),
            sequenceNumber: message.sequenceNumber,
            refreshHintSeconds: Int(message.refreshHintSeconds)
        )
    }

    /// The wire form.
    package var message: Signet_Node_V1alpha1_TrustBundle {
        .with {
            $0.trustDomain = trustDomain.name
            $0.x509Authorities = x509Authorities.map { Data($0) }
            $0.sequenceNumber = sequenceNumber
            $0.refreshHintSeconds = UInt32(clamping: refreshHintSeconds)
            $0.jwtAuthorities = jwtAuthorities.map(\.message)
            $0.x509Intermediates = x509Intermediates.map { Data($0) }
        }
    }
}

extension JWTAuthority {
    private static let field = "bundle.jwt_authorities"

    /// Reads the wire form of a bundle's keys; their IDs are their thumbprints.
    ///
    /// A key of a kind that is not known here is left out, which only narrows trust; so is one whose
    /// authority may be among the certificates that cannot be read here.
    ///
    /// - Throws: `WireError` for a key whose authority is not beside it, or has another one.
    fileprivate static func list(
        parsing messages: [Signet_Node_V1alpha1_JWTAuthority],
        beside certificates: [[UInt8]]
    ) throws(WireError) -> [JWTAuthority] {
        guard !messages.isEmpty else { return [] }
        let readable = certificates.compactMap { try? LeafCertificate(der: $0) }
        let authorities = Set(readable.compactMap(\.subjectKeyID))
        var seen: Set<[UInt8]> = []
        var keys: [JWTAuthority] = []
        for message in messages {
            let authority = Array(message.authorityKeyID)
            guard authorities.contains(authority) else {
                if readable.count < certificates.count { continue }
                throw .field(field, "a key of an authority that the bundle does not have")
            }
            guard seen.insert(authority).inserted else {
                throw .field(field, "an authority has two keys")
            }
            guard
                let key = try? JSONWebKey(
                    subjectPublicKeyInfo: Array(message.subjectPublicKeyInfo)
                ),
                let algorithm = JWSAlgorithm(rawValue: message.algorithm),
                algorithm.fits(key.kind)
            else { continue }
            guard !keys.contains(where: { $0.keyID == key.thumbprint }) else {
                throw .field(field, "a key stands there twice")
            }
            keys.append(
                JWTAuthority(
                    keyID: key.thumbprint,
                    key: key,
                    algorithm: algorithm,
                    authorityKeyID: authority
                )
            )
        }
        return keys
    }

    /// The wire form.
    fileprivate var message: Signet_Node_V1alpha1_JWTAuthority {
        .with {
            $0.subjectPublicKeyInfo = Data(key.subjectPublicKeyInfo)
            $0.algorithm = algorithm?.rawValue ?? ""
            $0.authorityKeyID = Data(authorityKeyID ?? [])
        }
    }
}

/// How much one attestation may show.
package enum AttestedSelectors {
    /// Most selectors of a node: those of its join token and the one of its name, with room for
    /// attestors that say more.
    package static let nodeMax = 256
    /// Most selectors of a process: a few for its user and program, two for each of its groups.
    package static let workloadMax = 1024
}

/// Reads selectors in their text form.
///
/// - Parameters:
///   - texts: `type:value` each.
///   - field: For the error.
///   - max: Most of them.
/// - Throws: `WireError` naming `field` and the rule broken.
/// - Returns: The selectors, in their order.
package func selectors(
    _ texts: [String],
    _ field: String,
    max: Int = RegistrationEntry.selectorsMax
) throws(WireError) -> [Selector] {
    guard texts.count <= max else { throw .tooMany(field, max: max) }
    var result: [Selector] = []
    for text in texts {
        do { result.append(try Selector(text)) } catch {
            throw .field(field, error.description)
        }
    }
    return result
}

extension Date {
    /// The moment `unixMilliseconds` after the epoch.
    package init(unixMilliseconds: Int64) {
        self.init(timeIntervalSince1970: Double(unixMilliseconds) / 1000)
    }

    /// Milliseconds since the epoch, rounded to the nearest; what no number of them says is the
    /// nearest that can be said.
    package var unixMilliseconds: Int64 {
        let milliseconds = (timeIntervalSince1970 * 1000).rounded()
        return Int64(exactly: milliseconds) ?? (milliseconds < 0 ? .min : .max)
    }
}
