// SPDX-License-Identifier: Apache-2.0

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
