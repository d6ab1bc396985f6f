// SPDX-License-Identifier: Apache-2.0

internal import BundleClient
internal import Clocks
internal import ControlAPI
internal import Datastore
internal import FoundationEssentials
internal import Logging
internal import SPIFFE
internal import Telemetry

/// The one task that fetches bundles of other trust domains
/// (docs/decisions/0021-federation.md).
package struct FederationService: Sendable {
    /// What health says of partners; readiness does not depend on it: their endpoints are not ours.
    package static let condition = "federation"
    /// How often it is looked whether the clock is believed, and what health has to say.
    package static let checkInterval: Duration = .seconds(60)

    /// What the task remembers from one turn to the next.
    struct Memory: Sendable {
        var schedule = FederationSchedule()
        var standings: [TrustDomain: PartnerStanding] = [:]
        /// Admins whose fetch has not begun.
        var wishes: [TrustDomain: [FederationDesk.Wish]] = [:]
        /// The partners that metrics tell of.
        var measured: Set<TrustDomain> = []
        var told: String?
    }

    let core: ServerCore

    package init(core: ServerCore) {
        self.core = core
    }

    /// Fetches until cancelled.
    func run() async {
        let desk = core.federation
        let left = await withDiscardingTaskGroup { group in
            var memory = Memory()
            // A thread for those who federate with nobody would be one for nothing.
            var fetcher: BundleFetcher?
            while !Task.isCancelled {
                await turn(&memory)
                for fetch in memory.schedule.timerFired(now: core.clock.bootTime) {
                    let begun = fetcher ?? BundleFetcher(core: core, client: HTTPSClient())
                    fetcher = begun
                    let wishes = memory.begin(fetch)
                    let onRecord = memory.standings[fetch.trustDomain]?.refusalsOnRecord ?? [:]
                    group.addTask {
                        let report = await begun.fetch(
                            fetch,
                            permit: wishes.last?.permit,
                            refusalsOnRecord: onRecord
                        )
                        desk.ended(.init(fetch: fetch, report: report, wishes: wishes))
                    }
                }
                let check = core.clock.bootTime + Self.checkInterval
                await desk.wait(until: min(memory.schedule.wakeAt ?? check, check), core.clock)
            }
            group.cancelAll()
            return (wishes: memory.wishes.values.flatMap(\.self), client: fetcher?.client)
        }
        for wish in left.wishes { wish.finish(.failure(FederationDesk.serverEnds)) }
        // Fetches have ended: what they told is taken with the rest.
        desk.close()
        await left.client?.close()
    }

    /// Takes what was told, and looks at documents and clock.
    private func turn(_ memory: inout Memory) async {
        let (logic, desk) = (core.logic, core.federation)
        let news = desk.take()
        for ended in news.ended { note(ended, &memory) }
        let isBelieved = await core.isClockBelieved()
        memory.schedule.held(!isBelieved)
        if !isBelieved { memory.endWishes(Self.clockNotBelieved) }
        do {
            let partners = try await core.read { try logic.partners(in: $0) }
            follow(partners, &memory)
            for wish in news.wishes { accept(wish, isBelieved: isBelieved, &memory) }
            schedule(&memory)
            if isBelieved { report(partners, &memory) }
        } catch {
            // The health of the datastore tells of it.
            for wish in news.wishes { wish.finish(.failure(error)) }
        }
        desk.standings = memory.standings
    }

    /// The documents are these now.
    private func follow(_ partners: [FederatedPartner], _ memory: inout Memory) {
        let versions = Dictionary(
            partners.map { ($0.trustDomain, $0.version) },
            uniquingKeysWith: { first, _ in first }
        )
        memory.schedule.documentsChanged(to: versions, now: core.clock.bootTime)
        memory.standings = memory.standings.filter { versions[$0.key] != nil }
        for trustDomain in versions.keys where memory.standings[trustDomain] == nil {
            memory.standings[trustDomain] = PartnerStanding()
        }
        for (trustDomain, wishes) in memory.wishes where versions[trustDomain] == nil {
            memory.wishes[trustDomain] = nil
            for wish in wishes { wish.finish(.failure(Self.unknown(trustDomain))) }
        }
    }

    private func accept(
        _ wish: FederationDesk.Wish,
        isBelieved: Bool,
        _ memory: inout Memory
    ) {
        guard isBelieved else {
            wish.finish(.failure(Self.clockNotBelieved))
            return
        }
        let now = core.clock.bootTime
        let answer = memory.schedule.refreshRequested(
            of: wish.trustDomain,
            acceptsOlder: wish.acceptsOlder,
            now: now
        )
        switch answer {
        case .accepted: memory.wishes[wish.trustDomain, default: []].append(wish)
        case .tooSoon(let until):
            let seconds = Int(((until - now) / .seconds(1)).rounded(.up))
            let error = APIError(
                .exhausted,
                "refreshTooSoon",
                "the bundle of \(wish.trustDomain) was fetched for an admin a moment ago; retry in "
                    + "\(seconds) s"
            )
            wish.finish(.failure(error))
        case .unknown: wish.finish(.failure(Self.unknown(wish.trustDomain)))
        }
    }

    private static let clockNotBelieved = APIError(
        .unavailable,
        "clockNotBelieved",
        "nothing is fetched while the clock is not believed; signet health says why"
    )

    private static func unknown(_ trustDomain: TrustDomain) -> APIError {
        APIError(
            .notFound,
            "federatedTrustDomainUnknown",
            "no FederatedTrustDomain names \(trustDomain)"
        )
    }

    /// A fetch has ended.
    private func note(_ ended: FederationDesk.Ended, _ memory: inout Memory) {
        let (trustDomain, report) = (ended.fetch.trustDomain, ended.report)
        var generator = core.randomness
        memory.schedule.fetchEnded(
            ended.fetch,
            report.outcome,
            now: core.clock.bootTime,
            using: &generator
        )
        core.metrics.increment(.federationFetches, by: 1, trustDomain.name, report.result)
        for wish in ended.wishes {
            if let denial = report.denial {
                wish.finish(.failure(denial))
            } else {
                wish.finish(.success(report))
            }
        }
        guard var standing = memory.standings[trustDomain] else { return }
        standing.lastFetchAt = core.clock.wallTime
        standing.lastResult = report.result
        standing.problem = report.problem
        standing.isRefused = report.isRefused
        standing.isSequenceReused = report.isSequenceReused ?? standing.isSequenceReused
        standing.failuresInRow = report.outcome == .failed ? standing.failuresInRow + 1 : 0
        if report.isOnRecord { standing.refusalsOnRecord[report.result] = core.clock.bootTime }
        memory.standings[trustDomain] = standing
    }

    /// Says when each is fetched next.
    private func schedule(_ memory: inout Memory) {
        let (wall, boot) = (core.clock.wallTime, core.clock.bootTime)
        for trustDomain in memory.standings.keys {
            let dueAt = memory.schedule.dueAt(of: trustDomain)
            memory.standings[trustDomain]?.nextFetchAt = dueAt.map {
                wall.addingTimeInterval(max(0, ($0 - boot) / .seconds(1)))
            }
        }
    }
}

extension FederationService.Memory {
    /// Nothing begins now: whoever waits is told why.
    fileprivate mutating func endWishes(_ error: APIError) {
        for wish in wishes.values.flatMap(\.self) { wish.finish(.failure(error)) }
        wishes = [:]
    }

    /// A fetch begins: who waits for it.
    fileprivate mutating func begin(
        _ fetch: FederationSchedule.Fetch
    ) -> [FederationDesk.Wish] {
        guard fetch.asking != .schedule else { return [] }
        return wishes.removeValue(forKey: fetch.trustDomain) ?? []
    }
}
