// SPDX-License-Identifier: Apache-2.0

import Authorization
import HTTPSemantics
import StrictYAML

/// Reads the rules of an `AccessPolicy`.
extension DocumentParser {
    mutating func accessRules(
        _ node: YAMLNode,
        action: AccessPolicy.Action?
    ) -> [AccessRule]? {
        let path = "spec.rules"
        return list(node, path: path, max: AccessPolicy.rulesMax) {
            $0.accessRule($1, path: $2, action: action)
        }
    }

    private mutating func accessRule(
        _ node: YAMLNode,
        path: String,
        action: AccessPolicy.Action?
    ) -> AccessRule? {
        let before = problems.count
        guard case .mapping = node.content else {
            reportType(
                of: node,
                path: path,
                expected: "a mapping (key: value)",
                remedy: "write from and to below it, or {} for everything"
            )
            return nil
        }
        guard var fields = fields(of: node, path: path) else { return nil }
        place(path, node.position)
        let from = fields.take("from").flatMap { node in
            list(node, path: "\(path).from", max: AccessPolicy.partsMax) {
                $0.wrapped("source", $1, path: $2) { $0.accessSource($1, path: $2) }
            }
        }
        let to = fields.take("to").flatMap { node in
            list(node, path: "\(path).to", max: AccessPolicy.partsMax) {
                $0.wrapped("operation", $1, path: $2) {
                    $0.accessOperation($1, path: $2, action: action)
                }
            }
        }
        if let pair = fields.unknown.first(where: { $0.key == "when" }) {
            _ = fields.take("when")
            report(
                pair.keyPosition,
                "\(path).when: there are no conditions beyond sources and operations",
                "remove it"
            )
        }
        refuseUnknown(in: fields)
        guard problems.count == before else { return nil }
        return AccessRule(from: from, to: to)
    }

    /// Reads a mapping with one key, which holds what is meant.
    private mutating func wrapped<Value>(
        _ key: String,
        _ node: YAMLNode,
        path: String,
        _ read: (inout Self, YAMLNode, String) -> Value?
    ) -> Value? {
        guard var fields = fields(of: node, path: path) else { return nil }
        guard let inner = fields.take(key) else {
            report(
                node.position,
                "\(path) has no \(key)",
                "write \"\(key):\" and the fields below it"
            )
            return nil
        }
        refuseUnknown(in: fields)
        return read(&self, inner, "\(path).\(key)")
    }

    private mutating func accessSource(_ node: YAMLNode, path: String) -> AccessSource? {
        let before = problems.count
        guard var fields = fields(of: node, path: path) else { return nil }
        place(path, node.position)
        let principals = field(&fields, "principals", "notPrincipals", covers: { $0.covers($1) }) {
            $0.principal($1, path: $2)
        }
        let blocks = field(&fields, "ipBlocks", "notIPBlocks", covers: { $0.covers($1) }) {
            $0.ipBlock($1, path: $2)
        }
        refuseUnknown(in: fields)
        guard problems.count == before, let principals, let blocks else { return nil }
        guard !principals.isAbsent || !blocks.isAbsent else {
            refuseEmpty(node, path: path, list: "from")
            return nil
        }
        return AccessSource(principals: principals, addresses: blocks)
    }

    private mutating func accessOperation(
        _ node: YAMLNode,
        path: String,
        action: AccessPolicy.Action?
    ) -> AccessOperation? {
        let before = problems.count
        guard var fields = fields(of: node, path: path) else { return nil }
        place(path, node.position)
        let isAllow = action == .allow
        let methods = field(&fields, "methods", "notMethods") { excluded, method in
            excluded == method || isAllow && excluded == "GET" && method == "HEAD"
        } item: {
            $0.method($1, path: $2)
        }
        let paths = field(&fields, "paths", "notPaths", covers: { $0.covers($1) }) {
            $0.pathPattern($1, path: $2)
        }
        let ports = field(&fields, "ports", "notPorts", covers: ==) { $0.portNumber($1, path: $2) }
        refuseUnknown(in: fields)
        guard problems.count == before, let methods, let paths, let ports else { return nil }
        if paths.noneOf?.contains(.any) == true {
            report(
                node.position,
                "\(path).notPaths excludes every path, so that nothing matches",
                "name the paths, or remove the operation"
            )
            return nil
        }
        guard !methods.isAbsent || !paths.isAbsent || !ports.isAbsent else {
            refuseEmpty(node, path: path, list: "to")
            return nil
        }
        if action == .deny, methods.anyOf != nil || paths.anyOf != nil {
            let names = [methods.anyOf.map { _ in "methods" }, paths.anyOf.map { _ in "paths" }]
            warn(
                node.position,
                "\(path): a DENY of single \(names.compactMap(\.self).joined(separator: " and ")) "
                    + "is only as good as the list of spellings that the application knows",
                "deny everything but what is meant (notPaths, notMethods), or write an ALLOW"
            )
        }
        return AccessOperation(methods: methods, paths: paths, ports: ports)
    }

