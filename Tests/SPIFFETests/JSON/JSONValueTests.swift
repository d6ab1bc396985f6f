// SPDX-License-Identifier: Apache-2.0

import SPIFFE
import TestSeeds
import Testing

/// A text that is no JSON that is read, and why.
struct RefusedJSON: Sendable, CustomTestStringConvertible {
    let bytes: [UInt8]
    let error: JSONError

    init(_ text: String, _ error: JSONError) {
        self.init(Array(text.utf8), error)
    }

    init(_ bytes: [UInt8], _ error: JSONError) {
        self.bytes = bytes
        self.error = error
    }

    var testDescription: String { String(decoding: bytes.prefix(40), as: UTF8.self) }
}

@Suite struct JSONValueTests {
    private static func read(_ text: String) throws(JSONError) -> JSONValue {
        try JSONValue(parsing: Array(text.utf8), bytesMax: 1 << 20)
    }

    @Test(arguments: [
        "{}", "[]", "null", "true", "false", "0", "-0", "12", "-1.5", "1e9", "2E-3", "0.10",
        "\"\"", "\"\\\"\\\\\"", "\"\\u0000\\u001f\"", "\"é€😀\"",
        "{\"a\":[1,{\"b\":null}],\"c\":\"\"}", "18446744073709551616", "1e400",
    ])
    func `text in its one form is kept byte by byte`(text: String) throws {
        #expect(String(decoding: try Self.read(text).encoded, as: UTF8.self) == text)
    }

    @Test(arguments: [
        (" { \"b\" : 1 ,\t\"a\"\r\n: [ ] } ", "{\"a\":[],\"b\":1}"),
        ("\"\\/\\b\\f\\n\\r\\t\"", "\"/\\u0008\\u000c\\u000a\\u000d\\u0009\""),
        ("\"\\u00e9\\u20AC\\ud83d\\ude00\"", "\"é€😀\""),
    ])
    func `other spellings of a value are written in one form`(
        text: String,
        written: String
    ) throws {
        #expect(String(decoding: try Self.read(text).encoded, as: UTF8.self) == written)
    }

