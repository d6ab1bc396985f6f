// SPDX-License-Identifier: Apache-2.0

import Crypto
import CryptoExtras
import FoundationEssentials
import SPIFFE
import Testing

@Suite struct JSONWebKeyTests {
    /// RFC 7515 appendix A.3.1.
    private static let a3x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
    private static let a3y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
    /// RFC 7515 appendix A.2.1.
    private static let a2n = """
        ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt\
        0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSX\
        ndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5\
        IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ
        """
    /// RFC 7638 section 3.1.
    private static let thumbprintN = """
        0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_B\
        JECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_F\
        DW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4\
        vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw
        """
    private static let payload = """
        eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0\
        cnVlfQ
        """
    private static let a2Signature = """
        cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W\
        2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkS\
        jtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnv\
        Wh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw
        """
    private static let a3Signature = """
        DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q
        """

    private static func key(_ members: [String: String]) throws(JSONWebKeyError) -> JSONWebKey {
        try JSONWebKey(members: members.mapValues { .string($0) })
    }

    private static func a3() throws -> JSONWebKey {
        try key(["kty": "EC", "crv": "P-256", "x": a3x, "y": a3y])
    }

    @Test func `the example of RFC 7515 appendix A.2 verifies`() throws {
        let key = try Self.key(["kty": "RSA", "n": Self.a2n, "e": "AQAB"])
        let token = Array("eyJhbGciOiJSUzI1NiJ9.\(Self.payload).\(Self.a2Signature)".utf8)
        let jws = try CompactJWS(parsing: token)
        #expect(key.kind == .rsa(bits: 2048))
        #expect(jws.algorithm == .rs256 && jws.keyID == nil && jws.type == nil)
        #expect(String(decoding: jws.payload, as: UTF8.self).hasPrefix("{\"iss\":\"joe\",\r\n"))
        #expect(key.verifies(jws.signature, of: jws.signingInput, by: .rs256))
        #expect(!key.verifies(jws.signature, of: jws.signingInput, by: .ps256))
        #expect(!key.verifies(jws.signature, of: jws.signingInput, by: .es256))
        #expect(!key.verifies([0] + jws.signature, of: jws.signingInput, by: .rs256))
    }

    @Test func `the example of RFC 7515 appendix A.3 verifies`() throws {
        let key = try Self.a3()
        let token = Array("eyJhbGciOiJFUzI1NiJ9.\(Self.payload).\(Self.a3Signature)".utf8)
        let jws = try CompactJWS(parsing: token)
        #expect(jws.algorithm == .es256 && jws.signature.count == 64)
        #expect(key.verifies(jws.signature, of: jws.signingInput, by: .es256))
        #expect(!key.verifies(jws.signature, of: jws.signingInput.dropLast(), by: .es256))
        #expect(!key.verifies(jws.signature, of: jws.signingInput, by: .rs256))
    }

    @Test func `the thumbprint is that of RFC 7638 section 3 point 1`() throws {
        let key = try Self.key([
            "kty": "RSA", "n": Self.thumbprintN, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
        ])
        #expect(key.thumbprint == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs")
    }

    @Test func `a key keeps its members and its other form`() throws {
        let document = try BundleDocument(parsing: Array(JWTVectors.keySet.utf8))
        #expect(
            document.jwtAuthorities.map(\.key.kind) == [.p256, .p384, .p521, .rsa(bits: 2048)]
        )
        for key in document.jwtAuthorities.map(\.key) {
            #expect(try JSONWebKey(members: key.members) == key)
            #expect(try JSONWebKey(subjectPublicKeyInfo: key.subjectPublicKeyInfo) == key)
        }
        let members = try Self.a3().members
        #expect(
            members == [
                "kty": .string("EC"), "crv": .string("P-256"), "x": .string(Self.a3x),
                "y": .string(Self.a3y),
            ]
        )
    }

    /// Members that replace those of a good key, and the rule that is then broken.
    struct Refused: Sendable, CustomTestStringConvertible {
        let members: [String: String]
        let error: JSONWebKeyError

        init(_ members: [String: String], _ error: JSONWebKeyError) {
            self.members = members
            self.error = error
        }

        var testDescription: String { "\(error)" }
    }

    @Test(arguments: [
        Refused(["crv": "P-384"], .coordinateWidth("x")),
        Refused(["crv": "secp256k1"], .curveUnsupported),
        Refused(["crv": "p-256"], .curveUnsupported),
        Refused(["kty": "ec"], .keyTypeUnsupported),
        Refused(["kty": "oct", "k": "AAAA"], .keyTypeUnsupported),
        Refused(["kty": "OKP"], .keyTypeUnsupported),
        Refused(["d": "AAAA"], .privateKey),
        Refused(["x": a3y], .pointNotOnCurve),
        Refused(["x": a3x + "="], .notBase64URL("x")),
        Refused(["y": String(a3y.dropLast())], .notBase64URL("y")),
        Refused(["y": "AAAA" + a3y], .coordinateWidth("y")),
        Refused(["y": ""], .coordinateWidth("y")),
    ])
    func `a point that is not one is refused`(_ refused: Refused) {
        let good = ["kty": "EC", "crv": "P-256", "x": Self.a3x, "y": Self.a3y]
        #expect(throws: refused.error) {
            try Self.key(good.merging(refused.members) { $1 })
        }
    }

    @Test func `an RSA key that is too short, too long or odd is refused`() throws {
        func rsa(_ modulus: [UInt8], _ exponent: [UInt8] = [1, 0, 1]) throws(JSONWebKeyError) {
            _ = try Self.key([
                "kty": "RSA", "n": Base64Form.url.text(modulus),
                "e": Base64Form.url.text(exponent),
            ])
        }
        let good = try #require(Base64Form.url.bytes(Self.a2n.utf8))
        #expect(throws: Never.self) { try rsa(good) }
        #expect(throws: JSONWebKeyError.rsaLeadingZero) { try rsa([0] + good) }
        #expect(throws: JSONWebKeyError.rsaModulusEven) { try rsa(good.dropLast() + [0xA0]) }
        #expect(throws: JSONWebKeyError.rsaModulusBits(2040)) { try rsa(good.dropLast()) }
        #expect(throws: JSONWebKeyError.rsaModulusBits(0)) { try rsa([]) }
        let long = [UInt8](repeating: 0xFF, count: 513)
        #expect(throws: JSONWebKeyError.rsaModulusBits(4104)) { try rsa(long) }
        for exponent in [[3], [1], [], [0, 1, 0, 1], [1, 0, 0]] as [[UInt8]] {
            #expect(throws: JSONWebKeyError.rsaExponent) { try rsa(good, exponent) }
        }
        let ed25519 = Array(Curve25519.Signing.PrivateKey().publicKey.rawRepresentation)
        #expect(throws: JSONWebKeyError.subjectPublicKeyInfoUnsupported) {
            try JSONWebKey(subjectPublicKeyInfo: ed25519)
        }
    }
}
