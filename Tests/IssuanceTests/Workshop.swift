// SPDX-License-Identifier: Apache-2.0

import Crypto
import FoundationEssentials
import Issuance
import SPIFFE
import SwiftASN1
import TestSeeds
import X509

/// A server's issuing side with fixed keys and a fixed moment.
struct Workshop {
    /// 2030-03-17 17:46:40 UTC.
    static let now = Date(timeIntervalSince1970: 1_900_000_000)

    let trustDomain: TrustDomain
    let lifetimes: SVIDLifetimes
    let signer: MemorySigner
    let authority: Authority
    let issuer: Issuer
    let node: TemplateNode

    init(
        lifetimes: SVIDLifetimes = .standard,
        profiles: CertificateProfiles = .standard,
        now: Date = now,
        seed: UInt64 = 1,
        signer: MemorySigner? = nil
    ) throws {
        var generator = SeededGenerator(seed: seed)
        trustDomain = try TrustDomain("example.org")
        self.lifetimes = lifetimes
        let signer = try signer ?? Self.signer(1)
        self.signer = signer
        var authority = try Authority.selfSigned(
            trustDomain: trustDomain,
            serverID: "server-1",
            lifetimes: lifetimes,
            signer: signer,
            now: now,
            using: &generator
        )
        authority.state = .active
        self.authority = authority
        issuer = try Issuer(
            trustDomain: trustDomain,
            lifetimes: lifetimes,
            profiles: profiles,
            authority: authority
        )
        node = TemplateNode(
            name: "web-1",
            selectors: [try Selector("role:web"), try Selector("zone:a")]
        )
    }

    /// The P-256 key whose scalar is `number` repeated.
    static func key(_ number: UInt8) throws -> P256.Signing.PrivateKey {
        try P256.Signing.PrivateKey(rawRepresentation: [UInt8](repeating: number, count: 32))
    }

    static func signer(_ number: UInt8) throws -> MemorySigner {
        try MemorySigner(pkcs8DER: Array(key(number).derRepresentation))
    }

    /// DER of a request for the key whose scalar is `number` repeated.
    static func requestDER(_ number: UInt8 = 2) throws -> [UInt8] {
        let request = try CertificateSigningRequest(
            version: .v1,
            subject: DistinguishedName { CommonName("ignored") },
            privateKey: .init(key(number)),
            attributes: .init()
        )
        var serializer = DER.Serializer()
        try serializer.serialize(request)
        return serializer.serializedBytes
    }

    static func request(_ number: UInt8 = 2) throws -> CertificateRequest {
        try CertificateRequest(der: requestDER(number))
    }

    static func entry(
        _ spiffeID: String = "spiffe://example.org/web",
        bounds: [String: VariableBound] = [:],
        nodeSelectors: [String] = ["role:web"],
        lifetimeSeconds: Int? = nil,
        tokenLifetimeSeconds: Int? = nil,
        dnsNames: [String] = [],
        expires: Date? = nil
    ) throws -> RegistrationEntry {
        RegistrationEntry(
            id: "entry-1",
            namespace: "default",
            name: "web",
            revision: 7,
            createdAt: now,
            spiffeID: spiffeID,
            variableBounds: bounds,
            nodeSelectors: try nodeSelectors.map { try Selector($0) },
            workloadSelectors: [try Selector("unix:uid:1000")],
            x509SVIDTTLSeconds: lifetimeSeconds,
            jwtSVIDTTLSeconds: tokenLifetimeSeconds,
            dnsNames: dnsNames,
            expires: expires
        )
    }

    /// Prepares and signs one approved certificate.
    func issue(
        _ warrant: consuming IssuanceWarrant,
        seed: UInt64 = 2
    ) throws -> IssuedCertificate {
        var generator = SeededGenerator(seed: seed)
        var batch = IssuanceBatch(issuer: issuer)
        try batch.prepare(warrant, using: &generator)
        let issued = try batch.sign(with: signer)
        guard let first = issued.first, issued.count == 1 else { throw Unexpected.count }
        return first
    }

    enum Unexpected: Error {
        case count
    }
}
