// SPDX-License-Identifier: Apache-2.0

import CAServer
import Clocks
import ControlAPIProtos
import Crypto
import FoundationEssentials
import GRPCCore
import GRPCPeer
import NodeAttestation
import SPIFFE
import SwiftASN1
import SwiftProtobuf
import Testing
import X509

/// A certificate signing request of a key, in DER.
func certificateRequest(_ key: P256.Signing.PrivateKey) throws -> [UInt8] {
    let request = try CertificateSigningRequest(
        version: .v1,
        subject: DistinguishedName(),
        privateKey: Certificate.PrivateKey(key),
        attributes: CertificateSigningRequest.Attributes(),
        signatureAlgorithm: .ecdsaWithSHA256
    )
    var serializer = DER.Serializer()
    try serializer.serialize(request)
    return serializer.serializedBytes
}

/// An agent that was admitted: its key and certificate.
struct TestAgent: Sendable {
    let name: String
    let key: P256.Signing.PrivateKey
    let chain: [[UInt8]]

    var identity: TLSIdentity {
        get throws {
            try TLSIdentity(
                certificateChain: chain,
                privateKeyPKCS8: Array(key.derRepresentation)
            )
        }
    }

    var leaf: LeafCertificate {
        get throws { try LeafCertificate(der: try #require(chain.first)) }
    }
}

extension TestServer {
    func token(
        _ name: String,
        selectors: [String] = [],
        ttlSeconds: UInt32 = 600
    ) async throws -> JoinToken {
        let response = try await administration.createToken(
            .with {
                $0.agentName = name
                $0.nodeSelectors = selectors
                $0.ttlSeconds = ttlSeconds
            }
        )
        return try JoinToken(response.token)
    }

    /// First contact with a token's secret.
    func attest(
        _ name: String,
        secret: [UInt8],
        key: P256.Signing.PrivateKey = .init()
    ) async throws -> TestAgent {
        let csr = try certificateRequest(key)
        let response = try await anonymously { client in
            try await Attestation.Client(wrapping: client).attestJoinToken(
                .with {
                    $0.secret = Data(secret)
                    $0.csr = Data(csr)
                }
            )
        }
        #expect(response.spiffeID == "spiffe://example.org/signet/agent/\(name)")
        return TestAgent(name: name, key: key, chain: response.certificateChain.map { Array($0) })
    }

    /// An admitted agent.
    func agent(_ name: String = "web-1", selectors: [String] = []) async throws -> TestAgent {
        try await attest(name, secret: try await token(name, selectors: selectors).secret)
    }

    /// Comes back with a key.
    func readmit(_ name: String, key: P256.Signing.PrivateKey) async throws -> TestAgent {
        let response = try await readmission(name, key: key)
        return TestAgent(name: name, key: key, chain: response.certificateChain.map { Array($0) })
    }

    /// The whole answer to one who comes back with a key and remembers a size of the audit log.
    func readmission(
        _ name: String,
        key: P256.Signing.PrivateKey,
        rememberedSize: UInt64 = 0
    ) async throws -> Signet_Node_V1alpha1_AttestResponse {
        let csr = try certificateRequest(key)
        return try await anonymously { client in
            try await Attestation.Client(wrapping: client).readmit(
                .with {
                    $0.agentName = name
                    $0.csr = Data(csr)
                    $0.checkpointHave = .with { $0.size = rememberedSize }
                }
            )
        }
    }

    func renew(_ agent: TestAgent, key: P256.Signing.PrivateKey) async throws -> TestAgent {
        let csr = try certificateRequest(key)
        let response = try await authenticated(as: try agent.identity) { client in
            try await Node.Client(wrapping: client).renew(.with { $0.csr = Data(csr) })
        }
        return TestAgent(
            name: agent.name,
            key: key,
            chain: response.certificateChain.map { Array($0) }
        )
    }

    func sign(
        _ requests: [Signet_Node_V1alpha1_SignX509SVID],
        as agent: TestAgent
    ) async throws -> [Signet_Node_V1alpha1_SignX509SVIDResult] {
        try await authenticated(as: try agent.identity) { client in
            try await Node.Client(wrapping: client).signX509SVIDs(.with { $0.requests = requests })
                .results
        }
    }

    /// Verifies a chain as a workload would, with the bundle of the moment.
    func verified(_ chain: [[UInt8]]) async throws -> VerifiedPeer {
        let bundle = try core.trust.bundle
        return try await PeerVerifier(bundles: [bundle.trustDomain: bundle])
            .verify(chain: chain, now: core.clock.wallTime)
    }

    /// Applies documents as one file and returns the answer.
    @discardableResult
    func apply(
        _ text: String,
        isDryRun: Bool = false,
        pruneOwner: String = ""
    ) async throws -> Signet_Admin_V1alpha1_ApplyResponse {
        try await documents.apply(
            .with {
                $0.files = [.with { ($0.name, $0.content) = ("test.yaml", text) }]
                $0.dryRun = isDryRun
                $0.pruneOwner = pruneOwner
            }
        )
    }

    /// Registers a workload and returns the entry's ID.
    @discardableResult
    func register(
        _ name: String,
        node: String = "role:web",
        spiffeID: String? = nil,
        more: String = ""
    ) async throws -> String {
        let id = spiffeID ?? "spiffe://example.org/\(name)"
        let response = try await apply(
            entryDocument(name, node: node, spiffeID: id, more: more)
        )
        return try #require(response.changes.first).uid
    }

    /// The records of an event, newest first.
    func records(
        _ event: String,
        _ change: (inout Signet_Admin_V1alpha1_AuditQueryRequest) -> Void = { _ in }
    ) async throws -> [String] {
        var request = Signet_Admin_V1alpha1_AuditQueryRequest.with { $0.event = event }
        change(&request)
        return try await audit.query(request).records.map(\.json)
    }
}

/// A `RegistrationEntry` document; `more` are further lines of its spec.
func entryDocument(
    _ name: String,
    namespace: String = "default",
    node: String = "role:web",
    spiffeID: String,
    owner: String? = nil,
    more: String = ""
) -> String {
    """
    ---
    apiVersion: core.signet/v1alpha1
    kind: RegistrationEntry
    metadata:
      name: \(name)
      namespace: \(namespace)
    \(owner.map { "  labels: {signet/owner: \($0)}" } ?? "")
    spec:
      spiffeID: \(spiffeID)
      nodeSelectors: ["\(node)"]
      workloadSelectors: ["unix:uid:1000"]
    \(more)

    """
}

/// One request of a batch with a key of its own.
func signingRequest(
    entry: String,
    spiffeID: String,
    variables: [String: String] = [:]
) throws -> Signet_Node_V1alpha1_SignX509SVID {
    let csr = try certificateRequest(P256.Signing.PrivateKey())
    return .with {
        $0.entryID = entry
        $0.spiffeID = spiffeID
        $0.csr = Data(csr)
        $0.variables = variables
    }
}
