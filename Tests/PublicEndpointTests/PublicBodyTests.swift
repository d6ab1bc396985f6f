// SPDX-License-Identifier: Apache-2.0

import Crypto
import FoundationEssentials
import PublicEndpoint
import SPIFFE
import Testing

@Suite struct PublicBodyTests {
    private let now = Date(timeIntervalSince1970: 1_800_000_000)

    @Test func `the discovery document depends on the URL alone`() throws {
        let url = try PublicURL(parsing: "https://id.example.org/td")
        let body = PublicBody.discovery(of: url)
        #expect(
            String(decoding: body.bytes, as: UTF8.self) == """
                {"authorization_endpoint":"https://id.example.org/td/authorize",\
                "id_token_signing_alg_values_supported":["RS256","ES256","ES384"],\
                "issuer":"https://id.example.org/td",\
                "jwks_uri":"https://id.example.org/td/keys",\
                "response_types_supported":["id_token"],"subject_types_supported":["public"]}
                """
        )
        #expect(body.contentType == "application/json")
        #expect(body.freshness == .seconds(300))
        #expect(body.entityTag == PublicBody.discovery(of: url).entityTag)
    }

    @Test func `the issuer of exchanged tokens has a name of its own and the same keys`() throws {
        let url = try PublicURL(parsing: "https://id.example.org/td")
        let text = String(decoding: PublicBody.delegatedDiscovery(of: url).bytes, as: UTF8.self)
        #expect(text.contains("\"issuer\":\"https://id.example.org/td/delegated\""))
        #expect(text.contains("\"jwks_uri\":\"https://id.example.org/td/keys\""))
        // Where a client by Discovery 4.1 looks for this issuer.
        let path = PublicDocument.delegatedDiscovery.path
        #expect("\(url)\(path)" == "\(url.delegatedIssuer)/.well-known/openid-configuration")
    }

    @Test func `keys are shown as JOSE libraries look for them`() throws {
        let key = P256.Signing.PrivateKey().publicKey
        let jwk = try JSONWebKey(subjectPublicKeyInfo: Array(key.derRepresentation))
        let body = PublicBody.keys([
            JWTAuthority(keyID: "k1", key: jwk, algorithm: .es256),
            JWTAuthority(keyID: "k2", key: jwk),
        ])
        let value = try JSONValue(parsing: body.bytes, bytesMax: 4096)
        guard case .object(let set) = value, case .array(let keys)? = set["keys"],
            case .object(let first)? = keys.first, case .object(let second)? = keys.last
        else {
            Issue.record("no key set")
            return
        }
        #expect(first["kid"] == .string("k1"))
        #expect(first["use"] == .string("sig"))
        #expect(first["alg"] == .string("ES256"))
        #expect(first["kty"] == .string("EC"))
        #expect(first["d"] == nil)
        #expect(second["kid"] == .string("k2"))
        #expect(second["alg"] == nil)
    }

    @Test func `lists of several authorities are one PEM file`() {
        let body = PublicBody.lists([
            (der: [UInt8](repeating: 0xFF, count: 50), nextUpdate: now.addingTimeInterval(20)),
            (der: [0x30, 0x00], nextUpdate: now.addingTimeInterval(10)),
        ])
        #expect(
            String(decoding: body.bytes, as: UTF8.self) == """
                -----BEGIN X509 CRL-----
                \(String(repeating: "/", count: 64))
                //8=
                -----END X509 CRL-----
                -----BEGIN X509 CRL-----
                MAA=
                -----END X509 CRL-----

                """
        )
        #expect(body.freshness == .until(now.addingTimeInterval(10)))
    }

    @Test func `bodies of other bytes have another tag`() {
        #expect(PublicBody.bundle([1]).entityTag != PublicBody.bundle([2]).entityTag)
        #expect(
            PublicBody.bundle([]).entityTag
                == "\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\""
        )
    }

    @Test(arguments: [
        (0.0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (784_111_777.9, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (951_782_400.0, "Tue, 29 Feb 2000 00:00:00 GMT"),
        (1_735_689_599.0, "Tue, 31 Dec 2024 23:59:59 GMT"),
        (1_740_787_200.0, "Sat, 01 Mar 2025 00:00:00 GMT"),
        (4_107_542_400.0, "Mon, 01 Mar 2100 00:00:00 GMT"),
        (-5.0, "Thu, 01 Jan 1970 00:00:00 GMT"),
    ])
    func `RFC 9110 5.6.7: a time is written in its one form`(seconds: Double, text: String) {
        #expect(HTTPDate(Date(timeIntervalSince1970: seconds)).description == text)
    }
}
