// SPDX-License-Identifier: Apache-2.0

import Crypto
import FoundationEssentials
import SPIFFE
import TestPKI
import TestSeeds
import Testing

/// The rules of bundle documents by row of docs/conformance.md.
@Suite struct BundleDocumentTests {
    private static func read(_ text: String) throws(BundleDocumentError) -> BundleDocument {
        try BundleDocument(parsing: Array(text.utf8))
    }

    /// A key for JWT-SVIDs with other members added or replaced.
    private static func jwtKey(
        _ number: UInt8 = 1,
        id: String = "k1",
        _ change: (inout [String: JSONValue]) -> Void = { _ in }
    ) throws -> String {
        var members = try TestToken.authority(number, id: id).key.members
        members["use"] = .string("jwt-svid")
        members["kid"] = .string(id)
        change(&members)
        return String(decoding: JSONValue.object(members).encoded, as: UTF8.self)
    }

    private static func x509Key(
        _ authority: TestAuthority,
        _ change: (inout [String: JSONValue]) -> Void = { _ in }
    ) throws -> String {
        let spki = Array(authority.key.publicKey.derRepresentation)
        var members = try JSONWebKey(subjectPublicKeyInfo: spki).members
        members["use"] = .string("x509-svid")
        members["x5c"] = .array([.string(Base64Form.standard.text(authority.der))])
        change(&members)
        return String(decoding: JSONValue.object(members).encoded, as: UTF8.self)
    }

    /// Why the only key of a document is left out.
    private static func reason(_ key: String) throws -> LeftOutReason? {
        let document = try read("{\"keys\":[\(key)]}")
        #expect(document.x509Authorities.isEmpty && document.jwtAuthorities.isEmpty)
        return document.leftOut.first?.reason
    }

