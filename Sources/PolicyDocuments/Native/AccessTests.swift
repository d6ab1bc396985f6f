// SPDX-License-Identifier: Apache-2.0

import Authorization
import HTTPSemantics
import SPIFFE
import StrictYAML

/// Reads the tests of an `AccessPolicy`, which are run where the own trust domain is known.
extension DocumentParser {
    /// - Returns: nil if something was reported.
    mutating func accessTests(
        _ node: YAMLNode,
        action: AccessPolicy.Action?,
        rules: [AccessRule]?
    ) -> [AccessPolicyTest]? {
        let path = "spec.tests"
        return list(node, path: path, max: AccessPolicySpec.testsMax) {
            $0.accessTest($1, path: $2, action: action, rules: rules)
        }
    }

    private mutating func accessTest(
        _ node: YAMLNode,
        path: String,
        action: AccessPolicy.Action?,
        rules: [AccessRule]?
    ) -> AccessPolicyTest? {
        let before = problems.count
        guard var fields = fields(of: node, path: path) else { return nil }
        let name = fields.take("name").flatMap {
            prose($0, path: "\(path).name", bytesMax: MetadataLimits.reasonBytesMax)
        }
        let request = required("request", of: &fields).flatMap {
            testRequest($0, path: "\(path).request", rules: rules ?? [])
        }
        let expectNode = required("expect", of: &fields)
        let expect = expectNode.flatMap {
            word($0, path: "\(path).expect", as: AccessPolicyTest.Expectation.self)
        }
        let ruleNode = fields.take("rule")
        let rule = ruleNode.flatMap { testRule($0, path: "\(path).rule", rules: rules) }
        refuseUnknown(in: fields)
        guard problems.count == before, let request, let expect, let expectNode, let action,
            rules != nil
        else { return nil }
        let test = AccessPolicyTest(
            name: name,
            peer: request.peer,
            address: request.address,
            port: request.port,
            unknowns: request.unknowns,
            serverName: request.serverName,
            http: request.http,
            expectation: expect,
            rule: rule
        )
        guard canFail(test, action: action, path: path, at: expectNode.position) else { return nil }
        place(path, node.position)
        return test
    }

    /// Whether a test could come out both ways; reports it otherwise.
    private mutating func canFail(
        _ test: AccessPolicyTest,
        action: AccessPolicy.Action,
        path: String,
        at position: TextPosition
    ) -> Bool {
        guard action == .deny else { return true }
        if test.expectation == .allow {
            report(
                position,
                "\(path): a DENY alone allows nothing",
                "write expect: DENY with rule: none for what it must leave alone"
            )
            return false
        }
        guard test.rule == nil else { return true }
        report(
            position,
            "\(path) holds whatever the rules say, because a DENY alone denies everything",
            "add the rule that must decide, or rule: none for what it must leave alone"
        )
        return false
    }

    private mutating func testRule(
        _ node: YAMLNode,
        path: String,
        rules: [AccessRule]?
    ) -> AccessPolicyTest.Rule? {
        guard case .scalar(let text, _) = node.content else {
            reportType(of: node, path: path, expected: "the number of a rule, or none")
            return nil
        }
        if text == "none" { return .noRule }
        guard let number = Int(text), "\(number)" == text, number >= 0 else {
            reportType(of: node, path: path, expected: "the number of a rule, or none")
            return nil
        }
        if let rules, number >= rules.count {
            report(
                node.position,
                "\(path): there is no rules[\(number)]",
                "rules are counted from 0; write a number below \(rules.count), or none"
            )
            return nil
        }
        return .decides(number)
    }

    private struct TestRequest {
        var peer: SPIFFEID?
        var address: IPAddress?
        var port: UInt16?
        var unknowns: Set<AccessPolicyTest.UnknownFact> = []
        var serverName: RequestedHost?
        var http: AccessRequest.HTTP?
    }

    private mutating func testRequest(
        _ node: YAMLNode,
        path: String,
        rules: [AccessRule]
    ) -> TestRequest? {
        let before = problems.count
        guard var fields = fields(of: node, path: path) else { return nil }
        var request = TestRequest()
        request.peer = fields.take("principal").flatMap {
            testPeer($0, path: "\(path).principal")
        }
        request.address = fields.take("address").flatMap {
            testAddress($0, path: "\(path).address")
        }
        request.port = fields.take("port").flatMap { portNumber($0, path: "\(path).port") }
        request.serverName = fields.take("sni").flatMap {
            testHost($0, path: "\(path).sni", takesPort: false)
        }
        if let node = fields.take("time") {
            report(
                node.position,
                "\(path).time: a policy cannot ask for the time yet",
                "remove it; time comes later (docs/decisions/0025)"
            )
        }
        request.http = testHTTP(&fields, path: path, &request.unknowns)
        refuseUnknown(in: fields)
        guard problems.count == before else { return nil }
        requireFacts(of: request, path: path, rules: rules, at: node.position)
        return problems.count == before ? request : nil
    }

    /// Whether a test says of a fact that it is not known.
    private func says(_ fact: AccessPolicyTest.UnknownFact, _ node: YAMLNode) -> Bool {
        if case .scalar(fact.rawValue, _) = node.content { true } else { false }
    }

