// SPDX-License-Identifier: Apache-2.0

package import NodeSync
package import SPIFFE

/// Whether a process is a server below this trust domain's.
package enum DownstreamStanding: Hashable, Sendable {
    /// By the entry with this ID.
    case entry(String)
    case none
    /// As many entries say so, and none of them is more right than the others.
    case several(Int)
    /// That cannot be known yet, for the reason in the sentence.
    case unknown(String)
}

/// All that a server below is judged by, and told.
package struct DownstreamView: Hashable, Sendable {
    package let standing: DownstreamStanding
    /// The newest that is known of the own trust domain.
    package let bundle: TrustBundle
    /// The key IDs of authorities that are revoked.
    package let revoked: Set<[UInt8]>

    package init(standing: DownstreamStanding, bundle: TrustBundle, revoked: Set<[UInt8]>) {
        (self.standing, self.bundle, self.revoked) = (standing, bundle, revoked)
    }
}

/// A stream on which a server below is told what is above.
struct DownstreamWatcher: Sendable {
    let selectors: Set<Selector>
    /// What it was woken for last.
    var view: DownstreamView
}

/// Servers below this trust domain's, which are workloads of the node
/// (docs/decisions/0020-authorities-under-another.md, "Nested").
extension AgentLogic {
    /// Whether a process that attested to `selectors` is a server below.
    package func downstreamStanding(of selectors: Set<Selector>) -> DownstreamStanding {
        guard sync.revision != nil else {
            return .unknown("the agent has not yet received its entries; try again")
        }
        let found = cache.downstreamEntries(for: selectors)
        switch found.count {
        case 0:
            // A denial makes a workload give up what it has.
            guard knowsNode || !cache.mayBeGranted(to: selectors) else {
                return .unknown(
                    "the agent was started anew and has not heard from its server what this node "
                        + "was attested to be; try again"
                )
            }
            return .none
        case 1: return .entry(found[0])
        default: return .several(found.count)
        }
    }

    /// What a process that attested to `selectors` is judged by, and told, now.
    package func downstreamView(for selectors: Set<Selector>) -> DownstreamView {
        DownstreamView(
            standing: downstreamStanding(of: selectors),
            bundle: bundle,
            revoked: cache.revokedAuthorities
        )
    }

    /// A process opened a stream of what is above and was attested; what it is told is
    /// `downstreamView(for:)`, now and after each wake.
    ///
    /// - Parameters:
    ///   - subscriber: Never used before.
    ///   - selectors: What it attested to.
    ///   - now: Both clocks.
    ///   - generator: Where jitter comes from.
    /// - Returns: What the shell has to do.
    package mutating func watchedFromBelow(
        _ subscriber: SubscriberID,
        selectors: Set<Selector>,
        now: ClockReading,
        using generator: inout some RandomNumberGenerator
    ) -> [Action] {
        let actions = observeClocks(now: now, using: &generator)
        downstream[subscriber] = DownstreamWatcher(
            selectors: selectors,
            view: downstreamView(for: selectors)
        )
        return actions + finish(now: now, using: &generator)
    }

    /// Wakes the streams of servers below for which something has changed.
    mutating func wakeDownstream() -> [Action] {
        var woken: [SubscriberID] = []
        for (id, watcher) in downstream {
            let view = downstreamView(for: watcher.selectors)
            guard view != watcher.view else { continue }
            downstream[id]?.view = view
            woken.append(id)
        }
        return woken.isEmpty ? [] : [.wake(woken.sorted())]
    }
}