    @Test func `B-1 keys is there, and empty revokes everything`() throws {
        let empty = try Self.read("{\"keys\":[]}")
        #expect(empty.x509Authorities.isEmpty && empty.jwtAuthorities.isEmpty)
        let bundle = empty.bundle(of: try TrustDomain("example.org"))
        #expect(
            TokenVerdict.of(try TestToken().signed(), by: TestToken.verifier(bundle))
                == .refused(.bundleHasNoKey)
        )
        let cases: [(String, BundleDocumentError)] = [
            ("{}", .keysMissing), ("{\"keys\":{}}", .keysNotList),
            ("{\"keys\":null}", .keysNotList), ("[]", .notObject),
            ("{\"keys\":[1]}", .keyNotObject(index: 0)),
            ("", .notJSON(.malformed(offset: 0))),
            ("{\"keys\":[],\"keys\":[]}", .notJSON(.duplicateName(offset: 11))),
        ]
        for (text, error) in cases {
            #expect(throws: error) { try Self.read(text) }
        }
    }

    @Test func `B-2 the sequence is a whole number of 64 bits`() throws {
        func sequence(_ text: String) throws(BundleDocumentError) -> UInt64? {
            try Self.read("{\"keys\":[],\"spiffe_sequence\":\(text)}").sequenceNumber
        }
        #expect(try Self.read("{\"keys\":[]}").sequenceNumber == nil)
        #expect(try sequence("0") == 0)
        #expect(try sequence("9007199254740993") == 9_007_199_254_740_993)
        #expect(try sequence("18446744073709551615") == .max)
        for text in ["-1", "1.0", "1e3", "\"1\"", "null", "18446744073709551616", "[1]"] {
            #expect(throws: BundleDocumentError.notWholeNumber("spiffe_sequence")) {
                _ = try sequence(text)
            }
        }
    }

    @Test func `B-3 the hint is whole seconds, five minutes without one, and bounded`() throws {
        func refresh(_ text: String) throws(BundleDocumentError) -> Int {
            try Self.read("{\"keys\":[],\"spiffe_refresh_hint\":\(text)}").refreshSeconds
        }
        #expect(try Self.read("{\"keys\":[]}").refreshSeconds == 300)
        #expect(try refresh("120") == 120)
        #expect(try refresh("0") == BundleDocument.refreshSecondsMin)
        #expect(try refresh("18446744073709551615") == BundleDocument.refreshSecondsMax)
        for text in ["-1", "2.5", "\"300\"", "null"] {
            #expect(throws: BundleDocumentError.notWholeNumber("spiffe_refresh_hint")) {
                _ = try refresh(text)
            }
        }
    }

    @Test func `B-4 a key without a known use or type is left out alone`() throws {
        let good = try Self.jwtKey()
        let cases: [(String, LeftOutReason)] = try [
            (Self.jwtKey { $0["use"] = nil }, .useMissing),
            (Self.jwtKey { $0["use"] = .null }, .useMissing),
            (Self.jwtKey { $0["use"] = .string("JWT-SVID") }, .useUnknown),
            (Self.jwtKey { $0["use"] = .string("wit-svid") }, .useUnknown),
            (Self.jwtKey { $0["use"] = .string("sig") }, .useUnknown),
            (Self.jwtKey { $0["kty"] = nil }, .keyTypeMissing),
            (Self.jwtKey { $0["kty"] = .string("OKP") }, .key(.keyTypeUnsupported)),
            (Self.jwtKey { $0["d"] = .string("AAAA") }, .key(.privateKey)),
            (Self.jwtKey { $0["x"] = .string("AAAA") }, .key(.coordinateWidth("x"))),
            (Self.jwtKey { $0["alg"] = .string("RS256") }, .algorithmDoesNotFitKey),
            (Self.jwtKey { $0["alg"] = .string("none") }, .algorithmDoesNotFitKey),
            ("{}", .useMissing),
        ]
        for (key, reason) in cases {
            let document = try Self.read("{\"keys\":[\(key),\(good)]}")
            #expect(document.jwtAuthorities == [try TestToken.authority(1, id: "k1")])
            #expect(document.leftOut == [.init(index: 0, reason: reason)])
        }
        let bound = try Self.read(
            "{\"keys\":[\(Self.jwtKey { $0["alg"] = .string("ES256") })]}"
        )
        #expect(bound.jwtAuthorities.first?.algorithm == .es256)
    }

    @Test func `B-5 unknown members of the set change nothing`() throws {
        let key = try Self.jwtKey { $0["key_ops"] = .array([.string("verify")]) }
        let plain = try Self.read("{\"keys\":[\(key)],\"spiffe_sequence\":1}")
        let more = try Self.read(
            "{\"a\":{\"keys\":[]},\"keys\":[\(key)],\"spiffe_sequence\":1,\"SPIFFE_SEQUENCE\":2}"
        )
        #expect(plain == more)
    }

    @Test func `B-6 a map of bundles is read whole or not at all`() throws {
        func read(_ text: String) throws(BundleMapError) -> BundleMapDocument {
            try BundleMapDocument(parsing: Array(text.utf8))
        }
        let bundle = "{\"keys\":[\(try Self.jwtKey())],\"spiffe_sequence\":7}"
        let map = try read("{\"trust_domains\":{\"a.example\":\(bundle),\"b\":{\"keys\":[]}}}")
        #expect(map.bundles.count == 2)
        #expect(map.bundles[try TrustDomain("a.example")]?.sequenceNumber == 7)
        #expect(throws: BundleMapError.notJSON(.duplicateName(offset: 34))) {
            try read("{\"trust_domains\":{\"a\":{\"keys\":[]},\"a\":{\"keys\":[]}}}")
        }
        #expect(throws: BundleMapError.trustDomainMalformed(.trustDomainCharacter(0x2F))) {
            try read("{\"trust_domains\":{\"a/\":{\"keys\":[]}}}")
        }
        #expect(throws: BundleMapError.bundle(try TrustDomain("b"), .keysMissing)) {
            try read("{\"trust_domains\":{\"a\":{\"keys\":[]},\"b\":{}}}")
        }
        for text in ["{}", "[]", "{\"trust_domains\":[]}"] {
            #expect(throws: BundleMapError.trustDomainsMissing) { try read(text) }
        }
        let many = (0...BundleMapDocument.trustDomainsMax).map { "\"td\($0)\":{\"keys\":[]}" }
        #expect(throws: BundleMapError.trustDomainsTooMany) {
            try read("{\"trust_domains\":{\(many.joined(separator: ","))}}")
        }
    }

    @Test(arguments: ["1", "-1", "\"soon\"", "null"])
    func `B-6 a refresh hint inside a map of bundles is ignored, whatever it is`(
        _ hint: String
    ) throws {
        func map(_ more: String) throws -> BundleMapDocument {
            let bundle = "{\"keys\":[\(try Self.jwtKey())],\"spiffe_sequence\":7\(more)}"
            return try BundleMapDocument(
                parsing: Array("{\"trust_domains\":{\"a.example\":\(bundle)}}".utf8)
            )
        }
        let found = try map(",\"spiffe_refresh_hint\":\(hint)")
        #expect(try found == map(""))
        #expect(found.bundles.values.first?.refreshHintSeconds == nil)
        #expect(found.bundles.values.first?.sequenceNumber == 7)
    }

    @Test func `J-10 a key for JWT-SVIDs has an ID, single in its set`() throws {
        #expect(try Self.reason(Self.jwtKey { $0["kid"] = nil }) == .keyIDMissing)
        #expect(try Self.reason(Self.jwtKey { $0["kid"] = .string("") }) == .keyIDMissing)
        let number = try Self.jwtKey { $0["kid"] = .number(JSONNumber(1)) }
        #expect(try Self.reason(number) == .keyIDMissing)
        let long = String(repeating: "k", count: JWTAuthority.keyIDBytesMax)
        #expect(try Self.read("{\"keys\":[\(Self.jwtKey(id: long))]}").jwtAuthorities.count == 1)
        #expect(try Self.reason(Self.jwtKey(id: long + "k")) == .keyIDTooLong)
        #expect(throws: BundleDocumentError.keyIDTwice) {
            try Self.read("{\"keys\":[\(Self.jwtKey(1)),\(Self.jwtKey(2))]}")
        }
        // A key of another use does not count, whatever its ID.
        let other = try Self.jwtKey(2) { $0["use"] = .string("x509-svid") }
        let document = try Self.read("{\"keys\":[\(Self.jwtKey(1)),\(other)]}")
        #expect(document.jwtAuthorities.map(\.keyID) == ["k1"])
    }

    @Test func `X-15 an authority is written with its one certificate and no key ID`() throws {
        let authority = try TestAuthority.root("example.org")
        let bundle = TrustBundle(
            trustDomain: authority.trustDomain,
            x509Authorities: [authority.der],
            x509Intermediates: [],
            jwtAuthorities: [try TestToken.authority(1, id: "k1")],
            sequenceNumber: 18_446_744_073_709_551_615,
            refreshHintSeconds: 300
        )
        let text = String(decoding: try bundle.document(), as: UTF8.self)
        #expect(
            text == """
                {"keys":[\(try Self.x509Key(authority)),\(try Self.jwtKey())],\
                "spiffe_refresh_hint":300,"spiffe_sequence":18446744073709551615}
                """
        )
        #expect(!(try Self.x509Key(authority)).contains("kid"))
        let read = try Self.read(text)
        #expect(read.leftOut.isEmpty && read.bundle(of: authority.trustDomain) == bundle)
        let unreadable = TrustBundle(
            trustDomain: authority.trustDomain,
            x509Authorities: [authority.der, [0x30, 0x00]],
            x509Intermediates: [],
            sequenceNumber: 1,
            refreshHintSeconds: 300
        )
        #expect(throws: BundleDocumentError.authorityUnreadable(index: 1)) {
            try unreadable.document()
        }
    }

    @Test func `X-16 only the first certificate counts, and it is that of the key`() throws {
        let authority = try TestAuthority.root("example.org")
        let other = try TestAuthority.root("example.org")
        let own = JSONValue.string(Base64Form.standard.text(authority.der))
        let foreign = JSONValue.string(Base64Form.standard.text(other.der))
        let two = try Self.x509Key(authority) { $0["x5c"] = .array([own, foreign]) }
        #expect(try Self.read("{\"keys\":[\(two)]}").x509Authorities == [authority.der])
        let cases: [(JSONValue?, LeftOutReason)] = [
            (nil, .certificateMissing),
            (.array([]), .certificateMissing),
            (own, .certificateMissing),
            (.array([.null, own]), .certificateMissing),
            (.array([.string(Base64Form.url.text(authority.der) + "-")]), .certificateNotBase64),
            (.array([.string("MAA=\n")]), .certificateNotBase64),
            (.array([.string("")]), .certificateMalformed(.truncated)),
            (.array([foreign]), .certificateOfAnotherKey),
        ]
        for (chain, reason) in cases {
            let key = try Self.x509Key(authority) { $0["x5c"] = chain }
            #expect(try Self.reason(key) == reason)
        }
    }

    @Test func `A-7 a bundle for JWT-SVIDs holds no other keys`() throws {
        let authority = try TestAuthority.root("example.org")
        let bundle = TrustBundle(
            trustDomain: authority.trustDomain,
            x509Authorities: [authority.der],
            x509Intermediates: [],
            jwtAuthorities: [
                try TestToken.authority(1, id: "k1"), try TestToken.authority(2, id: "k2"),
            ],
            sequenceNumber: 1,
            refreshHintSeconds: 300
        )
        let text = String(decoding: bundle.jwtKeySet(), as: UTF8.self)
        #expect(text == "{\"keys\":[\(try Self.jwtKey(1)),\(try Self.jwtKey(2, id: "k2"))]}")
        let read = try Self.read(text)
        #expect(read.jwtAuthorities == bundle.jwtAuthorities && read.x509Authorities.isEmpty)
    }

    @Test func `huge documents are refused`() throws {
        let most = BundleDocument.bytesMax
        #expect(throws: BundleDocumentError.notJSON(.tooLong(max: most))) {
            try BundleDocument(parsing: [UInt8](repeating: 0x20, count: most + 1))
        }
        let keys = Array(repeating: "{}", count: BundleDocument.keysMax).joined(separator: ",")
        #expect(try Self.read("{\"keys\":[\(keys)]}").leftOut.count == BundleDocument.keysMax)
        #expect(throws: BundleDocumentError.keysTooMany) {
            try Self.read("{\"keys\":[{},\(keys)]}")
        }
        let jwtKeys = try (0...TrustBundle.authoritiesMax).map { try Self.jwtKey(id: "k\($0)") }
        #expect(throws: BundleDocumentError.authoritiesTooMany) {
            try Self.read("{\"keys\":[\(jwtKeys.joined(separator: ","))]}")
        }
        let fewer = jwtKeys.dropLast().joined(separator: ",")
        #expect(
            try Self.read("{\"keys\":[\(fewer)]}").jwtAuthorities.count
                == TrustBundle.authoritiesMax
        )
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func `what a changed document gives is written as itself`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let trustDomain = try TrustDomain("example.org")
        let authority = try TestAuthority.root("example.org")
        let text = Array(
            "{\"keys\":[\(try Self.jwtKey()),\(try Self.x509Key(authority))]}".utf8
        )
        for _ in 0..<300 {
            var changed = text
            changed[Int.random(in: 0..<text.count, using: &random)] =
                UInt8.random(in: 0x20...0x7E, using: &random)
            guard let document = try? BundleDocument(parsing: changed) else { continue }
            let bundle = document.bundle(of: trustDomain)
            let again = try BundleDocument(parsing: bundle.document())
            #expect(again.bundle(of: trustDomain) == bundle)
        }
    }
}
