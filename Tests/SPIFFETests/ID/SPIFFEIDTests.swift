// SPDX-License-Identifier: Apache-2.0

import SPIFFE
import TestSeeds
import Testing

/// A text that is no SPIFFE ID, and the rule it breaks.
struct RefusedID: Sendable, CustomTestStringConvertible {
    let text: String
    let error: SPIFFEIDError

    init(_ text: String, _ error: SPIFFEIDError) {
        self.text = text
        self.error = error
    }

    var testDescription: String { String(reflecting: text.prefix(40)) }
}

@Suite struct SPIFFEIDTests {
    @Test(arguments: [
        RefusedID("spiffe://td/a?x", .hasQuery),
        RefusedID("spiffe://td?x", .hasQuery),
        RefusedID("spiffe://td/a#f", .hasFragment),
        RefusedID("spiffe://td#f", .hasFragment),
        RefusedID("http://td/a", .schemeNotSPIFFE),
        RefusedID("spiffe:/td/a", .schemeNotSPIFFE),
        RefusedID("spiffe:td/a", .schemeNotSPIFFE),
        RefusedID("//td/a", .schemeNotSPIFFE),
        RefusedID(" spiffe://td/a", .schemeNotSPIFFE),
        RefusedID("", .schemeNotSPIFFE),
    ])
    func `ID-1 only the scheme spiffe without query and fragment is accepted`(
        _ refused: RefusedID
    ) {
        #expect(throws: refused.error) { try SPIFFEID(refused.text) }
    }

    @Test(arguments: [
        RefusedID("spiffe:///a", .trustDomainEmpty),
        RefusedID("spiffe://", .trustDomainEmpty),
        RefusedID("spiffe://u@td/a", .trustDomainHasUserinfo),
        RefusedID("spiffe://u:p@td/a", .trustDomainHasPort),
        RefusedID("spiffe://td:8080/a", .trustDomainHasPort),
        RefusedID("spiffe://td:/a", .trustDomainHasPort),
    ])
    func `ID-2 the trust domain is not empty and has neither user nor port`(
        _ refused: RefusedID
    ) {
        #expect(throws: refused.error) { try SPIFFEID(refused.text) }
    }

    @Test(arguments: [
        RefusedID("spiffe://Td/a", .trustDomainCharacter(UInt8(ascii: "T"))),
        RefusedID("spiffe://t%64/a", .trustDomainCharacter(UInt8(ascii: "%"))),
        RefusedID("spiffe://t$d/a", .trustDomainCharacter(UInt8(ascii: "$"))),
        RefusedID("spiffe://[::1]/a", .trustDomainCharacter(UInt8(ascii: "["))),
        RefusedID("spiffe://t d/a", .trustDomainCharacter(UInt8(ascii: " "))),
        RefusedID("spiffe://td\0/a", .trustDomainCharacter(0)),
        RefusedID("spiffe://t\u{E9}/a", .trustDomainCharacter(0xC3)),
        RefusedID("spiffe://e\u{301}x/a", .trustDomainCharacter(0xCC)),
    ])
    func `ID-3 a trust domain holds only lower case letters, digits, dot, dash and underscore`(
        _ refused: RefusedID
    ) {
        #expect(throws: refused.error) { try SPIFFEID(refused.text) }
    }

    @Test(arguments: ["a_b", "10.0.0.1", "1td", "-", "a..b", "example.org", "_"])
    func `ID-3 any name of allowed characters is a trust domain`(_ name: String) throws {
        #expect(try SPIFFEID("spiffe://\(name)/a").trustDomain == TrustDomain(name))
    }

    @Test(arguments: ["127.0.0.1", "localhost", "example.org", "256.300.1.1", "a"])
    func `ID-4 a trust domain is treated alike whatever it looks like`(_ name: String) throws {
        let id = try SPIFFEID("spiffe://\(name)/x")
        #expect(id.trustDomain.name == name)
        #expect(id.path == "/x")
        #expect(id.description == "spiffe://\(name)/x")
    }

    @Test(arguments: [
        RefusedID("spiffe://td/a//b", .pathEmptySegment),
        RefusedID("spiffe://td//a", .pathEmptySegment),
        RefusedID("spiffe://td/./a", .pathDotSegment),
        RefusedID("spiffe://td/a/.", .pathDotSegment),
        RefusedID("spiffe://td/../a", .pathDotSegment),
        RefusedID("spiffe://td/a/..", .pathDotSegment),
        RefusedID("spiffe://td/a/", .pathTrailingSlash),
        RefusedID("spiffe://td/", .pathTrailingSlash),
        RefusedID("spiffe://td/%41", .pathCharacter(UInt8(ascii: "%"))),
        RefusedID("spiffe://td/%2e%2e", .pathCharacter(UInt8(ascii: "%"))),
    ])
    func `ID-5 a path with an empty, dot or dot-dot segment is refused`(_ refused: RefusedID) {
        #expect(throws: refused.error) { try SPIFFEID(refused.text) }
    }

    @Test(arguments: ["...", ".a", "a.", "..a", "-", "_"])
    func `ID-5 other segments of dots are accepted`(_ segment: String) throws {
        #expect(try SPIFFEID("spiffe://td/\(segment)").path == "/\(segment)")
    }

