// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Authorization
internal import FoundationEssentials
internal import Glibc
internal import MTLSProxy
internal import Reactor
internal import Routing
internal import SPIFFE
internal import SwiftASN1

extension SignetBenchProxy {
    /// The snapshot that the flags describe.
    func snapshot(_ provider: TLSProvider) throws -> ProxySnapshot {
        let identity = TLSIdentity(
            chain: try Self.pem(certificate).map(\.derBytes),
            privateKeyPKCS8: try Self.pem(key).first?.derBytes ?? []
        )
        let id = try ownID(identity)
        let bundle = TrustBundle(
            trustDomain: id.trustDomain,
            x509Authorities: try Self.pem(authorities).map(\.derBytes),
            x509Intermediates: [],
            sequenceNumber: 1,
            refreshHintSeconds: 0
        )
        let trust = TLSAuthorities(provider: provider, bundles: [id.trustDomain: bundle])
        let revocations = try revocations(in: id.trustDomain)
        let context = try TLSContext(
            provider: provider,
            role: side == .client ? .client : .server,
            identities: [identity],
            groups: [try group()]
        )
        return ProxySnapshot(
            generation: 1,
            revision: 1,
            inbound: side == .server ? [try inbound(id, context, trust, revocations)] : [],
            outbound: side == .client ? [try outbound(id, context, trust, revocations)] : [],
            recording: accessLog == nil ? .denials : .all
        )
    }

    private func inbound(
        _ id: SPIFFEID,
        _ context: TLSContext,
        _ trust: TLSAuthorities,
        _ revocations: PeerRevocations
    ) throws -> InboundRoute {
        let forward = try address(forward)
        return InboundRoute(
            listener: InboundListener(
                name: "in",
                address: try address(listen),
                identity: id,
                trafficProtocol: try trafficProtocol(),
                forward: .address(forward),
                forwardUIDs: [getuid()],
                workloadPort: forward.port
            ),
            context: context,
            requirements: PeerRequirements(
                authorities: trust,
                in: id.trustDomain,
                revocations: revocations
            ),
            policies: try CompiledPolicySet(try policies())
        )
    }

    private func outbound(
        _ id: SPIFFEID,
        _ context: TLSContext,
        _ trust: TLSAuthorities,
        _ revocations: PeerRevocations
    ) throws -> OutboundRoute {
        guard let serverID else { throw ValidationError("a client's side needs --server-id") }
        return OutboundRoute(
            listener: OutboundListener(
                name: "out",
                identity: id,
                service: "server",
                port: "main",
                listen: .address(try address(listen)),
                allowedUIDs: [getuid()]
            ),
            trafficProtocol: try trafficProtocol(),
            context: context,
            requirements: PeerRequirements(
                authorities: trust,
                in: id.trustDomain,
                revocations: revocations,
                expected: [try SPIFFEID(serverID)]
            ),
            serverName: "server.default.signet.internal",
            endpoints: [try address(forward)],
            connectionGeneration: 1
        )
    }

    /// As many certificates as identities, of which the load has none.
    private func revocations(in trustDomain: TrustDomain) throws -> PeerRevocations {
        guard revoked > 0 else { return .none }
        let authority = [UInt8](repeating: 0x5A, count: 20)
        let leaves = (0..<revoked / 2).map { number in
            let bytes = (0..<8).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) }
            return PeerRevocations.Leaf(
                authorityKeyID: authority,
                serial: [1] + [UInt8](repeating: 0x3C, count: 8) + bytes
            )
        }
        let identities = try (revoked / 2..<revoked).map { number in
            (
                try SPIFFEID(trustDomain: trustDomain, path: "/ns/shop/sa/revoked-\(number)"),
                Date.distantFuture
            )
        }
        return PeerRevocations(
            leaves: Set(leaves),
            identities: Dictionary(identities) { first, _ in first }
        )
    }

    // MARK: - Policies

    /// A rule as signet-bench writes it; an empty list matches everything.
    private struct Rule: Decodable {
        enum Action: String, Decodable {
            case allow
            case deny
        }

        let action: Action
        let principals: [String]
        let methods: [String]
        let pathPrefixes: [String]
    }

    private func policies() throws -> [AccessPolicy] {
        guard let rules else { throw ValidationError("a server's side needs --rules") }
        let list = try JSONDecoder().decode([Rule].self, from: Self.file(rules))
        return try [
            (Rule.Action.deny, "deny", AccessPolicy.Action.deny), (.allow, "allow", .allow),
        ]
        .compactMap { action, name, policyAction in
            let own = try list.filter { $0.action == action }.map(accessRule)
            guard !own.isEmpty else { return nil }
            return AccessPolicy(
                namespace: "default",
                name: name,
                action: policyAction,
                rules: own
            )
        }
    }

    private func accessRule(_ rule: Rule) throws -> AccessRule {
        func field<Value>(_ values: [Value]) -> AccessField<Value> {
            AccessField(anyOf: values) ?? .absent
        }
        let principals = try rule.principals.map { try PrincipalPattern($0) }
        let paths = try rule.pathPrefixes.map { prefix in
            guard let pattern = PathPattern("\(prefix)*") else {
                throw ValidationError("\(prefix) is no path")
            }
            return pattern
        }
        let source = AccessSource(principals: field(principals))
        let operation = AccessOperation(methods: field(rule.methods), paths: field(paths))
        guard
            let made = AccessRule(
                from: principals.isEmpty ? nil : [source],
                to: paths.isEmpty && rule.methods.isEmpty ? nil : [operation]
            )
        else { throw ValidationError("a rule is empty") }
        return made
    }

    // MARK: - Values

    private func ownID(_ identity: TLSIdentity) throws -> SPIFFEID {
        guard let leaf = identity.chain.first else { throw ValidationError("no certificate") }
        return try SPIFFEID(LeafCertificate(der: leaf).uriNames.first ?? "")
    }

    private func group() throws -> TLSGroup {
        switch groups {
        case "X25519": return .x25519
        case "X25519MLKEM768": return .x25519MLKEM768
        default: throw ValidationError("--groups takes X25519 or X25519MLKEM768")
        }
    }

    private func trafficProtocol() throws -> TrafficProtocol {
        guard let known = TrafficProtocol(rawValue: traffic) else {
            throw ValidationError("--traffic takes http or tcp")
        }
        return known
    }

    private func address(_ text: String) throws -> SocketAddress {
        guard let address = SocketAddress(text) else {
            throw ValidationError("'\(text)' is no IP:port")
        }
        return address
    }

    private static func file(_ path: String) throws -> Data {
        try Data(contentsOf: URL(filePath: path))
    }

    private static func pem(_ path: String) throws -> [PEMDocument] {
        try PEMDocument.parseMultiple(
            pemString: String(decoding: try file(path), as: UTF8.self)
        )
    }
}
