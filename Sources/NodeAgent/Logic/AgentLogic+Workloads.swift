// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
package import NodeSync
package import SPIFFE

extension AgentLogic {
    /// A workload opened a stream and was attested; its first message is `answer(for:)` right
    /// after.
    ///
    /// - Parameters:
    ///   - subscriber: Never used before.
    ///   - selectors: What it attested to.
    ///   - interest: What its stream shows.
    ///   - now: Both clocks.
    ///   - generator: Where jitter comes from.
    /// - Returns: What the shell has to do.
    package mutating func subscribed(
        _ subscriber: SubscriberID,
        selectors: Set<Selector>,
        interest: WorkloadInterest,
        now: ClockReading,
        using generator: inout some RandomNumberGenerator
    ) -> [Action] {
        var actions = observeClocks(now: now, using: &generator)
        subscribers[subscriber] = selectors
        interests[subscriber] = interest
        actions += perform(
            cache.subscribe(subscriber, selectors: selectors, interest: interest, now: now.wall),
            now: now,
            using: &generator
        )
        if answer(for: subscriber) == .wait {
            patience.set(subscriber, to: now.boot + Self.firstAnswerPatience)
        }
        return actions + finish(now: now, using: &generator)
    }

    /// The stream of a workload, a proxy or a server below ended.
    package mutating func unsubscribed(
        _ subscriber: SubscriberID,
        now: ClockReading,
        using generator: inout some RandomNumberGenerator
    ) -> [Action] {
        subscribers[subscriber] = nil
        interests[subscriber] = nil
        proxies[subscriber] = nil
        downstream[subscriber] = nil
        patience.set(subscriber, to: nil)
        exhausted.remove(subscriber)
        let actions = perform(
            cache.unsubscribe(subscriber, now: now.wall),
            now: now,
            using: &generator
        )
        return actions + finish(now: now, using: &generator)
    }

    /// What a subscriber's stream is to show now.
    package func answer(for subscriber: SubscriberID) -> WorkloadAnswer {
        guard sync.revision != nil else {
            return .unavailable("the agent has not yet received its entries; try again")
        }
        let view = cache.view(for: subscriber)
        switch view.state {
        case .denied:
            // A denial makes a workload give up what it has.
            guard knowsNode || !cache.mayBeGranted(subscriber) else {
                return .unavailable(
                    "the agent was started anew and has not heard from its server what this node "
                        + "was attested to be; try again"
                )
            }
            return .denied
        case .ready: return .view(view)
        case .awaitingSVIDs:
            if interests[subscriber] == .bundles, view.bundle != nil { return .view(view) }
            guard exhausted.contains(subscriber) else { return .wait }
            guard refusedBecause == nil else {
                return .unavailable(
                    "the server refuses this machine's agent, so it signs no certificate; the "
                        + "agent's log and its condition \"identity\" say why"
                )
            }
            return .unavailable("the server has not signed the certificate yet; try again")
        }
    }

    /// What a subscriber's stream is to show now, after what it has shown.
    ///
    /// - Parameters:
    ///   - subscriber: The stream.
    ///   - shown: The last view that was sent on it; nil before the first.
    ///   - now: The wall clock.
    /// - Returns: The answer. An SVID that expired by itself needs no word: its workload knows.
    package func answer(
        for subscriber: SubscriberID,
        after shown: WorkloadView?,
        now: Date
    ) -> WorkloadAnswer {
        let answer = answer(for: subscriber)
        switch answer {
        case .denied, .view, .withdrawn: return answer
        case .unavailable, .wait:
            guard let shown, interests[subscriber] == .svids else { return answer }
            return shown.svids.contains { now < $0.notAfter } ? .withdrawn : answer
        }
    }

    func isAnswered(_ subscriber: SubscriberID) -> Bool { !isWaiting(subscriber) }

    mutating func endPatience(
        now: ClockReading,
        using generator: inout some RandomNumberGenerator
    ) -> [Action] {
        var actions: [Action] = []
        while let subscriber = patience.popDue(at: now.boot) {
            actions += perform(
                cache.patienceEnded(subscriber, now: now.wall),
                now: now,
                using: &generator
            )
            if isWaiting(subscriber) {
                exhausted.insert(subscriber)
                actions.append(.wake([subscriber]))
            }
        }
        return actions
    }
}