    @Test(arguments: [
        RefusedID("spiffe://td/a!", .pathCharacter(UInt8(ascii: "!"))),
        RefusedID("spiffe://td/a b", .pathCharacter(UInt8(ascii: " "))),
        RefusedID("spiffe://td/\u{E9}", .pathCharacter(0xC3)),
        RefusedID("spiffe://td/a\0", .pathCharacter(0)),
        RefusedID("spiffe://td/a:b", .pathCharacter(UInt8(ascii: ":"))),
        RefusedID("spiffe://td/a\\b", .pathCharacter(UInt8(ascii: "\\"))),
        RefusedID("spiffe://td/e\u{301}", .pathCharacter(0xCC)),
    ])
    func `ID-6 a path segment holds only letters, digits, dot, dash and underscore`(
        _ refused: RefusedID
    ) {
        #expect(throws: refused.error) { try SPIFFEID(refused.text) }
    }

    @Test func `ID-6 a path is case-sensitive`() throws {
        #expect(try SPIFFEID("spiffe://td/A") != SPIFFEID("spiffe://td/a"))
    }

    @Test func `ID-7 an ID has at most 2048 bytes`() throws {
        let longest = "spiffe://td/" + String(repeating: "a", count: 2048 - 12)
        #expect(longest.utf8.count == SPIFFEID.bytesMax)
        #expect(try SPIFFEID(longest).description == longest)
        #expect(throws: SPIFFEIDError.tooLong) { try SPIFFEID(longest + "a") }
        let path = "/" + String(repeating: "a", count: 2048 - 11)
        #expect(throws: SPIFFEIDError.tooLong) {
            try SPIFFEID(trustDomain: TrustDomain("td"), path: path)
        }
    }

    @Test func `ID-8 a trust domain has at most 255 bytes`() throws {
        let longest = String(repeating: "a", count: 255)
        #expect(try SPIFFEID("spiffe://\(longest)/x").trustDomain.name == longest)
        #expect(throws: SPIFFEIDError.trustDomainTooLong) { try SPIFFEID("spiffe://\(longest)a/x") }
        #expect(throws: SPIFFEIDError.trustDomainTooLong) { try TrustDomain(longest + "a") }
    }

    @Test(arguments: [
        RefusedID("SPIFFE://td/a", .schemeNotSPIFFE),
        RefusedID("Spiffe://td/a", .schemeNotSPIFFE),
        RefusedID("spiffe://TD/a", .trustDomainCharacter(UInt8(ascii: "T"))),
    ])
    func `ID-9 upper case in scheme or trust domain is refused, not folded`(_ refused: RefusedID) {
        #expect(throws: refused.error) { try SPIFFEID(refused.text) }
    }

    @Test(arguments: [
        (UInt8(ascii: "*"), "\"*\""), (UInt8(ascii: " "), "\" \""),
        (UInt8(ascii: "\""), "byte 0x22"),
        (0x07, "byte 0x07"), (0x7F, "byte 0x7F"), (0xC3, "byte 0xC3"),
    ])
    func `a character is shown as it is written, or by its number`(byte: UInt8, shown: String) {
        let path = SPIFFEIDError.pathCharacter(byte).description
        #expect(path.hasPrefix("\(shown) in the path: "), "\(path)")
        let domain = SPIFFEIDError.trustDomainCharacter(byte).description
        #expect(domain.hasPrefix("\(shown) in the trust domain: "), "\(domain)")
    }

    @Test func `ID-10 the trust domain's own ID has no path and no trailing slash`() throws {
        let id = try TrustDomain("example.org").id
        #expect(id.description == "spiffe://example.org")
        #expect(id.path.isEmpty)
        #expect(try SPIFFEID("spiffe://example.org") == id)
    }

    @Test func `a path that does not start with a slash is refused`() throws {
        let trustDomain = try TrustDomain("td")
        #expect(throws: SPIFFEIDError.pathNotAbsolute) {
            try SPIFFEID(trustDomain: trustDomain, path: "a")
        }
        #expect(try SPIFFEID(trustDomain: trustDomain, path: "/a").description == "spiffe://td/a")
        #expect(try SPIFFEID(trustDomain: trustDomain, path: "") == trustDomain.id)
    }

    @Test(arguments: ["/signet", "/signet/server/1", "/signet/agent/a"])
    func `an ID below signet is reserved`(_ path: String) throws {
        #expect(try SPIFFEID("spiffe://td\(path)").isReserved)
    }

    @Test(arguments: ["/signets", "/Signet/a", "/a/signet/b", ""])
    func `an ID beside signet is not reserved`(_ path: String) throws {
        #expect(try !SPIFFEID("spiffe://td\(path)").isReserved)
    }

    @Test(arguments: [UInt64(1), 2, 3])
    func `what is parsed is written back byte by byte`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let alphabet = Array("aZ09.-_/%?#@: é\0[]{}".unicodeScalars)
        for _ in 0..<5000 {
            var text = "spiffe://td/"
            for _ in 0..<Int.random(in: 0...8, using: &random) {
                text.unicodeScalars.append(alphabet[Int(random.next() % UInt64(alphabet.count))])
            }
            guard let id = try? SPIFFEID(text) else { continue }
            #expect(Array(id.description.utf8) == Array(text.utf8))
            for segment in id.path.split(separator: "/", omittingEmptySubsequences: false)
                .dropFirst()
            {
                #expect(!segment.isEmpty && segment != "." && segment != "..")
            }
        }
    }
}
