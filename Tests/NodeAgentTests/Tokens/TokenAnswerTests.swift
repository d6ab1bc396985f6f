// SPDX-License-Identifier: Apache-2.0

import ControlAPI
import ControlAPIProtos
import Crypto
import FoundationEssentials
import Issuance
import NodeAgent
import NodeSync
import SPIFFE
import SwiftProtobuf
import Testing

/// What an agent makes of the tokens that its server sends.
struct TokenAnswerTests {
    private static let now = Date(timeIntervalSince1970: 1_800_000_000)
    private static let web = "spiffe://example.org/web"

    private let signer: MemorySigner
    private let trustDomain: TrustDomain

    init() throws {
        signer = try MemorySigner(
            pkcs8DER: Array(P256.Signing.PrivateKey().derRepresentation)
        )
        trustDomain = try TrustDomain("example.org")
    }

    private func authority() throws -> TokenAuthority {
        try TokenAuthority(
            subjectPublicKeyInfo: signer.subjectPublicKeyInfo,
            signatureAlgorithm: signer.signatureAlgorithm,
            authorityKeyID: [1],
            notBefore: Self.now.addingTimeInterval(-3_600),
            notAfter: Self.now.addingTimeInterval(3_600)
        )
    }

    private func token(
        of id: String = web,
        for audiences: [String] = ["api", "db"],
        at now: Date = now
    ) throws -> String {
        let issuer = try TokenIssuer(
            trustDomain: trustDomain,
            lifetimes: .standard,
            authority: authority()
        )
        let entry = RegistrationEntry(
            id: "e",
            namespace: "default",
            name: "e",
            revision: 1,
            createdAt: now,
            spiffeID: id,
            nodeSelectors: [try Selector("role:web")],
            workloadSelectors: [try Selector("unix:uid:1")]
        )
        let warrant = try issuer.approve(
            entry: entry,
            claiming: SPIFFEID(id),
            audiences: TokenAudiences(audiences),
            node: TemplateNode(name: "n", selectors: [try Selector("role:web")]),
            now: now
        )
        var batch = TokenBatch(issuer: issuer)
        var generator = SystemRandomNumberGenerator()
        try batch.prepare(warrant, using: &generator)
        return try #require(try batch.sign(with: signer).first).token
    }

    /// The reason why an answer gives nothing; nil if it gives a token.
    private func refusal(
        _ result: Signet_Node_V1alpha1_SignJWTSVIDResult.OneOf_Result?,
        knowing isKnown: Bool = true
    ) throws -> String? {
        let bundle = TrustBundle(
            trustDomain: trustDomain,
            x509Authorities: [],
            x509Intermediates: [],
            jwtAuthorities: isKnown ? [try authority().published] : [],
            sequenceNumber: 1,
            refreshHintSeconds: 300
        )
        let (key, grant) = (
            TokenKey(
                entryID: "e",
                entryRevision: 1,
                spiffeID: try SPIFFEID(Self.web),
                audiences: try TokenAudiences(["api", "db"])
            ),
            TokenGrant(
                entryID: "e",
                entryRevision: 1,
                spiffeID: try SPIFFEID(Self.web),
                hint: "",
                variables: [:]
            )
        )
        let desk = TokenDesk()
        _ = try desk.find([(key, grant)], uid: 1, now: Self.now, boot: .zero) { _, _ in .good }
        let answer = TokenSigning.result(
            result,
            of: try #require(desk.next()?.first),
            JWTSVIDVerifier(bundles: [trustDomain: bundle]),
            now: Self.now,
            boot: .seconds(7)
        )
        switch answer {
        case .failure(let error): return error.reason
        case .success(let kept):
            #expect(kept.notAfter == Self.now.addingTimeInterval(300))
            #expect(kept.issuedAt == Self.now && kept.receivedAt == .seconds(7))
            return nil
        }
    }

    @Test func `a token that says what was asked for is kept`() throws {
        #expect(try refusal(.token(token())) == nil)
    }

    @Test func `a token that says something else is refused`() throws {
        for other in [
            try token(of: "spiffe://example.org/other"), try token(for: ["api"]),
            try token(for: ["api", "db", "more"]), try token(for: ["api", "other"]),
        ] {
            #expect(try refusal(.token(other)) == "tokenDiffers")
        }
        // The first audience is what it is verified for.
        #expect(try refusal(.token(token(for: ["db", "api"]))) == "tokenDiffers")
        #expect(try refusal(.token(token(for: ["db"]))) == "tokenDoesNotVerify")
    }

    @Test func `a token that nobody known has signed, or that has ended, is refused`() throws {
        let good = try token()
        #expect(try refusal(.token(good), knowing: false) == "tokenDoesNotVerify")
        let changed = good.dropLast(4) + "AAAA"
        #expect(try refusal(.token(String(changed))) == "tokenDoesNotVerify")
        // Past, but within what clocks may differ by.
        let late = try token(at: Self.now.addingTimeInterval(-305))
        #expect(try refusal(.token(late)) == "tokenDiffers")
    }

    @Test func `a refusal is passed on, and nothing is no answer`() throws {
        let refused = Signet_Node_V1alpha1_Refusal.with { $0.code = "identityRevoked" }
        #expect(try refusal(.refusal(refused)) == "identityRevoked")
        #expect(try refusal(nil) == "tokens")
    }
}
