// SPDX-License-Identifier: Apache-2.0

internal import ControlAPI
internal import ControlAPIProtos
internal import FoundationEssentials
internal import SPIFFE

/// What a server's answer to attestation, renewal or readmission says, once it was checked.
struct AttestationAnswer: Sendable {
    let chain: IssuedChain
    /// By this machine's clock.
    let issuedAt: Date
    /// The server's bundle, which the chain was verified with.
    let bundle: TrustBundle
    let auditKey: String
    let note: [UInt8]
    let proof: [[UInt8]]

    /// Checks an answer that came over a connection whose server was verified.
    ///
    /// - Parameters:
    ///   - message: The answer.
    ///   - trustDomain: The agent's.
    ///   - id: The agent's ID; nil at first contact, when the server says it.
    ///   - key: What the certificate must be for.
    ///   - now: The wall clock.
    /// - Throws: `WireError`, `IssuedChainError` or `AttestationAnswerError`.
    init(
        checking message: Signet_Node_V1alpha1_AttestResponse,
        trustDomain: TrustDomain,
        id: SPIFFEID?,
        key: NodeKey,
        now: Date
    ) async throws {
        let bundle = try TrustBundle(parsing: message.bundle).withoutJWTAuthorities
        guard bundle.trustDomain == trustDomain else {
            throw AttestationAnswerError.bundleOfOther(bundle.trustDomain)
        }
        let chain = try await IssuedChain(
            verifying: message.certificateChain.map { Array($0) },
            id: id,
            spkiSHA256: key.spkiSHA256,
            verifier: PeerVerifier(bundles: [trustDomain: bundle]),
            now: now
        )
        guard chain.id.agentName(in: trustDomain) != nil else {
            throw AttestationAnswerError.notAnAgent(chain.id)
        }
        self.chain = chain
        self.bundle = bundle
        issuedAt = now
        auditKey = message.auditKey
        note = Array(message.checkpoint.note.utf8)
        proof = message.checkpoint.consistencyProof.map { Array($0) }
    }
}

/// Why an answer is not believed, although its parts can be read.
enum AttestationAnswerError: Error, Hashable, CustomStringConvertible {
    case bundleOfOther(TrustDomain)
    case notAnAgent(SPIFFEID)

    var description: String {
        switch self {
        case .bundleOfOther(let name): "the server sent the bundle of trust domain \(name)"
        case .notAnAgent(let id): "the server signed \(id), which is not the ID of an agent"
        }
    }
}
