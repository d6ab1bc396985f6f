// SPDX-License-Identifier: Apache-2.0

import AuditLog
import TestSeeds
import Testing

@Suite struct CanonicalJSONTests {
    /// RFC 8785 section 3.2.2.2: the shortest escape, and only where JSON demands one.
    @Test func `strings are escaped as RFC 8785 says`() throws {
        let text = "\u{20AC}$\u{F}\u{A}A'\u{42}\u{22}\u{5C}\u{5C}\u{22}/\u{8}\u{9}\u{C}\u{D}\u{7F}"
        let expected = #""€$\u000f\nA'B\"\\\\\"/\b\t\f\r"# + "\u{7F}\""
        let value = CanonicalJSON.string(text)
        #expect(String(decoding: value.encoded, as: UTF8.self) == expected)
        #expect(try CanonicalJSON(parsing: Array(expected.utf8)) == value)
    }

    @Test func `members are sorted and nothing stands between them`() {
        let value = CanonicalJSON.object([
            "b": .array([.integer(1), .string("x"), .object([:])]), "a1": .integer(-7),
            "A": .array([]),
            "a": .integer(0), "10": .integer(CanonicalJSON.integerMax),
        ])
        #expect(
            String(decoding: value.encoded, as: UTF8.self)
                == #"{"10":9007199254740991,"A":[],"a":0,"a1":-7,"b":[1,"x",{}]}"#
        )
    }

    @Test(arguments: [
        "", " ", "{", "}", "[", "]", "\"", "{}x", "{} ", " {}", "[1, 2]", "[1,]", "[,1]", "[1 2]",
        #"{"a":1,}"#, #"{"a" :1}"#, #"{"a": 1}"#, #"{"a"}"#, #"{"a":}"#, #"{a:1}"#, #"{1:1}"#,
        #"{"b":1,"a":2}"#, #"{"a":1,"a":2}"#, #"{"":1}"#, #"{"é":1}"#, #"{"a\n":1}"#,
        #"{"a b":1}"#, "1.0", "1.5", "1e3", "01", "-0", "+1", "-", "--1", "9007199254740992",
        "-9007199254740992", "123456789012345678901234567890", "null", "true", "false",
        #""\u0041""#, #""\u00e9""#, #""\u000a""#, #""\u000A""#, #""\u000F""#, #""\/""#, #""\x""#,
        #""\ud83d\ude00""#, #""\u00""#, #""\"#, "\"\u{1}\"", "\"a\nb\"", "\"abc",
    ])
    func `any other spelling is refused`(text: String) {
        #expect(throws: CanonicalJSONError.self) { try CanonicalJSON(parsing: Array(text.utf8)) }
    }

    @Test(
        arguments: [
            [0x22, 0xFF, 0x22], [0x22, 0xC0, 0x80, 0x22], [0x22, 0xED, 0xA0, 0x80, 0x22],
            [0x22, 0xF4, 0x90, 0x80, 0x80, 0x22], [0x22, 0xE2, 0x82, 0x22],
            [0xEF, 0xBB, 0xBF, 0x31],
        ] as [[UInt8]]
    )
    func `bytes that are no UTF-8 are refused`(bytes: [UInt8]) {
        #expect(throws: CanonicalJSONError.self) { try CanonicalJSON(parsing: bytes) }
    }

    @Test func `nesting has a limit`() throws {
        func nested(_ depth: Int) -> [UInt8] {
            [UInt8](repeating: UInt8(ascii: "["), count: depth)
                + [UInt8](repeating: UInt8(ascii: "]"), count: depth)
        }
        #expect(throws: Never.self) { try CanonicalJSON(parsing: nested(CanonicalJSON.depthMax)) }
        for depth in [CanonicalJSON.depthMax + 1, 1_000_000] {
            #expect(throws: CanonicalJSONError.tooDeep) {
                try CanonicalJSON(parsing: nested(depth))
            }
        }
    }

    @Test(arguments: Array(1...20) as [UInt64])
    func `what is written is read back`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        for _ in 0..<100 {
            let value = Self.value(depth: 1, using: &random)
            let bytes = value.encoded
            #expect(try CanonicalJSON(parsing: bytes) == value)
            let mangled = Mutation.of(bytes, using: &random)
            if let read = try? CanonicalJSON(parsing: mangled) { #expect(read.encoded == mangled) }
        }
    }

    private static func value(depth: Int, using random: inout SeededGenerator) -> CanonicalJSON {
        switch Int.random(in: depth < 4 ? 0..<4 : 0..<2, using: &random) {
        case 0:
            let bound = Int64(1) << Int64.random(in: 0...53, using: &random)
            return .integer(Int64.random(in: (1 - bound)...(bound - 1), using: &random))
        case 1: return .string(text(using: &random))
        case 2:
            let count = Int.random(in: 0..<4, using: &random)
            return .array((0..<count).map { _ in value(depth: depth + 1, using: &random) })
        default:
            var members: [String: CanonicalJSON] = [:]
            for _ in 0..<Int.random(in: 0..<4, using: &random) {
                let name = "k\(Int.random(in: 0..<100, using: &random))"
                members[name] = value(depth: depth + 1, using: &random)
            }
            return .object(members)
        }
    }

    private static func text(using random: inout SeededGenerator) -> String {
        var text = ""
        for _ in 0..<Int.random(in: 0..<12, using: &random) {
            let range: ClosedRange<UInt32> = Bool.random(using: &random) ? 0...0x7F : 0...0x10_FFFF
            let code = UInt32.random(in: range, using: &random)
            text.unicodeScalars.append(Unicode.Scalar(code) ?? "\u{FFFD}")
        }
        return text
    }
}
