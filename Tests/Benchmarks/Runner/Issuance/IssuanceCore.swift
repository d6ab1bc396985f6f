// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Crypto
internal import Foundation
internal import Issuance
internal import SPIFFE
internal import SwiftASN1
internal import X509

/// Issuance with everything but disk and network, on one core, in batches.
///
/// For each request: parse, possession, approval, encoding, lint; then audit leaf, signature and
/// comparison.
///
/// The peer is the part that no server can leave out: one P-256 signature made and one verified.
struct IssuanceCore {
    static let benchmark = Benchmark(
        name: "issuance-core",
        rows: [
            RowDefinition(
                id: "issuance core, batches of 100",
                unit: "SVID/s",
                peer: "P-256 sign + verify",
                goal: .ratioAtLeast(0.45)
            )
        ],
        readings: { settings in
            let core = try IssuanceCore()
            let batches = settings.size(60, quick: 2)
            // Caches, tables and page faults belong to no run.
            _ = try core.measure(batches: settings.size(10, quick: 1))
            return try (0..<settings.runs).map { _ in try core.measure(batches: batches) }
        }
    )

    private static let batchSize = 100

    private struct Requester {
        let key: P256.Signing.PublicKey
        let request: [UInt8]
        /// What the requester signed, and how.
        let signed: Data
        let signature: P256.Signing.ECDSASignature
    }

    private let issuer: Issuer
    private let signer: MemorySigner
    private let signingKey: P256.Signing.PrivateKey
    private let entry: RegistrationEntry
    private let id: SPIFFEID
    private let agent: SPIFFEID
    private let node: TemplateNode
    private let requesters: [Requester]
    private let now = Date()

    init() throws {
        let trustDomain = try TrustDomain("bench.example.org")
        signingKey = P256.Signing.PrivateKey()
        signer = try MemorySigner(pkcs8DER: Array(signingKey.derRepresentation))
        var generator = SystemRandomNumberGenerator()
        var authority = try Authority.selfSigned(
            trustDomain: trustDomain,
            serverID: "bench",
            lifetimes: .standard,
            signer: signer,
            now: now,
            using: &generator
        )
        authority.state = .active
        issuer = try Issuer(trustDomain: trustDomain, lifetimes: .standard, authority: authority)
        let selector = try Selector("role:web")
        id = try SPIFFEID("spiffe://bench.example.org/shop/web")
        agent = try SPIFFEID("spiffe://bench.example.org/signet/agent/web-1")
        node = TemplateNode(name: "web-1", selectors: [selector])
        entry = RegistrationEntry(
            id: "5a0c1e5e-6f43-4b8e-9d0c-3c1d3f0f7a10",
            namespace: "shop",
            name: "web",
            revision: 7,
            createdAt: now,
            spiffeID: id.description,
            nodeSelectors: [selector],
            workloadSelectors: [try Selector("unix:uid:1000")]
        )
        requesters = try (0..<Self.batchSize).map { _ in try Self.requester() }
    }

    private static func requester() throws -> Requester {
        let key = P256.Signing.PrivateKey()
        let request = try WorkloadRequest(key).der
        let signed = Data("what the requester signs has about 110 bytes".utf8)
        return Requester(
            key: key.publicKey,
            request: request,
            signed: signed,
            signature: try key.signature(for: signed)
        )
    }

    /// Alternates ours and the peer's, so that a change of the clock rate meets both.
    private func measure(batches: Int) throws -> Reading {
        let clock = ContinuousClock()
        var (ours, peer) = (Duration.zero, Duration.zero)
        for _ in 0..<batches {
            ours += try clock.measure { try issueBatch() }
            peer += try clock.measure { try signAndVerify() }
        }
        let count = Double(batches * Self.batchSize)
        return Reading(
            row: "issuance core, batches of 100",
            value: count / (ours / .seconds(1)),
            peer: count / (peer / .seconds(1))
        )
    }

    private func issueBatch() throws {
        var generator = SystemRandomNumberGenerator()
        var batch = IssuanceBatch(issuer: issuer)
        for requester in requesters {
            let warrant = try issuer.approve(
                CertificateRequest(der: requester.request),
                entry: entry,
                claiming: id,
                node: node,
                now: now
            )
            try batch.prepare(warrant, using: &generator)
        }
        let leaves = try record(of: batch.certificates).leaves()
        let issued = try batch.sign(with: signer)
        guard issued.count == Self.batchSize, !leaves.isEmpty else {
            throw BenchmarkError("\(issued.count) certificates instead of \(Self.batchSize)")
        }
    }

    private func record(of certificates: [PreparedCertificate]) -> AuditRecord {
        let svids = certificates.map { certificate in
            IssuedSVID(
                spiffeID: certificate.id,
                serial: certificate.serial.bytes,
                notAfter: AuditTime(certificate.notAfter),
                tbsSHA256: certificate.tbsSHA256,
                entry: certificate.entry.map {
                    IssuedSVID.Entry(id: $0.id, namespace: entry.namespace, revision: $0.revision)
                }
            )
        }
        let issuance = SVIDIssuance(
            agent: agent,
            authority: Array(issuer.authority.id.utf8.prefix(20)),
            profile: .workload,
            svids: svids
        )
        return AuditRecord(event: .svidsIssued(issuance), actor: .spiffe(agent), time: now)
    }

    private func signAndVerify() throws {
        for requester in requesters {
            _ = try signingKey.signature(for: requester.signed)
            guard requester.key.isValidSignature(requester.signature, for: requester.signed) else {
                throw BenchmarkError("a signature does not verify")
            }
        }
    }
}

/// The request that an agent makes for a workload's key.
struct WorkloadRequest {
    let der: [UInt8]

    init(_ key: P256.Signing.PrivateKey) throws {
        let request = try CertificateSigningRequest(
            version: .v1,
            subject: DistinguishedName(),
            privateKey: Certificate.PrivateKey(key),
            attributes: CertificateSigningRequest.Attributes(),
            signatureAlgorithm: .ecdsaWithSHA256
        )
        var serializer = DER.Serializer()
        try serializer.serialize(request)
        der = serializer.serializedBytes
    }
}
