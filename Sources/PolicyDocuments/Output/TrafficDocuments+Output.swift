// SPDX-License-Identifier: Apache-2.0

import Authorization
import HTTPSemantics
import Routing
import SPIFFE

extension AccessPolicySpec {
    var json: JSONValue {
        var members: [String: JSONValue] = [
            "action": .string(action.rawValue),
            "rules": .array(rules.map(\.json)),
        ]
        members["target"] = target?.json
        if tier != .normal { members["tier"] = .string(tier.rawValue) }
        if mode != .enforce { members["mode"] = .string(mode.rawValue) }
        if !tests.isEmpty { members["tests"] = .array(tests.map(\.json)) }
        return .object(members)
    }
}

extension JSONValue {
    /// A list of texts.
    fileprivate static func texts(_ values: [some CustomStringConvertible]) -> JSONValue {
        .array(values.map { .string($0.description) })
    }
}

extension AccessTarget {
    fileprivate var json: JSONValue {
        switch self {
        case .identities(let patterns): .object(["spiffeIDs": .texts(patterns)])
        case .labels(let labels):
            .object(["matchLabels": .object(labels.mapValues(JSONValue.string))])
        case .services(let names): .object(["services": .texts(names)])
        }
    }
}

extension AccessRule {
    fileprivate var json: JSONValue {
        var members: [String: JSONValue] = [:]
        members["from"] = from.map { .array($0.map { .object(["source": $0.json]) }) }
        members["to"] = to.map { .array($0.map { .object(["operation": $0.json]) }) }
        if !when.isEmpty { members["when"] = .array(when.map(\.json)) }
        return .object(members)
    }
}

extension AccessSource {
    fileprivate var json: JSONValue {
        var members: [String: JSONValue] = [:]
        members["principals"] = principals.anyOf.map { .texts($0) }
        members["notPrincipals"] = principals.noneOf.map { .texts($0) }
        members["ipBlocks"] = addresses.anyOf.map { .texts($0) }
        members["notIPBlocks"] = addresses.noneOf.map { .texts($0) }
        members["trustDomains"] = trustDomains.anyOf.map { .texts($0) }
        members["notTrustDomains"] = trustDomains.noneOf.map { .texts($0) }
        return .object(members)
    }
}

extension AccessOperation {
    fileprivate var json: JSONValue {
        func numbers(_ values: [UInt16]) -> JSONValue {
            .array(values.map { .integer(UInt64($0)) })
        }
        var members: [String: JSONValue] = [:]
        members["methods"] = methods.anyOf.map { .texts($0) }
        members["notMethods"] = methods.noneOf.map { .texts($0) }
        // A document has one of the two notations.
        let isCall = paths.contains { $0.isCall }
        members[isCall ? "grpc" : "paths"] = paths.anyOf.map { .texts($0) }
        members[isCall ? "notGRPC" : "notPaths"] = paths.noneOf.map { .texts($0) }
        members["ports"] = ports.anyOf.map(numbers)
        members["notPorts"] = ports.noneOf.map(numbers)
        members["hosts"] = hosts.anyOf.map { .texts($0) }
        members["notHosts"] = hosts.noneOf.map { .texts($0) }
        return .object(members)
    }
}

extension AccessCondition {
    fileprivate var json: JSONValue {
        var members: [String: JSONValue] = ["key": .string(key)]
        switch self {
        case .header(_, let field):
            members["values"] = field.anyOf.map { .texts($0) }
            members["notValues"] = field.noneOf.map { .texts($0) }
        case .serverName(let field):
            members["values"] = field.anyOf.map { .texts($0) }
            members["notValues"] = field.noneOf.map { .texts($0) }
        }
        return .object(members)
    }
}

extension AccessPolicyTest {
    fileprivate var json: JSONValue {
        var request: [String: JSONValue] = [:]
        request["principal"] = peer.map { .string($0.description) }
        request["address"] = address.map { .string($0.description) }
        request["port"] = port.map { .integer(UInt64($0)) }
        request["method"] = http.map { .string($0.method) }
        request["path"] = http.map { .string(String(decoding: $0.path, as: UTF8.self)) }
        request["host"] = (http?.host).map { .string($0.description) }
        if unknowns.contains(.host) { request["host"] = .string(UnknownFact.host.rawValue) }
        if let fields = http?.fields, !fields.isEmpty {
            let headers = Dictionary(grouping: fields, by: \.name).mapValues { lines in
                lines.count == 1
                    ? JSONValue.string(lines[0].value)
                    : .array(lines.map { .string($0.value) })
            }
            request["headers"] = .object(headers)
        }
        request["sni"] = serverName.map { .string($0.description) }
        var members: [String: JSONValue] = [
            "request": .object(request),
            "expect": .string(expectation.rawValue),
        ]
        members["name"] = name.map(JSONValue.string)
        members["rule"] = rule.map { rule in
            switch rule {
            case .decides(let place): .integer(UInt64(place))
            case .noRule: .string("none")
            }
        }
        return .object(members)
    }
}

extension ServiceSpec {
    var json: JSONValue {
        var members: [String: JSONValue] = [
            "ports": .array(
                ports.map { port in
                    .object([
                        "name": .string(port.name),
                        "number": .integer(UInt64(port.number)),
                        "protocol": .string(port.trafficProtocol.rawValue),
                    ])
                }
            ),
            "identities": .texts(identities),
        ]
        if isObserved { members["observed"] = .boolean(true) }
        if !endpoints.isEmpty || !isObserved {
            members["endpoints"] = .array(
                endpoints.map { .object(["address": .string($0.description)]) }
            )
        }
        return .object(members)
    }
}

extension ProxySpec {
    var json: JSONValue {
        var members: [String: JSONValue] = [
            "mode": .string(mode.rawValue),
            "nodeSelectors": .texts(nodeSelectors),
            "selectors": .texts(selectors),
            "identities": .texts(identities),
        ]
        if !inbound.isEmpty { members["inbound"] = .array(inbound.map(\.json)) }
        if !outbound.isEmpty { members["outbound"] = .array(outbound.map(\.json)) }
        return .object(members)
    }
}

extension InboundListener {
    fileprivate var json: JSONValue {
        var members: [String: JSONValue] = [
            "name": .string(name),
            "address": .string(address.description),
            "identity": .string(identity.description),
            "protocol": .string(trafficProtocol.rawValue),
        ]
        var forward: [String: JSONValue] = [:]
        switch self.forward {
        case .address(let address): forward["address"] = .string(address.description)
        case .unix(let path):
            forward["unix"] = .string(path)
            members["workloadPort"] = .integer(UInt64(workloadPort))
        }
        if !forwardUIDs.isEmpty {
            forward["uids"] = .array(forwardUIDs.map { .integer(UInt64($0)) })
        }
        members["forward"] = .object(forward)
        return .object(members)
    }
}

extension OutboundListener {
    fileprivate var json: JSONValue {
        var members: [String: JSONValue] = [
            "name": .string(name),
            "identity": .string(identity.description),
            "service": .string(service),
            "port": .string(port),
            "allow": .object(["uids": .array(allowedUIDs.map { .integer(UInt64($0)) })]),
        ]
        switch listen {
        case .address(let address): members["address"] = .string(address.description)
        case .unix(let path): members["unix"] = .string(path)
        }
        return .object(members)
    }
}
