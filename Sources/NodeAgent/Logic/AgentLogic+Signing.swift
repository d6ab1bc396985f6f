// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
package import NodeSync
internal import SPIFFE

extension AgentLogic {
    /// A signing batch was answered, or failed as a whole.
    ///
    /// - Parameters:
    ///   - id: From `.sign`.
    ///   - results: By identity; one that is missing counts as failed. `.issued` only for what was
    ///     verified against the current bundle, the identity and the key asked with.
    ///   - now: Both clocks.
    ///   - generator: Where jitter comes from.
    /// - Returns: What the shell has to do.
    package mutating func signed(
        _ id: SigningBatchID,
        _ results: [IdentityKey: SigningResult],
        now: ClockReading,
        using generator: inout some RandomNumberGenerator
    ) -> [Action] {
        // The answer to a batch whose connection ended was given up, and is asked for again.
        guard inFlight.remove(id) != nil else { return [] }
        var actions = observeClocks(now: now, using: &generator)
        var issued: [IssuedSVID] = []
        var refused: [IdentityKey] = []
        var outcomes: [IdentityKey: SigningOutcome] = [:]
        for (key, result) in results.sorted(by: { $0.key < $1.key }) {
            switch result {
            case .failed(let reason):
                outcomes[key] = .failed
                actions.append(.report(.signingProblem(key, reason)))
            case .issued(let svid):
                outcomes[key] = .issued(svid.validity)
                issued.append(svid)
            case .refused(let reason):
                outcomes[key] = .refused
                refused.append(key)
                actions.append(.report(.signingProblem(key, reason)))
            }
        }
        let served = cache.received(issued, now: now.wall)
        for case .discarded(let keys) in served { for key in keys { outcomes[key] = .failed } }
        for svid in issued {
            if case .issued(let validity) = outcomes[svid.key] {
                notAfters[svid.key] = validity.notAfter
            }
        }
        actions += perform(served, now: now, using: &generator)
        actions += perform(
            cache.signingRefused(refused, now: now.wall),
            now: now,
            using: &generator
        )
        actions += perform(
            queue.signed(id, outcomes: outcomes, now: now, using: &generator),
            now: now,
            using: &generator
        )
        return actions + finish(now: now, using: &generator)
    }

    /// Hands a batch to the shell, or takes it back if nothing of it is wanted any more.
    mutating func sign(
        _ id: SigningBatchID,
        _ keys: [IdentityKey],
        now: ClockReading,
        using generator: inout some RandomNumberGenerator
    ) -> [Action] {
        let items = keys.compactMap(item)
        guard !items.isEmpty else {
            return perform(
                queue.signed(id, outcomes: [:], now: now, using: &generator),
                now: now,
                using: &generator
            )
        }
        inFlight.insert(id)
        return [.sign(SigningBatch(id: id, items: items))]
    }

    private func item(_ key: IdentityKey) -> SigningBatch.Item? {
        guard let entry = cache.entry(of: key), let variables = variables(of: key, entry) else {
            return nil
        }
        return SigningBatch.Item(
            key: key,
            variables: variables,
            replacesNotAfter: notAfters[key].map { Int64($0.timeIntervalSince1970) }
        )
    }

    /// The variables with which the entry's template gives the identity; nil if no open stream
    /// shows selectors that do.
    private func variables(
        of key: IdentityKey,
        _ entry: RegistrationEntry
    ) -> [String: String]? {
        guard let template = try? IDTemplate(parsing: entry.spiffeID) else { return nil }
        let hasWorkloadVariables = template.variables.contains {
            if case .workload = $0 { true } else { false }
        }
        guard hasWorkloadVariables else { return [:] }
        for selectors in Set(subscribers.values) where entry.matches(workload: selectors) {
            guard let values = try? template.workloadValues(from: selectors),
                let id = try? template.resolve(
                    trustDomain: trustDomain,
                    node: cache.node,
                    workload: values,
                    bounds: entry.variableBounds
                )
            else { continue }
            if id == key.spiffeID { return values }
        }
        return nil
    }
}