    private mutating func refuseEmpty(_ node: YAMLNode, path: String, list: String) {
        report(
            node.position,
            "\(path) says nothing, which could be meant as everything and as nothing",
            "write a field, or remove \(list) to mean everything"
        )
    }

    /// Reads what must be among values and what must not.
    ///
    /// - Returns: nil if something was reported.
    private mutating func field<Value: Hashable & Sendable & CustomStringConvertible>(
        _ fields: inout Fields,
        _ wanted: String,
        _ excluded: String,
        covers: (Value, Value) -> Bool,
        item read: (inout Self, YAMLNode, String) -> Value?
    ) -> AccessField<Value>? {
        let before = problems.count
        let nodes = (wanted: fields.take(wanted), excluded: fields.take(excluded))
        let anyOf = nodes.wanted.flatMap {
            list($0, path: fields.path(of: wanted), max: AccessPolicy.valuesMax, item: read)
        }
        let noneOf = nodes.excluded.flatMap {
            list($0, path: fields.path(of: excluded), max: AccessPolicy.valuesMax, item: read)
        }
        guard problems.count == before else { return nil }
        if let node = nodes.wanted, let anyOf, let noneOf,
            anyOf.allSatisfy({ value in noneOf.contains { covers($0, value) } })
        {
            report(
                node.position,
                "\(fields.path(of: wanted)): \(excluded) excludes all of it, so that nothing "
                    + "matches",
                "remove one of the two"
            )
            return nil
        }
        return AccessField(anyOf: anyOf, noneOf: noneOf)
    }

    // MARK: - Values

    private mutating func ipBlock(_ node: YAMLNode, path: String) -> IPBlock? {
        guard let text = literal(node, path: path, expected: "a block of addresses") else {
            return nil
        }
        if let block = IPBlock(text) { return block }
        report(
            node.position,
            "\(path): \"\(Self.shown(text))\" is not a block of addresses",
            "write an address, or one with a prefix length and no bits beyond it, for example "
                + "192.0.2.0/24"
        )
        return nil
    }

    /// Reads what has one form only, so that it needs no quotes although YAML 1.1 reads some of it
    /// as a number or a time.
    mutating func literal(_ node: YAMLNode, path: String, expected: String) -> String? {
        guard case .scalar(let text, _) = node.content, !text.isEmpty else {
            reportType(of: node, path: path, expected: expected)
            return nil
        }
        return text
    }

    private mutating func method(_ node: YAMLNode, path: String) -> String? {
        guard let text = string(node, path: path, bytesMax: Self.wordBytesMax) else { return nil }
        guard AccessPolicy.isMethod(text) else {
            let capitals = text.uppercased()
            report(
                node.position,
                "\(path): \"\(Self.shown(text))\" is not a method that a request can have",
                "write \(AccessPolicy.isMethod(capitals) ? capitals : "a method such as GET")"
            )
            return nil
        }
        guard text != "CONNECT" else {
            report(
                node.position,
                "\(path): CONNECT is refused before any policy is asked",
                "remove it"
            )
            return nil
        }
        return text
    }

    private mutating func pathPattern(_ node: YAMLNode, path: String) -> PathPattern? {
        let bytesMax = AccessPolicySpec.pathBytesMax
        guard let text = string(node, path: path, bytesMax: bytesMax) else { return nil }
        if let pattern = PathPattern(text) { return pattern }
        report(
            node.position,
            "\(path): \"\(Self.shown(text))\" is not a path that a request can have, nor a pattern",
            "write /a/b, /a/* (all that begins with /a/), *.css or */b (all that ends so), or *; "
                + "without query"
        )
        return nil
    }

    mutating func portNumber(_ node: YAMLNode, path: String) -> UInt16? {
        guard let number = number(node, path: path) else { return nil }
        guard let port = UInt16(exactly: number), port > 0 else {
            report(
                node.position,
                "\(path): \(number) is not a port",
                "write a port from 1 to 65535"
            )
            return nil
        }
        return port
    }
}
