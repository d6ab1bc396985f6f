// SPDX-License-Identifier: Apache-2.0

import PolicyDocuments
import StrictYAML
import TestSeeds
import Testing
import Yams

/// What is read here is read by libyaml to the same values: no text means one thing to Signet and
/// another to the tools around it.
struct YAMLDifferentialTests {
    static let corpus: [String] = [
        "a: 1\nb:\n  c: d e f\n  g: \"x\\ty\"\n",
        "a:\n- b\n- c: d\n  e: f\n-\n  - g\n  - - h\n    - i\nz: y\n",
        "- - - a\n    - b\n  - c\n-\n- d # comment\n# more\n-   e:\n      f\n",
        "a: |\n  one\n   two\n\n  three\n\nb: >\n  one\n  two\n\n    three\n  four\n\n\nc: x\n",
        "a: |+\n  keep\n\n\nb: >-\n  strip\n  it\n\nc: |2\n    two more\n  text\nd: |-\n",
        "a: plain text\n  over two\n\n  lines\nb: 'single ''quoted''\n  text'\nc: end\n",
        "a: \"folded \\\n  escaped\n\n  text \\u00e9\\x41\\n\"\nb: ''\nc: \"\"\nd:\n",
        "{a: 1, \"b\":2, 'c': [x, y z, \"w\"], d: {e: f}}\n",
        "[a, [b, c,], {d: e}, \"f\",\n  g,\n  h # comment\n]\n",
        "{\n  \"a\": \"b\",\n  \"c\": [1, 2.5, true, null, \"\\/\"],\n  \"d\": {}\n}\n",
        "---\na: b\n---\n# empty\n---\nc: d\n...\n---\ne\n",
        "\u{FEFF}a: é\n\"ключ\": значение\nurl: http://a.b/c?d=e#f\npath: a:b::c\n",
        "a : b\nc  :  d  \ne: -1\nf: --flag\ng: a#b\nh: [a#b, -1]\ni: a - b ? c\n",
        "a: {b: [c, {d: e}],\n  f: g}\nh: [\n]\ni: {}\n",
        "spiffeID: spiffe://example.org/team/{unix.user}\nsel:\n  - unix:uid:1000\n  - \"*\"\n",
    ]

    @Test(arguments: corpus)
    func `a text of the corpus is read, and as libyaml reads it`(text: String) throws {
        let stream = YAMLStream(reading: Array(text.utf8), documentsMax: 100)
        #expect(stream.problems.isEmpty)
        #expect(stream.documents.map(Tree.init) == (try Self.libyaml(text)))
    }

    @Test(arguments: [UInt64](1...8))
    func `whatever is read is read as libyaml reads it`(seed: UInt64) throws {
        var mutation = TextMutation(random: SeededGenerator(seed: seed))
        var accepted = 0
        for round in 0..<2_500 {
            let base = Self.corpus[Int.random(in: 0..<Self.corpus.count, using: &mutation.random)]
            let bytes = mutation.mutated(Array(base.utf8))
            let stream = YAMLStream(reading: bytes, documentsMax: 100)
            guard stream.problems.isEmpty else { continue }
            accepted += 1
            let text = String(decoding: bytes, as: UTF8.self)
            let other = try? Self.libyaml(text)
            let own = stream.documents.map(Tree.init)
            // JSON may be indented with tabs; libyaml refuses some of that.
            guard own != other, other != nil || !text.contains("\t") else { continue }
            let theirs = other.map { "\($0)" } ?? "refused"
            Issue.record("round \(round), own: \(own), libyaml: \(theirs), text:\n\(text)")
            return
        }
        #expect(accepted > 100)
    }

    /// The documents as libyaml reads them, without empty ones.
    private static func libyaml(_ text: String) throws -> [Tree] {
        // Told that the text is UTF-8, libyaml takes a byte order mark for text.
        let bare = text.unicodeScalars.first == "\u{FEFF}" ? text.unicodeScalars.dropFirst() : nil
        var nodes = try compose_all(yaml: bare.map { String($0) } ?? text)
        var trees: [Tree] = []
        while let node = nodes.next() { trees.append(try Tree(node)) }
        if let error = nodes.error { throw error }
        return trees.filter { $0 != .absent }
    }
}

/// The values of a document without positions.
private enum Tree: Equatable, CustomStringConvertible {
    case absent
    case mapping([String: Tree])
    case scalar(String)
    case sequence([Tree])

    struct KeyIsNoText: Error {}

    var description: String {
        switch self {
        case .absent: "-"
        case .mapping(let members): "\(members)"
        case .scalar(let text): text.debugDescription
        case .sequence(let items): "\(items)"
        }
    }

    init(_ node: YAMLNode) {
        self =
            switch node.content {
            case .mapping(let pairs):
                .mapping(
                    Dictionary(pairs.map { ($0.key, Tree($0.value)) }, uniquingKeysWith: { $1 })
                )
            case .scalar("", isPlain: true): .absent
            case .scalar(let text, _): .scalar(text)
            case .sequence(let nodes): .sequence(nodes.map(Tree.init))
            }
    }

    init(_ node: Node) throws {
        switch node {
        case .mapping(let mapping):
            var members: [String: Tree] = [:]
            for (key, value) in mapping {
                guard let scalar = key.scalar else { throw KeyIsNoText() }
                members[scalar.string] = try Tree(value)
            }
            self = .mapping(members)
        case .scalar(let scalar):
            self =
                scalar.string.isEmpty && scalar.style == .plain ? .absent : .scalar(scalar.string)
        case .sequence(let sequence): self = .sequence(try sequence.map { try Tree($0) })
        case .alias: throw KeyIsNoText()
        }
    }
}
