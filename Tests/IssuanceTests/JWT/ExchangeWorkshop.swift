// SPDX-License-Identifier: Apache-2.0

import Crypto
import FoundationEssentials
import Issuance
import SPIFFE
import TestSeeds
import Testing

/// A server's side of exchanging tokens with a fixed key and a fixed moment.
///
/// Workloads are named by their path.
struct ExchangeWorkshop {
    static let issuerName = "https://id.example.org/delegated"

    let trustDomain: TrustDomain
    let signer: MemorySigner
    let authority: TokenAuthority
    let issuer: TokenIssuer

    init(
        secondsLeft: Double = 86_400,
        lifetimes: TokenLifetimes = .standard,
        delegatedIssuer: String? = issuerName
    ) throws {
        trustDomain = try TrustDomain("example.org")
        signer = try Workshop.signer(1)
        authority = try TokenAuthority(
            subjectPublicKeyInfo: signer.subjectPublicKeyInfo,
            signatureAlgorithm: signer.signatureAlgorithm,
            notBefore: Workshop.now,
            notAfter: Workshop.now.addingTimeInterval(secondsLeft)
        )
        issuer = try TokenIssuer(
            trustDomain: trustDomain,
            lifetimes: lifetimes,
            authority: authority,
            issuer: "https://id.example.org",
            delegatedIssuer: delegatedIssuer
        )
    }

    static func id(_ path: String) throws -> SPIFFEID {
        try SPIFFEID("spiffe://example.org/\(path)")
    }

    static func idText(_ path: String) -> String { "spiffe://example.org/\(path)" }

    static func policy(
        named name: String = "p",
        _ subjects: [String],
        _ actors: [String],
        _ audiences: [String],
        version: UInt64 = 1,
        expires: Date? = nil
    ) throws -> DelegationPolicy {
        DelegationPolicy(
            id: "uid-\(name)",
            namespace: "default",
            name: name,
            version: version,
            subjects: Set(try subjects.map { try id($0) }),
            actors: Set(try actors.map { try id($0) }),
            audiences: audiences,
            expires: expires
        )
    }

    var verifier: JWTSVIDVerifier {
        JWTSVIDVerifier(bundles: [
            trustDomain: TrustBundle(
                trustDomain: trustDomain,
                x509Authorities: [],
                x509Intermediates: [],
                jwtAuthorities: [authority.published],
                sequenceNumber: 1,
                refreshHintSeconds: 300
            )
        ])
    }

    /// The workload's own token.
    func svid(
        of path: String = "a",
        for audiences: [String],
        lifetimeSeconds: Int? = nil,
        seed: UInt64 = 3,
        now: Date = Workshop.now
    ) throws -> [UInt8] {
        let id = Self.idText(path)
        let warrant = try issuer.approve(
            entry: Workshop.entry(id, tokenLifetimeSeconds: lifetimeSeconds),
            claiming: SPIFFEID(id),
            audiences: TokenAudiences(audiences),
            node: Self.node(),
            now: now
        )
        return Array(try issue(warrant, seed: seed).token.utf8)
    }

    /// A token whose claims a test writes as it likes, inside of the object.
    func signed(_ claims: String, type: String = "JWT", keyNumber: UInt8 = 1) throws -> [UInt8] {
        let header = #"{"alg":"ES256","kid":"\#(authority.keyID)","typ":"\#(type)"}"#
        let parts = [header, "{\(claims)}"].map { Base64Form.url.text(Array($0.utf8)) }
        let input = parts.joined(separator: ".")
        let signature = try Workshop.key(keyNumber).signature(for: Array(input.utf8))
        return Array("\(input).\(Base64Form.url.text(signature.rawRepresentation))".utf8)
    }

    static func node() throws -> TemplateNode {
        TemplateNode(name: "web-1", selectors: [try Selector("role:web")])
    }

    func warrant(
        _ token: [UInt8],
        by actor: String,
        for audience: String,
        policies: [DelegationPolicy],
        entry: RegistrationEntry? = nil,
        now: Date = Workshop.now
    ) throws -> TokenWarrant {
        let id = try Self.id(actor)
        return try issuer.approve(
            exchanging: SubjectToken(verifying: token, shownTo: id, by: verifier, now: now),
            for: audience,
            entry: entry ?? Workshop.entry(id.description),
            policies: policies,
            node: Self.node(),
            now: now
        )
    }

    func issue(_ warrant: consuming TokenWarrant, seed: UInt64 = 4) throws -> IssuedToken {
        var generator = SeededGenerator(seed: seed)
        var batch = TokenBatch(issuer: issuer)
        try batch.prepare(warrant, using: &generator)
        let issued = try batch.sign(with: signer)
        return try #require(issued.first)
    }

    func exchange(
        _ token: [UInt8],
        by actor: String,
        for audience: String,
        policies: [DelegationPolicy],
        entry: RegistrationEntry? = nil,
        seed: UInt64 = 4,
        now: Date = Workshop.now
    ) throws -> IssuedToken {
        try issue(
            warrant(token, by: actor, for: audience, policies: policies, entry: entry, now: now),
            seed: seed
        )
    }

    func refusal(
        _ token: [UInt8],
        by actor: String,
        for audience: String = "ledger",
        policies: [DelegationPolicy] = [],
        entry: RegistrationEntry? = nil,
        now: Date = Workshop.now
    ) throws -> ExchangeRefusal? {
        do {
            _ = try warrant(
                token,
                by: actor,
                for: audience,
                policies: policies,
                entry: entry,
                now: now
            )
            return nil
        } catch let refusal as ExchangeRefusal {
            return refusal
        }
    }
}
