// SPDX-License-Identifier: Apache-2.0

import PolicyDocuments
import StrictYAML
import Testing

/// Texts that are not in the language at all.
struct BadTextTests {
    static let texts: [BadDocument] = [
        .init(
            "an anchor",
            "a: &x 1\n",
            "1:4: YAML anchors and aliases are not accepted; write the value out; if it is text, "
                + "put it in double quotes"
        ),
        .init(
            "an alias",
            "a:\n  - *x\n",
            "2:5: YAML anchors and aliases are not accepted; write the value out; if it is text, "
                + "put it in double quotes"
        ),
        .init(
            "an alias in brackets",
            "a: [b, *c]\n",
            "1:8: YAML anchors and aliases are not accepted; write the value out; if it is text, "
                + "put it in double quotes"
        ),
        .init(
            "a tag",
            "a: !!str b\n",
            "1:4: YAML tags are not accepted; remove it; put the text in double quotes if it is "
                + "text"
        ),
        .init(
            "a directive",
            "%YAML 1.2\n---\n",
            "1:1: YAML directives are not accepted; remove it; put the text in double quotes if "
                + "it is text"
        ),
        .init(
            "a tab",
            "a:\n\tb: c\n",
            "2:1: a tab is not indentation; indent with spaces"
        ),
        .init(
            "a key that is a collection",
            "[a]: b\n",
            "1:1: a key that is not a text on one line; write a plain or quoted key"
        ),
        .init(
            "a second colon",
            "a: b: c\n",
            "1:5: a second \": \" on one line; put the value in double quotes, or start the inner "
                + "mapping on its own line"
        ),
        .init(
            "a line indented too far",
            "a: \"b\"\n  c: d\n",
            "2:3: this line is indented further than the lines that it continues; align it with "
                + "them, at column 1"
        ),
        .init(
            "a line indented too little",
            "a:\n  b: c\n d: e\n",
            "3:2: this line is indented further than the lines that it continues; align it with "
                + "them, at column 1"
        ),
        .init(
            "a list in the line of its key",
            "a: - b\n",
            "1:4: a list entry on the line of its key; start the list on a new line"
        ),
        .init(
            "a list that would be text",
            "a: b\n  - c\n",
            "2:3: a list entry that would continue the text above; end the line above with "
                + "\": \", or put the text in quotes"
        ),
        .init(
            "a list beside keys",
            "a: b\n- c\n",
            "2:1: a list entry among the keys of a mapping; indent the list under its key"
        ),
        .init(
            "no space after the colon",
            "a:b\nc: d\n",
            "2:2: \": \" inside a text of several lines; check the indentation, or put the text "
                + "in quotes"
        ),
        .init("an open quote", "a: \"b\n", "1:4: this quote is never closed; close it"),
        .init("an open bracket", "a: [b,\n c\n", "1:4: this bracket is never closed; close it"),
        .init(
            "an open bracket before the next document",
            "{a: b\n---\n",
            "1:1: this bracket is never closed; close it"
        ),
        .init(
            "an unknown escape",
            "a: \"\\q\"\n",
            "1:6: an unknown escape after \"\\\"; write \"\\\\\" for a backslash"
        ),
        .init(
            "half a surrogate pair",
            "a: \"\\ud83d\"\n",
            "1:10: an unknown escape after \"\\\"; write \"\\\\\" for a backslash"
        ),
        .init(
            "a short escape",
            "a: \"\\u12\"\n",
            "1:6: an escape with fewer than 4 hexadecimal digits; complete it"
        ),
        .init(
            "text after a value",
            "a: \"b\" c\n",
            "1:8: unexpected text after a value; put it on a line of its own, or the whole value "
                + "in double quotes"
        ),
        .init(
            "text after a document mark",
            "--- a: b\n",
            "1:5: unexpected text after a document mark; put it on a line of its own, or the "
                + "whole value in double quotes"
        ),
        .init(
            "a missing value in braces",
            "{a: , b: c}\n",
            "1:5: the value of \"a\" is missing; write it, or remove the key"
        ),
        .init(
            "a control character",
            "a: \"é\u{1}\"\n",
            "1:6: the character U+0001 is not allowed in a document; write it as an escape "
                + "inside double quotes"
        ),
        .init(
            "a hidden line end",
            "a: b\u{2028}\n",
            "1:5: the character U+2028 is not allowed in a document; write it as an escape "
                + "inside double quotes"
        ),
    ]

    @Test(arguments: texts)
    func `a text outside the language is refused where it leaves it`(bad: BadDocument) {
        let error = #expect(throws: DocumentProblems.self) {
            try Document.parse(Array(bad.text.utf8), file: "f.yaml")
        }
        #expect(error?.problems.first?.description == "f.yaml:\(bad.message)")
    }

    @Test func `a text that is not UTF-8 is refused at its line`() {
        let error = #expect(throws: DocumentProblems.self) {
            try Document.parse(Array("a: b\nc: ".utf8) + [0xC3, 0x28], file: "f.yaml")
        }
        #expect(
            error?.description == "f.yaml:2:1: this line is not UTF-8 text; save the file as UTF-8"
        )
    }

    @Test func `a text of more than a mebibyte is refused`() throws {
        let comment = Array(repeating: UInt8(ascii: "#"), count: 1 << 20)
        #expect(try Document.parse(comment, file: "f.yaml").isEmpty)
        let error = #expect(throws: DocumentProblems.self) {
            try Document.parse(comment + comment.prefix(1), file: "f.yaml")
        }
        #expect(error?.problems.first?.what.contains("1048577 bytes") == true)
    }

    @Test(arguments: ["[", "{a: ", "- ", "[[{a: "])
    func `endless nesting is refused`(opening: String) {
        let text = String(repeating: opening, count: 100_000)
        let error = #expect(throws: DocumentProblems.self) {
            try Document.parse(Array(text.utf8), file: "f.yaml")
        }
        #expect(error?.problems.first?.what == "nested more than 32 deep")
    }

    @Test func `reading goes on after the next document mark`() {
        let text = "a: [\n---\nb: *c\n---\nkind: \"\n"
        let stream = YAMLStream(reading: Array(text.utf8), documentsMax: 10)
        #expect(stream.problems.map(\.position.line) == [1, 3, 5])
    }

    @Test func `more documents than the limit are refused at the first one beyond`() {
        let text = String(repeating: "---\na: b\n", count: 4)
        let stream = YAMLStream(reading: Array(text.utf8), documentsMax: 3)
        #expect(stream.documents.count == 3)
        #expect(stream.problems.map(\.position.line) == [8])
    }

    @Test func `a pair of surrogates is one character, as in JSON`() {
        let stream = YAMLStream(reading: Array("\"\\ud83d\\ude00\"".utf8), documentsMax: 1)
        guard case .scalar("\u{1F600}", isPlain: false)? = stream.documents.first?.content else {
            Issue.record("\(stream)")
            return
        }
    }
}
