// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import PolicyDocuments
internal import SPIFFE
internal import StrictYAML
internal import Yams

/// What is read here is read by libyaml to the same values, and a document that was read is
/// written in every form so that it reads as itself again.
enum DocumentProperty {
    static func check(_ input: [UInt8]) throws(PropertyBroken) -> Bool {
        try checkText(input)
        guard let documents = try? Document.parse(input, file: "input") else { return false }
        for document in documents {
            // Runs the tests of policies.
            if let trustDomain = try? TrustDomain("example.org") {
                _ = document.problems(inTrustDomain: trustDomain)
            }
            let forms = [
                document.canonicalJSON, Array(document.prettyJSON(stored: nil).utf8),
                Array(document.yaml(stored: nil).utf8),
            ]
            for form in forms {
                let text = String(decoding: form, as: UTF8.self)
                let again = try expectSuccess("own output: \(text)") {
                    try Document.parse(form, file: "output")
                }
                try expect(
                    again.count == 1 && again[0].spec == document.spec
                        && again[0].key == document.key
                        && again[0].canonicalJSON == document.canonicalJSON,
                    "the document changed: \(text)"
                )
            }
        }
        return !documents.isEmpty
    }

    private static func checkText(_ input: [UInt8]) throws(PropertyBroken) {
        let stream = YAMLStream(reading: input, documentsMax: 100)
        guard stream.problems.isEmpty else { return }
        let own = stream.documents.map(Tree.init)
        guard let text = String(validating: input, as: UTF8.self) else {
            throw PropertyBroken("accepted a text that is not UTF-8")
        }
        do {
            let other = try Tree.libyaml(text)
            try expect(own == other, "own: \(own), libyaml: \(other)")
        } catch let broken as PropertyBroken {
            throw broken
        } catch {
            // JSON may be indented with tabs; libyaml refuses some of that.
            try expect(text.contains("\t"), "read as \(own), refused by libyaml: \(error)")
        }
    }
}

/// The values of a document without positions.
private enum Tree: Equatable {
    case absent
    case mapping([String: Tree])
    case scalar(String)
    case sequence([Tree])

    struct KeyIsNoText: Error {}

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

    /// The documents as libyaml reads them, without empty ones.
    static func libyaml(_ text: String) throws -> [Tree] {
        // Told that the text is UTF-8, libyaml takes a byte order mark for text.
        let bare = text.unicodeScalars.first == "\u{FEFF}" ? text.unicodeScalars.dropFirst() : nil
        var nodes = try compose_all(yaml: bare.map { String($0) } ?? text)
        var trees: [Tree] = []
        while let node = nodes.next() { trees.append(try Tree(node)) }
        if let error = nodes.error { throw error }
        return trees.filter { $0 != .absent }
    }
}
