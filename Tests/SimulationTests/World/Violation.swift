// SPDX-License-Identifier: Apache-2.0

/// What a checker watches over.
enum Rule: String, CaseIterable, Sendable {
    /// Each issued serial is in one leaf; the tree only grows; agents remember what it says.
    case audit
    /// Nobody is without an identity for longer than the statement in `AvailabilityChecker`.
    case availability
    /// What the server said is done is there after every crash.
    case durability
    /// What is valid was allowed when it was issued; what is served is allowed now.
    case issuance
    /// Revisions go forward, and mean the same at both ends.
    case revisions
    /// Authorities change in time, and everybody has what he needs to verify.
    case rotation
}

/// A broken rule.
struct Violation: Error, CustomStringConvertible {
    let rule: Rule
    let what: String
    let seed: UInt64
    let trace: String

    var description: String {
        """
        seed \(seed) breaks the rule of \(rule.rawValue): \(what)
        replay it with SIGNET_SIMULATION_SEED=\(seed); the last events were
        \(trace)
        """
    }
}

extension Scheduler {
    func violation(_ rule: Rule, _ what: String) -> Violation {
        Violation(rule: rule, what: "at \(now.inSeconds): \(what)", seed: seed, trace: trace)
    }
}
