// SPDX-License-Identifier: Apache-2.0

import Authorization
import HTTPSemantics
import SPIFFE
import StrictYAML

/// Reads the conditions of a rule, and the values that decision 0025 knows.
extension DocumentParser {
    /// - Returns: nil if something was reported.
    mutating func accessConditions(
        _ node: YAMLNode,
        path rule: String,
        action: AccessPolicy.Action?
    ) -> [AccessCondition]? {
        let path = "\(rule).when"
        let conditions = list(node, path: path, max: AccessCondition.conditionsMax) {
            $0.accessCondition($1, path: $2, action: action)
        }
        guard let conditions else { return nil }
        var keys: Set<String> = []
        for condition in conditions where !keys.insert(condition.key).inserted {
            report(
                node.position,
                "\(path) has more than one condition with the key \(condition.key)",
                "join their values; what must not be goes into notValues"
            )
            return nil
        }
        return conditions
    }

    private mutating func accessCondition(
        _ node: YAMLNode,
        path: String,
        action: AccessPolicy.Action?
    ) -> AccessCondition? {
        guard var fields = fields(of: node, path: path) else { return nil }
        let keyNode = required("key", of: &fields)
        let key = keyNode.flatMap { string($0, path: "\(path).key", bytesMax: Self.wordBytesMax) }
        guard let keyNode, let key else { return nil }
        let condition: AccessCondition?
        switch key {
        case AccessCondition.serverName(.absent).key:
            condition = values(&fields, covers: { $0.covers($1) }) {
                $0.hostPattern($1, path: $2, takesPort: false)
            }
            .map { .serverName($0) }
        case "request.time":
            _ = (fields.take("values"), fields.take("notValues"))
            report(
                keyNode.position,
                "\(path).key: a policy cannot ask for the time yet",
                "remove it; request.time comes later (docs/decisions/0025)"
            )
            condition = nil
        default:
            condition = header(key, keyNode, &fields, action: action)
        }
        refuseUnknown(in: fields)
        return condition
    }

    /// - Returns: nil if something was reported.
    private mutating func values<Value: Hashable & Sendable & CustomStringConvertible>(
        _ fields: inout Fields,
        covers: (Value, Value) -> Bool,
        item read: (inout Self, YAMLNode, String) -> Value?
    ) -> AccessField<Value>? {
        let field = field(
            &fields,
            "values",
            "notValues",
            covers: covers,
            item: read
        )
        guard let field else { return nil }
        guard !field.isAbsent else {
            report(
                fields.position,
                "\(fields.path) says nothing about its key",
                "write values or notValues"
            )
            return nil
        }
        return field
    }

    private mutating func header(
        _ key: String,
        _ node: YAMLNode,
        _ fields: inout Fields,
        action: AccessPolicy.Action?
    ) -> AccessCondition? {
        let path = fields.path
        guard let name = AccessCondition.headerName(ofKey: key) else {
            _ = (fields.take("values"), fields.take("notValues"))
            report(
                node.position,
                "\(path).key: \"\(Self.shown(key))\" is unknown",
                "write connection.sni or request.headers[name]"
            )
            return nil
        }
        let field = values(&fields, covers: { $0.covers($1) }) { $0.headerPattern($1, path: $2) }
        guard let field else { return nil }
        switch AccessCondition.use(ofHeader: name) {
        case .value: warnOfValues(field, path: path, action: action, at: node.position)
        case .presence:
            guard field.contains({ $0 != .any }) else {
                guard action == .allow, field.anyOf != nil else { break }
                warn(
                    node.position,
                    "\(path): \"*\" says that there is \(name), not that it is valid",
                    "let nobody in by it alone"
                )
                break
            }
            report(
                node.position,
                "\(path): what \(name) says is a secret, and a policy is read by many",
                "write only \"*\", which is that it is there"
            )
            return nil
        case .none:
            report(
                node.position,
                "\(path).key: the proxy writes, removes or refuses \(name) itself, so that the "
                    + "workload sees another one",
                name == "host" ? "write hosts in an operation" : "remove it"
            )
            return nil
        case .malformed:
            report(
                node.position,
                "\(path).key: \"\(Self.shown(name))\" is not the name of a header that a request "
                    + "can have",
                "write at most \(AccessCondition.headerNameBytesMax) small letters, digits and "
                    + "hyphens"
            )
            return nil
        }
        return .header(name, field)
    }

