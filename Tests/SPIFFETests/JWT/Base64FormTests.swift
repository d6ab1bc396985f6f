// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import SPIFFE
import TestSeeds
import Testing

@Suite struct Base64FormTests {
    @Test(arguments: [
        ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="),
        ("fooba", "Zm9vYmE="), ("foobar", "Zm9vYmFy"),
    ])
    func `the examples of RFC 4648 section 10`(plain: String, encoded: String) {
        let bytes = Array(plain.utf8)
        #expect(Base64Form.standard.text(bytes) == encoded)
        #expect(Base64Form.standard.bytes(encoded.utf8) == bytes)
        let unpadded = encoded.filter { $0 != "=" }
        #expect(Base64Form.url.text(bytes) == unpadded)
        #expect(Base64Form.url.bytes(unpadded.utf8) == bytes)
    }

    @Test func `each form has its own last two digits`() {
        #expect(Base64Form.standard.text([0xFB, 0xFF]) == "+/8=")
        #expect(Base64Form.url.text([0xFB, 0xFF]) == "-_8")
        #expect(Base64Form.url.bytes("+/8".utf8) == nil)
        #expect(Base64Form.standard.bytes("-_8=".utf8) == nil)
    }

    @Test(arguments: [
        "A", "AAAAA", "Zg==", "Zg=", "Zh", "Zm9", "Zm8=", "Z g", "Zg\n", " Zg", "Zm9v.", "Zm9v\0",
        "=", "é", "Zg%3D",
    ])
    func `base64url has one text for each byte string`(text: String) {
        #expect(Base64Form.url.bytes(text.utf8) == nil)
    }

    @Test(arguments: ["Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "====", "Z===", "Zm9v====", "Zm9v\n"])
    func `padded base 64 has one text for each byte string`(text: String) {
        #expect(Base64Form.standard.bytes(text.utf8) == nil)
    }

    @Test(arguments: [1, 2] as [UInt64])
    func `any bytes come back, and Foundation writes the same`(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        for length in 0..<200 {
            let bytes = (0..<length).map { _ in UInt8.random(in: .min ... .max, using: &random) }
            let padded = Base64Form.standard.text(bytes)
            #expect(padded == Data(bytes).base64EncodedString())
            #expect(Base64Form.standard.bytes(padded.utf8) == bytes)
            #expect(Base64Form.url.bytes(Base64Form.url.text(bytes).utf8) == bytes)
        }
    }
}
