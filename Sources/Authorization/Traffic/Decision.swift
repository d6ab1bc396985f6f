// SPDX-License-Identifier: Apache-2.0

/// What a compiled set decides about one request: numbers only, so that nothing is counted or
/// allocated on the way of a request (docs/decisions/0008).
///
/// Names come from `CompiledPolicySet.verdict(of:)`, when somebody wants them.
package struct Decision: Hashable, Sendable, BitwiseCopyable {
    /// Which step of the order decided.
    package enum Reason: UInt8, CaseIterable, Hashable, Sendable, BitwiseCopyable {
        /// A DENY of tier guardrail matched.
        case guardrail
        /// A DENY matched.
        case denied
        /// An ALLOW matched and nothing before it.
        case allowed
        /// Nothing matched: deny.
        case noMatch
        /// The peer is one of Signet's own parts.
        case reservedPeer
        /// The peer was looked up in another set; whoever asks must look it up again.
        case otherSet

        /// The word for logs and metrics.
        package var word: String { "\(self)" }
    }

    /// One of the two verdicts.
    package struct Outcome: Hashable, Sendable, BitwiseCopyable {
        package let reason: Reason
        /// The policy's place in `CompiledPolicySet.policies`; worth something with a rule only.
        package let policy: UInt32
        /// The rule's place in the policy, from 0.
        package let rule: UInt32

        package var isAllowed: Bool { reason == .allowed }

        /// Whether a rule decided.
        package var hasRule: Bool {
            switch reason {
            case .allowed, .denied, .guardrail: true
            case .noMatch, .otherSet, .reservedPeer: false
            }
        }

        /// An outcome that no rule made.
        init(_ reason: Reason) {
            self.init(reason, policy: .max, rule: .max)
        }

        init(_ reason: Reason, policy: UInt32, rule: UInt32) {
            self.reason = reason
            self.policy = policy
            self.rule = rule
        }
    }

    /// Whether policies in shadow would decide otherwise.
    package var differsInShadow: Bool { enforced.isAllowed != shadow.isAllowed }

    /// What is enforced.
    package let enforced: Outcome
    /// What would be if policies in shadow were enforced; changes nothing.
    package let shadow: Outcome

    init(enforced: Outcome, shadow: Outcome) {
        self.enforced = enforced
        self.shadow = shadow
    }

    package var isAllowed: Bool { enforced.isAllowed }
}

extension CompiledPolicySet {
    /// An outcome with the names of policy and rule.
    package func verdict(of outcome: Decision.Outcome) -> AccessVerdict {
        guard outcome.hasRule, Int(outcome.policy) < policies.count else { return .denyByDefault }
        let policy = policies[Int(outcome.policy)]
        return AccessVerdict(
            isAllowed: outcome.isAllowed,
            cause: AccessVerdict.Cause(
                namespace: policy.namespace,
                policy: policy.name,
                rule: Int(outcome.rule)
            )
        )
    }
}
