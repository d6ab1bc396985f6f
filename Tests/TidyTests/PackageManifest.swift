// SPDX-License-Identifier: Apache-2.0

/// What the rules have to know about a Package.swift, read from its tokens.
struct PackageManifest {
    /// Our own dependencies of each target, by name.
    var targets: [String: Set<String>] = [:]
    var testTargets: Set<String> = []
    /// The dependencies on packages: location and how the version is required.
    var packages: [(location: String, requirement: String, line: Int)] = []

    init(_ text: String) {
        let tokens = SwiftLexer(text).tokens
        for index in tokens.indices where index + 1 < tokens.count {
            let opens = tokens[index + 1].text == "(" && tokens[index + 1].kind == .punctuation
            guard opens, let end = tokens.closing(of: index + 1) else { continue }
            let call = tokens[(index + 2)..<end]
            switch tokens[index].text {
            case "library", "executable", "tests", "target", "executableTarget", "testTarget":
                addTarget(call, isTest: tokens[index].text.hasPrefix("test"))
            case "package" where tokens[max(index - 1, 0)].text == ".":
                addPackage(call, line: tokens[index].line)
            default:
                break
            }
        }
    }

    /// The first string is the name; strings beside no label other than `dependencies:` are our own
    /// targets, products of packages are named by members such as `.crypto`.
    private mutating func addTarget(_ call: ArraySlice<Token>, isTest: Bool) {
        // A library that only tests use lies below Tests.
        var isTest = isTest
        var label = ""
        var strings: [String] = []
        for index in call.indices {
            let token = call[index]
            if token.text == ":", index > call.startIndex, call[index - 1].kind == .identifier {
                label = call[index - 1].text
            } else if token.kind == .string, ["", "name", "dependencies"].contains(label) {
                strings.append(token.text)
            } else if token.kind == .string, label == "path" {
                isTest = isTest || token.text.hasPrefix("Tests/")
            }
        }
        guard let name = strings.first else { return }
        targets[name, default: []].formUnion(strings.dropFirst())
        if isTest { testTargets.insert(name) }
    }

    private mutating func addPackage(_ call: ArraySlice<Token>, line: Int) {
        let strings = call.filter { $0.kind == .string }.map(\.text)
        let words = call.filter { $0.kind == .identifier }.map(\.text)
        let requirement = words.first { $0 != "url" && $0 != "name" } ?? "none"
        packages.append((strings.first ?? "", requirement, line))
    }
}
