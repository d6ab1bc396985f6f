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
        let when = fields.take("when").flatMap { accessConditions($0, path: path, action: action) }
        if let node = fields.take("expires") {
            report(
                node.position,
                "\(path).expires: a rule that ends by itself cannot be written yet",
                "remove it; expires comes later (docs/decisions/0025)"
            )
        }
        refuseUnknown(in: fields)
        guard problems.count == before else { return nil }
        guard let rule = AccessRule(from: from, to: to, when: when ?? []) else { return nil }
        if action == .allow { warnOfChosenFacts(of: rule, path: path, at: node.position) }
        return rule
    }

    /// A client chooses which host it names, which headers it sends and what it asks for in the
    /// handshake.
    private mutating func warnOfChosenFacts(
        of rule: AccessRule,
        path: String,
        at position: TextPosition
    ) {
        let saysWho = rule.from?.allSatisfy { $0.names || $0.addresses.anyOf != nil } ?? false
        guard !saysWho else { return }
        var facts: [String] = []
        if rule.to?.contains(where: { !$0.hosts.isAbsent }) ?? false { facts.append("hosts") }
        facts += rule.when.map(\.key)
        guard !facts.isEmpty else { return }
        warn(
            position,
            "\(path) names \(facts.joined(separator: ", ")) and nobody who may ask, and a client "
                + "chooses these",
            "add from, with principals, trustDomains or ipBlocks"
        )
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
        let domains = field(&fields, "trustDomains", "notTrustDomains", covers: ==) {
            $0.trustDomain($1, path: $2)
        }
        refuseUnknown(in: fields)
        guard problems.count == before, let principals, let blocks, let domains else { return nil }
        guard !principals.isAbsent || !blocks.isAbsent || !domains.isAbsent else {
            refuseEmpty(node, path: path, list: "from")
            return nil
        }
        return AccessSource(principals: principals, addresses: blocks, trustDomains: domains)
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
        let paths = accessPaths(&fields, at: node.position)
        let ports = field(&fields, "ports", "notPorts", covers: ==) { $0.portNumber($1, path: $2) }
        let hosts = field(&fields, "hosts", "notHosts", covers: { $0.covers($1) }) {
            $0.hostPattern($1, path: $2)
        }
        refuseUnknown(in: fields)
        guard problems.count == before, let methods, let paths, let ports, let hosts else {
            return nil
        }
        if paths.noneOf?.contains(.any) == true {
            report(
                node.position,
                "\(path).notPaths excludes every path, so that nothing matches",
                "name the paths, or remove the operation"
            )
            return nil
        }
        let operation = AccessOperation(
            methods: methods,
            paths: paths,
            ports: ports,
            hosts: hosts
        )
        guard operation.asksHTTP || !ports.isAbsent else {
            refuseEmpty(node, path: path, list: "to")
            return nil
        }
        warnOfSpellings(of: operation, action, path: path, at: node.position)
        return operation
    }

    /// Reads paths, or methods of gRPC, which are another notation for some.
    private mutating func accessPaths(
        _ fields: inout Fields,
        at position: TextPosition
    ) -> AccessField<PathPattern>? {
        let path = fields.path
        let paths = field(&fields, "paths", "notPaths", covers: { $0.covers($1) }) {
            $0.pathPattern($1, path: $2)
        }
        let calls = field(&fields, "grpc", "notGRPC", covers: { $0.covers($1) }) {
            $0.call($1, path: $2)
        }
        guard let paths, let calls else { return nil }
        guard paths.isAbsent || calls.isAbsent else {
            report(
                position,
                "\(path) has both paths and grpc, which are paths too: nothing may be left that is "
                    + "both",
                "write two operations"
            )
            return nil
        }
        return calls.isAbsent ? paths : calls
    }

    /// A DENY that names values, and an ALLOW that names what it leaves out, is as good as the list of
    /// spellings that are known of them.
    private mutating func warnOfSpellings(
        of operation: AccessOperation,
        _ action: AccessPolicy.Action?,
        path: String,
        at position: TextPosition
    ) {
        guard let action else { return }
        func isWeak<Value>(_ field: AccessField<Value>) -> Bool {
            action == .deny ? field.anyOf != nil : field.anyOf == nil && field.noneOf != nil
        }
        let pathWord = operation.paths.contains(\.isCall) ? "methods of gRPC" : "paths"
        let names = [
            isWeak(operation.methods) ? "methods" : nil, isWeak(operation.paths) ? pathWord : nil,
            isWeak(operation.hosts) ? "hosts" : nil,
        ]
        .compactMap(\.self)
        guard !names.isEmpty else { return }
        let what = action == .deny ? "a DENY of single" : "an ALLOW of all but single"
        warn(
            position,
            "\(path): \(what) \(names.joined(separator: " and ")) "
                + "is only as good as the list of spellings that the application knows",
            action == .deny
                ? "deny everything but what is meant (notPaths, notMethods), or write an ALLOW"
                : "allow what is meant"
        )
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
    mutating func field<Value: Hashable & Sendable & CustomStringConvertible>(
        _ fields: inout Fields,
        _ wanted: String,
        _ excluded: String,
        max: Int = AccessPolicy.valuesMax,
        covers: (Value, Value) -> Bool,
        item read: (inout Self, YAMLNode, String) -> Value?
    ) -> AccessField<Value>? {
        let before = problems.count
        let nodes = (wanted: fields.take(wanted), excluded: fields.take(excluded))
        let anyOf = nodes.wanted.flatMap {
            list($0, path: fields.path(of: wanted), max: max, item: read)
        }
        let noneOf = nodes.excluded.flatMap {
            list($0, path: fields.path(of: excluded), max: max, item: read)
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
            "write /a/b, /a/* (all that begins with /a/), *.css or */b (all that ends so), *, or "
                + "/a/{*}/b ({*} is one segment, and {**} at last one or more); without query"
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
