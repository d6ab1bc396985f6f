// SPDX-License-Identifier: Apache-2.0

import Crypto
import Foundation
import NodeAgent
import SPIFFE
import Testing

/// A trust domain with a key for tokens, whose ID others have too.
struct TokenDomain {
    static let keyID = "k"

    let trustDomain: TrustDomain
    let key: P256.Signing.PrivateKey
    private let keyID: String
    private let isOwn: Bool

    /// - Parameters:
    ///   - name: The trust domain's.
    ///   - isOwn: Whether its bundles are as the agent's own server sends them: the key is that of the
    ///     first authority, and named by its thumbprint.
    /// - Throws: What is wrong with the name.
    init(_ name: String, isOwn: Bool = false) throws {
        trustDomain = try TrustDomain(name)
        key = P256.Signing.PrivateKey()
        self.isOwn = isOwn
        let spki = Array(key.publicKey.derRepresentation)
        keyID = isOwn ? try JSONWebKey(subjectPublicKeyInfo: spki).thumbprint : Self.keyID
    }

    func bundle(_ sequence: UInt64 = 1, x509: [[UInt8]] = []) throws -> TrustBundle {
        let spki = Array(key.publicKey.derRepresentation)
        let authority = JWTAuthority(
            keyID: keyID,
            key: try JSONWebKey(subjectPublicKeyInfo: spki),
            algorithm: isOwn ? .es256 : nil,
            authorityKeyID: isOwn
                ? try x509.first.flatMap { try LeafCertificate(der: $0).subjectKeyID } : nil
        )
        return TrustBundle(
            trustDomain: trustDomain,
            x509Authorities: x509,
            x509Intermediates: [],
            jwtAuthorities: [authority],
            sequenceNumber: sequence,
            refreshHintSeconds: 300
        )
    }

    func token(of subject: String, at now: Date, more: String = "") throws -> [UInt8] {
        func part(_ text: some DataProtocol) -> String {
            Data(text).base64EncodedString()
                .replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
        }
        let header = #"{"alg":"ES256","kid":"\#(keyID)","typ":"JWT"}"#
        let end = Int(now.timeIntervalSince1970) + 60
        let claims = #"{"aud":["api"],"exp":\#(end),"sub":"\#(subject)"\#(more)}"#
        let input = part(Data(header.utf8)) + "." + part(Data(claims.utf8))
        let signature = try key.signature(for: Data(input.utf8)).rawRepresentation
        return Array((input + "." + part(signature)).utf8)
    }
}

/// Tokens of several trust domains, each verified with the keys of its own bundle.
struct TokenVerifiersTests {
    private static let now = Date(timeIntervalSince1970: 1_800_000_000)

    private let own: TokenDomain
    private let partner: TokenDomain

    init() throws {
        own = try TokenDomain("example.org")
        partner = try TokenDomain("partner.example")
    }

    private func refusal(_ verifier: JWTSVIDVerifier, _ token: [UInt8]) -> JWTSVIDError? {
        do throws(JWTSVIDError) {
            _ = try verifier.verify(token: token, audience: "api", now: Self.now)
            return nil
        } catch {
            return error
        }
    }

    @Test func `X-14 a token is verified with the bundle of its subject's trust domain alone`()
        throws
    {
        let verifier = TokenVerifiers().verifier([try own.bundle(), try partner.bundle()])
        let (mine, theirs) = ("spiffe://example.org/web", "spiffe://partner.example/web")
        #expect(refusal(verifier, try own.token(of: mine, at: Self.now)) == nil)
        #expect(refusal(verifier, try partner.token(of: theirs, at: Self.now)) == nil)
        // Of both the key ID is the same.
        #expect(
            refusal(verifier, try partner.token(of: mine, at: Self.now)) == .signatureDoesNotVerify
        )
        #expect(
            refusal(verifier, try own.token(of: theirs, at: Self.now)) == .signatureDoesNotVerify
        )
        #expect(
            refusal(verifier, try partner.token(of: "spiffe://other.example/web", at: Self.now))
                == .trustDomainUnknown
        )
    }

    @Test func `keys are made once for each bundle, whoever believes which of them`() throws {
        let verifiers = TokenVerifiers()
        let (mine, theirs) = (try own.bundle(), try partner.bundle())
        let theirToken = try partner.token(of: "spiffe://partner.example/web", at: Self.now)
        for _ in 0..<3 {
            #expect(refusal(verifiers.verifier([mine, theirs]), theirToken) == nil)
            // Keys that are kept are not believed by who does not federate.
            #expect(refusal(verifiers.verifier([mine]), theirToken) == .trustDomainUnknown)
        }
        #expect(verifiers.madeCount == 2)
        // Another sequence alone is no other key.
        _ = verifiers.verifier([mine, try partner.bundle(2)])
        #expect(verifiers.madeCount == 2)
        let other = try TokenDomain("partner.example")
        #expect(
            refusal(verifiers.verifier([mine, try other.bundle()]), theirToken)
                == .signatureDoesNotVerify
        )
        #expect(verifiers.madeCount == 3)
    }

    @Test func `keys of trust domains that come and go do not pile up`() throws {
        let verifiers = TokenVerifiers()
        let bundle = try own.bundle()
        for number in 0..<(2 * TokenVerifiers.bundlesMax) {
            let other = TrustBundle(
                trustDomain: try TrustDomain("partner-\(number).example"),
                x509Authorities: [],
                x509Intermediates: [],
                jwtAuthorities: bundle.jwtAuthorities,
                sequenceNumber: 1,
                refreshHintSeconds: 300
            )
            _ = verifiers.verifier([other])
        }
        let before = verifiers.madeCount
        _ = verifiers.verifier([
            TrustBundle(
                trustDomain: try TrustDomain("partner-0.example"),
                x509Authorities: [],
                x509Intermediates: [],
                jwtAuthorities: bundle.jwtAuthorities,
                sequenceNumber: 1,
                refreshHintSeconds: 300
            )
        ])
        #expect(verifiers.madeCount == before + 1)
    }
}
