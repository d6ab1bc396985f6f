// SPDX-License-Identifier: Apache-2.0

package import Authorization
package import ControlAPIProtos
package import FoundationEssentials
package import SPIFFE
internal import SwiftProtobuf

extension AccessExplanation {
    /// The wire form; docs/policy.md has the words.
    ///
    /// - Parameters:
    ///   - request: What was explained.
    ///   - workload: Who was asked.
    ///   - now: When it was decided.
    /// - Returns: All but revision, ID, listener and address, which only a proxy knows.
    package func message(
        of request: AccessRequest,
        workload: SPIFFEID,
        at now: Date
    ) -> Signet_Node_V1alpha1_DecisionExplanation {
        .with {
            $0.timeUnixMilliseconds = Int64((now.timeIntervalSince1970 * 1000).rounded())
            $0.allowed = verdict.isAllowed
            $0.policyNamespace = verdict.cause?.namespace ?? ""
            $0.policy = verdict.cause?.policy ?? ""
            $0.rule = verdict.cause.map { Int32(clamping: $0.rule) } ?? -1
            $0.reason = reason
            $0.identity = workload.description
            $0.peer = request.peer?.description ?? ""
            $0.port = UInt32(request.port)
            $0.method = request.http?.method ?? ""
            $0.path = request.http.map { String(decoding: $0.path, as: UTF8.self) } ?? ""
            $0.shadowDiffers = verdict.isAllowed != shadowVerdict.isAllowed
            $0.shadowAllowed = shadowVerdict.isAllowed
            $0.shadowPolicy = shadowVerdict.cause.map { "\($0.namespace)/\($0.policy)" } ?? ""
            $0.rules = policies.flatMap { policy in
                policy.rules.map { policy.message(of: $0, request) }
            }
            $0.nearestMiss = nearestMiss?.sentence(request) ?? ""
        }
    }

    /// As the words of decisions that proxies make.
    private var reason: String {
        if isPeerReserved { return "reservedPeer" }
        guard let cause = verdict.cause else { return "noMatch" }
        let account = policies.first {
            $0.namespace == cause.namespace && $0.policy == cause.policy
        }
        if verdict.isAllowed { return "allowed" }
        return account?.tier == .guardrail ? "guardrail" : "denied"
    }
}

extension AccessExplanation.PolicyAccount {
    fileprivate func message(
        of account: AccessExplanation.RuleAccount,
        _ request: AccessRequest
    ) -> Signet_Node_V1alpha1_RuleExplanation {
        .with {
            $0.policyNamespace = namespace
            $0.policy = policy
            $0.rule = UInt32(clamping: account.rule)
            $0.action = action.rawValue
            $0.mode = mode.rawValue
            $0.matches = account.isMatch
            $0.failed = account.firstMiss?.sentence(request) ?? ""
            $0.isNotRemembered = account.isUnremembered
        }
    }
}

extension AccessExplanation.NearMiss {
    fileprivate func sentence(_ request: AccessRequest) -> String {
        "\(rule.namespace)/\(rule.policy) rule \(rule.rule): "
            + misses.map { $0.sentence(request) }.joined(separator: "; ")
    }
}

extension AccessExplanation.Miss {
    /// Most values of a rule that a sentence repeats: the first ones show what kind they are.
    private static let namedMax = 3
    /// Most bytes of one text in a sentence: there may be one for each of thousands of rules.
    private static let textBytesMax = 64

    /// Which clause it is, and why it is no match.
    fileprivate func sentence(_ request: AccessRequest) -> String {
        let why =
            switch cause {
            // What a header or handshake has is not told.
            case .differs where isUntold, .excluded where isUntold: "is no match"
            case .differs: names.map { "names \($0); the request has " } ?? "does not name "
            case .excluded: "names "
            case .foreign: "is missing, and only by it is a peer of another trust domain admitted: "
            case .unknown: "asks about what the request does not have"
            case .unremembered: "asks about what is not remembered of the request"
            }
        return "\(path) \(why)\(tellsRequest ? asked(request) : "")"
    }

    /// Whether the sentence ends with what the request has.
    private var tellsRequest: Bool {
        switch cause {
        case .differs, .excluded, .foreign: true
        case .unknown, .unremembered: false
        }
    }

    private var isUntold: Bool {
        switch field {
        case .notValues, .values: true
        default: false
        }
    }

    private var names: String? {
        switch named {
        case .methods(let names): Self.list(names) { $0 }
        case .paths(let paths): Self.list(paths) { $0.description }
        case .ports(let ports): Self.list(ports) { "\($0)" }
        case .untold: nil
        }
    }

    /// What the request has, in quotes where its sender chose the text.
    private func asked(_ request: AccessRequest) -> String {
        switch field {
        case .ipBlocks, .notIPBlocks: "\(request.address)"
        case .trustDomains, .notTrustDomains: request.peer?.trustDomain.name ?? ""
        case .hosts, .notHosts: Self.quoted(request.http?.host?.description ?? "")
        case .methods, .notMethods: Self.quoted(request.http?.method ?? "")
        case .grpc, .notGRPC, .paths, .notPaths:
            Self.quoted(String(decoding: request.http?.path ?? [], as: UTF8.self))
        case .ports, .notPorts: "\(request.port)"
        case .principals, .notPrincipals: Self.cut(request.peer?.description ?? "")
        case .notValues, .values: ""
        }
    }

    private static func list<Value>(_ values: [Value], _ text: (Value) -> String) -> String {
        let shown = values.prefix(namedMax).map { cut(text($0)) }.joined(separator: ", ")
        return values.count > namedMax ? "\(shown) and \(values.count - namedMax) more" : shown
    }

    private static func quoted(_ text: String) -> String {
        "\"\(cut(text).replacing("\\", with: "\\\\").replacing("\"", with: "\\\""))\""
    }

    private static func cut(_ text: String) -> String {
        let start = text.utf8.prefix(textBytesMax)
        return start.count == text.utf8.count
            ? text : String(decoding: start, as: UTF8.self) + "..."
    }
}