    @Test(arguments: [
        RefusedJSON("", .malformed(offset: 0)),
        RefusedJSON("{", .malformed(offset: 1)),
        RefusedJSON("[1,]", .malformed(offset: 3)),
        RefusedJSON("{\"a\":1,}", .malformed(offset: 7)),
        RefusedJSON("{a:1}", .malformed(offset: 1)),
        RefusedJSON("'a'", .malformed(offset: 0)),
        RefusedJSON("01", .trailingBytes(offset: 1)),
        RefusedJSON("+1", .malformed(offset: 0)),
        RefusedJSON(".5", .malformed(offset: 0)),
        RefusedJSON("1.", .malformed(offset: 2)),
        RefusedJSON("1e", .malformed(offset: 2)),
        RefusedJSON("-", .malformed(offset: 1)),
        RefusedJSON("NaN", .malformed(offset: 0)),
        RefusedJSON("nul", .malformed(offset: 0)),
        RefusedJSON("True", .malformed(offset: 0)),
        RefusedJSON("\"a", .malformed(offset: 2)),
        RefusedJSON("\"\\x\"", .malformed(offset: 2)),
        RefusedJSON("\"\\u12g4\"", .malformed(offset: 5)),
        RefusedJSON("\"a\nb\"", .malformed(offset: 2)),
        RefusedJSON("{} {}", .trailingBytes(offset: 3)),
        RefusedJSON("{}\0", .trailingBytes(offset: 2)),
        RefusedJSON("// a\n1", .malformed(offset: 0)),
        RefusedJSON("{\"a\":1,\"a\":1}", .duplicateName(offset: 7)),
        RefusedJSON("{\"a\":1,\"\\u0061\":2}", .duplicateName(offset: 7)),
        RefusedJSON("[{\"x\":{\"é\":1,\"e\\u0301\":2}}]", .duplicateName(offset: 14)),
        RefusedJSON("\"\\ud800\"", .notUnicode(offset: 7)),
        RefusedJSON("\"\\udc00\"", .notUnicode(offset: 7)),
        RefusedJSON("\"\\ud800\\u0041\"", .notUnicode(offset: 13)),
        RefusedJSON([0xEF, 0xBB, 0xBF, 0x31], .malformed(offset: 0)),
        RefusedJSON([0x22, 0xC0, 0x80, 0x22], .notUnicode(offset: 4)),
        RefusedJSON([0x22, 0xED, 0xA0, 0x80, 0x22], .notUnicode(offset: 5)),
        RefusedJSON([0x22, 0xFF, 0x22], .notUnicode(offset: 3)),
    ])
    func `what readers differ in is refused`(_ refused: RefusedJSON) {
        #expect(throws: refused.error) {
            try JSONValue(parsing: refused.bytes, bytesMax: 1024)
        }
    }

    @Test func `depth, values and length are limited`() throws {
        let most = JSONValue.depthMax
        func nested(_ depth: Int) -> String {
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        #expect(throws: Never.self) { try Self.read(nested(most)) }
        #expect(throws: JSONError.tooDeep) { try Self.read(nested(most + 1)) }
        #expect(throws: JSONError.tooDeep) { try Self.read(nested(100_000)) }
        let many = String(repeating: "0,", count: JSONValue.valuesMax - 2) + "0]"
        #expect(throws: Never.self) { try Self.read("[" + many) }
        #expect(throws: JSONError.tooManyValues) { try Self.read("[0," + many) }
        #expect(throws: JSONError.tooLong(max: 3)) {
            try JSONValue(parsing: Array("1234".utf8), bytesMax: 3)
        }
    }

    @Test func `numbers lose no digits`() throws {
        func number(_ text: String) throws -> JSONNumber? {
            if case .number(let number) = try Self.read(text) { number } else { nil }
        }
        #expect(try number("18446744073709551615")?.unsigned == .max)
        #expect(try number("18446744073709551616")?.unsigned == nil)
        #expect(try number("9007199254740993")?.unsigned == 9_007_199_254_740_993)
        for text in ["-1", "1.0", "1e3", "-0"] {
            #expect(try number(text)?.unsigned == nil)
        }
        #expect(try number("1.5e3")?.double == 1500)
        #expect(try number("1e400")?.double == nil)
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func `what was written is read as the same value`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        for _ in 0..<500 {
            let value = Self.value(depth: 4, &random)
            let bytes = value.encoded
            #expect(try JSONValue(parsing: bytes, bytesMax: 1 << 20) == value)
            // With a byte changed it is refused, or it is what it then says.
            var changed = bytes
            changed[Int.random(in: 0..<bytes.count, using: &random)] =
                UInt8.random(in: .min ... .max, using: &random)
            if let other = try? JSONValue(parsing: changed, bytesMax: 1 << 20) {
                #expect(try JSONValue(parsing: other.encoded, bytesMax: 1 << 20) == other)
            }
        }
    }

    private static func value(depth: Int, _ random: inout SeededGenerator) -> JSONValue {
        switch Int.random(in: 0...(depth > 0 ? 6 : 4), using: &random) {
        case 0: return .null
        case 1: return .boolean(Bool.random(using: &random))
        case 2: return .number(JSONNumber(Int64.random(in: .min ... .max, using: &random)))
        case 3, 4: return .string(text(&random))
        case 5:
            let count = Int.random(in: 0...3, using: &random)
            return .array((0..<count).map { _ in value(depth: depth - 1, &random) })
        default:
            var members: [String: JSONValue] = [:]
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                members[text(&random)] = value(depth: depth - 1, &random)
            }
            return .object(members)
        }
    }

    private static func text(_ random: inout SeededGenerator) -> String {
        let alphabet = Array("ab\"\\/\u{0}\u{1f}\n é€😀".unicodeScalars)
        var text = ""
        for _ in 0..<Int.random(in: 0...6, using: &random) {
            text.unicodeScalars.append(alphabet[Int(random.next() % UInt64(alphabet.count))])
        }
        return text
    }
}
