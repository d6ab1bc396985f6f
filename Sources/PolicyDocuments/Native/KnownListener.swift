// SPDX-License-Identifier: Apache-2.0

package import Authorization
package import Routing
import StrictYAML

/// Where a policy could hold: an inbound listener of a Proxy, as the server knows it.
package struct KnownListener: Hashable, Sendable {
    /// Whose traffic it takes.
    package let workload: PolicedWorkload
    /// What policies see as the port.
    package let port: UInt16
    package let trafficProtocol: TrafficProtocol

    package init(workload: PolicedWorkload, port: UInt16, trafficProtocol: TrafficProtocol) {
        self.workload = workload
        self.port = port
        self.trafficProtocol = trafficProtocol
    }
}

extension Document {
    /// The rules of an access policy that can never apply to what it targets (docs/decisions/0008):
    /// fields of HTTP where nothing but TCP is served, ports that nothing has.
    ///
    /// - Parameter listeners: All that are known; those that the policy does not hold for are passed
    ///   over, and of a policy that holds for none nothing is said: its workloads may come later.
    /// - Returns: Errors, with the places of the operations; none for documents of other kinds.
    package func problems(atListeners listeners: [KnownListener]) -> [DocumentProblem] {
        guard case .accessPolicy(let spec) = spec else { return [] }
        let policy = spec.policy(metadata: metadata)
        let targets = listeners.filter { policy.holds(for: $0.workload) }
        guard !targets.isEmpty else { return [] }
        var problems: [DocumentProblem] = []
        for (ruleIndex, rule) in spec.rules.enumerated() {
            if let (what, remedy) = Self.flaw(ofConditionsOf: rule, spec.action, at: targets) {
                let path = "spec.rules[\(ruleIndex)]"
                problems.append(problem(path, what, remedy))
            }
            for (index, operation) in (rule.to ?? []).enumerated() {
                let path = "spec.rules[\(ruleIndex)].to[\(index)].operation"
                guard let (what, remedy) = Self.flaw(of: operation, spec.action, at: targets) else {
                    continue
                }
                problems.append(problem(path, what, remedy))
            }
        }
        return problems
    }

    private func problem(_ path: String, _ what: String, _ remedy: String) -> DocumentProblem {
        let position = places[path]
        return DocumentProblem(
            file: file,
            line: position?.line ?? line,
            column: position?.column ?? 1,
            what: "\(path): \(what)",
            remedy: remedy
        )
    }

    private static func flaw(
        ofConditionsOf rule: AccessRule,
        _ action: AccessPolicy.Action,
        at targets: [KnownListener]
    ) -> (what: String, remedy: String)? {
        if rule.when.contains(where: \.asksServerName),
            targets.allSatisfy({ $0.trafficProtocol == .http })
        {
            return (
                "the name of the handshake is not known of requests over HTTP, so the rule "
                    + (action == .allow ? "allows nothing" : "matches whatever it is"),
                "write hosts in an operation, or protocol: tcp at the listener"
            )
        }
        guard rule.when.contains(where: \.asksHTTP),
            targets.allSatisfy({ $0.trafficProtocol == .tcp })
        else { return nil }
        return (
            action == .allow
                ? "headers never match a port of protocol tcp, so the rule allows nothing"
                : "headers are not known of a port of protocol tcp, so the rule matches every "
                    + "connection there",
            "remove the condition, or write protocol: http at the listener"
        )
    }

    private static func flaw(
        of operation: AccessOperation,
        _ action: AccessPolicy.Action,
        at targets: [KnownListener]
    ) -> (what: String, remedy: String)? {
        let reached = targets.filter { target in
            let ports = operation.ports
            return ports.anyOf?.contains(target.port) ?? true
                && !(ports.noneOf?.contains(target.port) ?? false)
        }
        guard !reached.isEmpty else {
            let ports = Set(targets.map(\.port)).sorted().map(String.init)
            return (
                "no workload that the policy holds for has such a port",
                "write one of \(ports.joined(separator: ", "))"
            )
        }
        guard operation.asksHTTP, reached.allSatisfy({ $0.trafficProtocol == .tcp }) else {
            return nil
        }
        return switch action {
        case .allow:
            (
                "methods and paths never match a port of protocol tcp, so the rule allows nothing",
                "remove them, or write protocol: http at the listener"
            )
        case .deny:
            (
                "methods and paths are not known of a port of protocol tcp, so the rule denies "
                    + "every connection there",
                "remove them to say so, or write protocol: http at the listener"
            )
        }
    }
}
