// SPDX-License-Identifier: Apache-2.0

internal import Synchronization

/// What a process needs to be alive and ready, and which of it is missing.
///
/// The names are fixed at the start: a part that has not reported yet keeps the process unready,
/// and a part that nobody declared cannot be forgotten.
package final class Health: Sendable {
    /// Which question is asked.
    package enum Probe: String, CaseIterable, Sendable {
        /// Whether the process works at all; if not, a restart may help.
        case live
        /// Whether the process can serve; if not, callers should go elsewhere.
        case ready
    }

    private struct Condition {
        let probe: Probe
        /// Whether it is only told of.
        let isNoted: Bool
        var problem: String?
    }

    private let conditions: Mutex<[String: Condition]>

    /// Declares the conditions.
    ///
    /// - Parameters:
    ///   - live: Met until reported otherwise, so that a starting process is not restarted.
    ///   - ready: Unmet until reported met.
    ///   - noted: Met until reported otherwise; told of beside the others, and no reason to send
    ///     anybody elsewhere.
    package init(live: [String] = [], ready: [String], noted: [String] = []) {
        var conditions: [String: Condition] = [:]
        for name in ready {
            conditions[name] = Condition(probe: .ready, isNoted: false, problem: "starting")
        }
        for name in live {
            conditions[name] = Condition(probe: .live, isNoted: false, problem: nil)
        }
        for name in noted {
            conditions[name] = Condition(probe: .ready, isNoted: true, problem: nil)
        }
        precondition(
            conditions.count == live.count + ready.count + noted.count,
            "a name was declared twice"
        )
        self.conditions = Mutex(conditions)
    }

    /// Reports a declared condition as met.
    package func met(_ name: String) {
        report(name, problem: nil)
    }

    /// Reports a declared condition as unmet, with the reason for people.
    package func unmet(_ name: String, reason: String) {
        report(name, problem: reason)
    }

    /// The answer to one probe; being ready includes being live.
    package func report(_ probe: Probe) -> HealthReport {
        let conditions = conditions.withLock { $0 }
        return HealthReport(
            conditions:
                conditions
                .filter { probe == .ready || $0.value.probe == .live }
                .map { name, condition in
                    HealthReport.Condition(
                        name: name,
                        problem: condition.problem,
                        isNoted: condition.isNoted
                    )
                }
                .sorted { $0.name < $1.name }
        )
    }

    private func report(_ name: String, problem: String?) {
        conditions.withLock { conditions in
            precondition(conditions[name] != nil, "condition \(name) was not declared")
            conditions[name]?.problem = problem
        }
    }
}

/// The conditions behind one answer about health.
package struct HealthReport: Hashable, Sendable {
    /// One declared condition and how it stands.
    package struct Condition: Hashable, Sendable {
        package let name: String
        /// Why it is not met; `nil` when it is.
        package let problem: String?
        /// Whether the answer does not depend on it.
        package let isNoted: Bool
    }

    /// In the order of their names.
    package let conditions: [Condition]

    package var isHealthy: Bool { conditions.allSatisfy { $0.problem == nil || $0.isNoted } }

    /// The report as one line of JSON.
    ///
    /// `{"healthy":false,"conditions":[{"name":"sync","met":false,"reason":"..."}]}`
    package var json: String {
        let members = conditions.map { condition in
            let reason = condition.problem.map { ",\"reason\":\(JSONString($0))" } ?? ""
            let met = condition.problem == nil
            return "{\"name\":\(JSONString(condition.name)),\"met\":\(met)\(reason)}"
        }
        return "{\"healthy\":\(isHealthy),\"conditions\":[\(members.joined(separator: ","))]}\n"
    }
}