    private mutating func warnOfValues(
        _ field: AccessField<HeaderPattern>,
        path: String,
        action: AccessPolicy.Action?,
        at position: TextPosition
    ) {
        func isSingle(_ patterns: [HeaderPattern]?) -> Bool {
            patterns?.contains { $0 != .any } ?? false
        }
        let isWeakAllow = action == .allow && field.anyOf == nil && isSingle(field.noneOf)
        guard action == .deny && isSingle(field.anyOf) || isWeakAllow else { return }
        let what = isWeakAllow ? "an ALLOW of all but single" : "a DENY of single"
        warn(
            position,
            "\(path): \(what) values of a header is only as good as the list of spellings that the "
                + "application knows",
            isWeakAllow
                ? "allow what is meant (values)"
                : "deny everything but what is meant (notValues), or write an ALLOW"
        )
    }

    // MARK: - Values

    private mutating func headerPattern(_ node: YAMLNode, path: String) -> HeaderPattern? {
        guard let text = string(node, path: path, bytesMax: HeaderPattern.bytesMax) else {
            return nil
        }
        if let pattern = HeaderPattern(text) { return pattern }
        report(
            node.position,
            "\(path): \"\(Self.shown(text))\" is not a value of a header that is compared",
            "write visible ASCII with spaces inside only and none of * , ; % \" and \\, or \"*\" alone: "
                + "it is there"
        )
        return nil
    }

    /// Reads a host, or `*.` and what it ends with, with a port where it may have one.
    mutating func hostPattern(
        _ node: YAMLNode,
        path: String,
        takesPort: Bool = true
    ) -> HostPattern? {
        let bytesMax = Authority.hostBytesMax + 8
        guard let text = string(node, path: path, bytesMax: bytesMax) else { return nil }
        if let pattern = HostPattern(text), takesPort || pattern.port == nil {
            if let port = pattern.port, port == 80 || port == 443 {
                warn(
                    node.position,
                    "\(path): hardly a client writes port \(port), and of one that does not it is not "
                        + "known",
                    "leave the port out"
                )
            }
            return pattern
        }
        if !text.utf8.allSatisfy({ $0 < 0x80 }) {
            report(
                node.position,
                "\(path): \"\(Self.shown(text))\" is not how clients write a host",
                "write it in ASCII, each label that needs it as xn--..."
            )
            return nil
        }
        let small = text.lowercased()
        let isCapital = small != text && HostPattern(small) != nil
        report(
            node.position,
            "\(path): \"\(Self.shown(text))\" is not a host by name",
            isCapital
                ? "write \(small)"
                : "write a name such as api.example.org"
                    + (takesPort ? ", perhaps with a port," : " without port")
                    + " or *.example.org for every name that ends so; no address"
        )
        return nil
    }

    mutating func trustDomain(_ node: YAMLNode, path: String) -> TrustDomain? {
        guard let text = string(node, path: path, bytesMax: SPIFFEID.bytesMax) else { return nil }
        do throws(SPIFFEIDError) { return try TrustDomain(text) } catch {
            report(
                node.position,
                "\(path): \"\(Self.shown(text))\" is not a trust domain",
                "\(error); write its name alone, for example partner.example"
            )
            return nil
        }
    }

    /// Reads a method of gRPC.
    mutating func call(_ node: YAMLNode, path: String) -> PathPattern? {
        let bytesMax = AccessPolicySpec.pathBytesMax
        guard let text = string(node, path: path, bytesMax: bytesMax) else { return nil }
        if let pattern = PathPattern(call: text) { return pattern }
        report(
            node.position,
            "\(path): \"\(Self.shown(text))\" is not a method of gRPC",
            "write package.Service/Method, or package.Service/* for all of a service"
        )
        return nil
    }
}
