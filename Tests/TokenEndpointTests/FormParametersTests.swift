// SPDX-License-Identifier: Apache-2.0

import Testing
import TokenEndpoint

/// Forms (application/x-www-form-urlencoded) are read in one way or not at all.
@Suite struct FormParametersTests {
    private func read(_ text: String) throws -> FormParameters {
        try FormParameters(parsing: Array(text.utf8))
    }

    @Test func `names and values are read with their escapes`() throws {
        let form = try read("a=b&c%2Dd=e+f%20g%2Bh&i=spiffe://example.org/x&j=%C3%A9")
        #expect(form.names == ["a", "c-d", "i", "j"])
        #expect(form["a"] == "b" && form["c-d"] == "e f g+h" && form["j"] == "\u{E9}")
        #expect(form["i"] == "spiffe://example.org/x")
        #expect(form["A"] == nil)
    }

    @Test func `RFC 6749 3.2: a parameter without value is as if it were not there`() throws {
        let form = try read("a=&b=c")
        #expect(form["a"] == nil && form.names == ["b"])
        #expect(try read("").names.isEmpty)
    }

    @Test(arguments: [
        ("a=b&a=c", FormError.repeated), ("a=&a=c", .repeated), ("a=b&%61=c", .repeated),
        ("a", .malformed), ("=b", .malformed), ("a=b&", .malformed), ("&a=b", .malformed),
        ("a=b=c", .malformed), ("a=b;c=d", .malformed), ("a=b#c", .malformed),
        ("a=\u{E9}", .malformed), ("a=b c", .malformed), ("%C3%A9=b", .malformed),
        ("a=%", .escape), ("a=%2", .escape), ("a=%2G", .escape), ("a=%%20", .escape),
        ("a=%00", .control), ("a=%0D%0A", .control), ("a=%7F", .control), ("%0A=b", .control),
        ("a=%FF", .notUTF8), ("a=%C3", .notUTF8), ("a=%C0%AF", .notUTF8),
        ("a=%ED%A0%80", .notUTF8),
    ])
    func `what has two readings, or none, is refused`(text: String, error: FormError) {
        #expect(throws: error) { try read(text) }
    }

    @Test func `there are as many parameters as there may be, and no more`() throws {
        let most = (0..<FormParameters.countMax).map { "p\($0)=v" }.joined(separator: "&")
        #expect(try read(most).names.count == FormParameters.countMax)
        #expect(throws: FormError.tooMany) { try read(most + "&more=v") }
    }
}