    /// Reports what rules ask for and a test does not say, so that it would say little.
    private mutating func requireFacts(
        of request: TestRequest,
        path: String,
        rules: [AccessRule],
        at position: TextPosition
    ) {
        let sources = rules.flatMap { $0.from ?? [] }
        let operations = rules.flatMap { $0.to ?? [] }
        if let http = request.http, http.host == nil, !request.unknowns.contains(.host),
            operations.contains(where: { !$0.hosts.isAbsent })
        {
            report(position, "\(path).host is missing", "rules ask for it; add it")
        }
        if request.address == nil, sources.contains(where: { !$0.addresses.isAbsent }) {
            report(position, "\(path).address is missing", "rules ask for it; add it")
        }
        if request.port == nil, operations.contains(where: { !$0.ports.isAbsent }) {
            report(position, "\(path).port is missing", "rules ask for it; add it")
        }
    }

    private mutating func testPeer(_ node: YAMLNode, path: String) -> SPIFFEID? {
        guard let text = string(node, path: path, bytesMax: SPIFFEID.bytesMax) else { return nil }
        do throws(SPIFFEIDError) {
            return try SPIFFEID(text)
        } catch {
            report(
                node.position,
                "\(path): \"\(Self.shown(text))\" is not a SPIFFE ID",
                "\(error)"
            )
            return nil
        }
    }

    private mutating func testAddress(_ node: YAMLNode, path: String) -> IPAddress? {
        guard let text = literal(node, path: path, expected: "an IP address") else { return nil }
        if let address = IPAddress(text) { return address }
        report(
            node.position,
            "\(path): \"\(Self.shown(text))\" is not an IP address",
            "write one, for example 192.0.2.1"
        )
        return nil
    }

    /// Reads a host as a client names it.
    private mutating func testHost(
        _ node: YAMLNode,
        path: String,
        takesPort: Bool = true
    ) -> RequestedHost? {
        let bytesMax = Authority.hostBytesMax + 8
        guard let text = literal(node, path: path, expected: "a host"), text.utf8.count <= bytesMax
        else { return nil }
        let host =
            takesPort ? RequestedHost(authority: text) : RequestedHost(serverName: text)
        if host == nil {
            report(
                node.position,
                "\(path): \"\(Self.shown(text))\" is not a host that a client can name",
                "write one, for example api.example.org"
            )
        }
        return host
    }

    /// Reads the headers of a test: a value each, or a list for a header that comes more than once.
    private mutating func testHeaders(
        _ node: YAMLNode,
        path: String
    ) -> [AccessRequest.HTTP.Field]? {
        guard case .mapping(let pairs) = node.content, !pairs.isEmpty else {
            reportType(of: node, path: path, expected: "a mapping (name: value)")
            return nil
        }
        var found: [AccessRequest.HTTP.Field] = []
        for pair in pairs.sorted(by: { $0.key < $1.key }) {
            let own = "\(path).\(pair.key)"
            guard AccessCondition.use(ofHeader: pair.key) != .malformed else {
                report(
                    pair.keyPosition,
                    "\(path): \"\(Self.shown(pair.key))\" is not the name of a header",
                    "write small letters, digits and hyphens"
                )
                return nil
            }
            let nodes: [YAMLNode]
            if case .sequence(let several) = pair.value.content {
                nodes = several
            } else {
                nodes = [pair.value]
            }
            for node in nodes {
                guard
                    let value = prose(node, path: own, bytesMax: AccessPolicySpec.pathBytesMax)
                else { return nil }
                found.append(AccessRequest.HTTP.Field(name: pair.key, value: value))
            }
        }
        return found
    }

    private mutating func testHTTP(
        _ fields: inout Fields,
        path: String,
        _ unknowns: inout Set<AccessPolicyTest.UnknownFact>
    ) -> AccessRequest.HTTP? {
        let position = fields.position
        let (methodNode, pathNode) = (fields.take("method"), fields.take("path"))
        let hostNode = fields.take("host")
        let headersNode = fields.take("headers")
        let isUnknown = hostNode.map { says(.host, $0) } ?? false
        if isUnknown { unknowns.insert(.host) }
        let host = isUnknown ? nil : hostNode.flatMap { testHost($0, path: "\(path).host") }
        let headers = headersNode.flatMap { testHeaders($0, path: "\(path).headers") }
        if methodNode == nil, pathNode == nil, let other = hostNode ?? headersNode {
            report(
                other.position,
                "\(path): a TCP connection has neither host nor headers",
                "add method and path, or remove it"
            )
            return nil
        }
        let method = methodNode.flatMap {
            string($0, path: "\(path).method", bytesMax: Self.wordBytesMax)
        }
        let bytesMax = AccessPolicySpec.pathBytesMax
        let target = pathNode.flatMap {
            string($0, path: "\(path).path", bytesMax: bytesMax)
        }
        guard (methodNode == nil) == (pathNode == nil) else {
            report(
                position,
                "\(path) has only one of method and path",
                "write both, or neither for a TCP connection"
            )
            return nil
        }
        guard let method, let target, let methodNode, let pathNode else { return nil }
        guard AccessPolicy.isMethod(method) else {
            report(
                methodNode.position,
                "\(path).method: \"\(Self.shown(method))\" is not a method that a request can have",
                "write it in capitals"
            )
            return nil
        }
        // A test says all of its request.
        let http = AccessRequest.HTTP(
            method: method,
            path: target,
            host: host,
            fields: headers ?? []
        )
        if let http { return http }
        report(
            pathNode.position,
            "\(path).path: \"\(Self.shown(target))\" is refused before any policy is asked",
            "write a path that a request can have (docs/decisions/0007), without query"
        )
        return nil
    }
}
