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
                policy.rules.map { policy.message(of: $0) }
            }
            $0.nearestMiss = nearestMiss?.sentence ?? ""
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
        of account: AccessExplanation.RuleAccount
    ) -> Signet_Node_V1alpha1_RuleExplanation {
        .with {
            $0.policyNamespace = namespace
            $0.policy = policy
            $0.rule = UInt32(clamping: account.rule)
            $0.action = action.rawValue
            $0.mode = mode.rawValue
            $0.matches = account.isMatch
            $0.failed = account.firstMiss?.sentence ?? ""
        }
    }
}

extension AccessExplanation.NearMiss {
    fileprivate var sentence: String {
        "\(rule.namespace)/\(rule.policy) rule \(rule.rule): "
            + misses.map(\.sentence).joined(separator: "; ")
    }
}

extension AccessExplanation.Miss {
    /// Which clause it is, and why it is no match.
    fileprivate var sentence: String {
        let why =
            switch cause {
            case .differs: "names something else"
            case .excluded: "names what was asked"
            case .unknown: "asks about what the request does not have"
            }
        return "\(path) \(why)"
    }
}
