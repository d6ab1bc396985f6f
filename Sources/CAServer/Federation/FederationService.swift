// SPDX-License-Identifier: Apache-2.0

internal import BundleClient
internal import Clocks
internal import ControlAPI
internal import Datastore
internal import FoundationEssentials
internal import Logging
internal import PolicyDocuments
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
        /// Admins whose fetch has not begun, of each trust domain at most one.
        var wishes: [TrustDomain: FederationDesk.Wish] = [:]
        /// Trust domains whose bundle is believed since the last turn, and was not before.
        var shownAnew: Set<TrustDomain> = []
        /// The partners that metrics tell of.
        var measured: Set<TrustDomain> = []
        var shared = SharedAuthorities()
        var told: String?
    }

    let core: ServerCore

    package init(core: ServerCore) {
        self.core = core
    }

    /// Fetches until cancelled.
    func run() async {
        let desk = core.federation
        warnOfRoots()
        let left = await withDiscardingTaskGroup { group in
            var memory = Memory()
            // A thread for those who federate with nobody would be one for nothing.
            var fetcher: BundleFetcher?
            while !Task.isCancelled {
                await turn(&memory)
                for fetch in memory.schedule.timerFired(now: core.clock.bootTime) {
                    let begun = fetcher ?? BundleFetcher(core: core, client: HTTPSClient())
                    fetcher = begun
                    let wish = memory.begin(fetch)
                    let onRecord = memory.standings[fetch.trustDomain]?.refusalsOnRecord ?? [:]
                    group.addTask {
                        let report = await begun.fetch(
                            fetch,
                            for: wish,
                            refusalsOnRecord: onRecord
                        )
                        desk.ended(.init(fetch: fetch, report: report, wish: wish))
                    }
                }
                let check = core.clock.bootTime + Self.checkInterval
                await desk.wait(until: min(memory.schedule.wakeAt ?? check, check), core.clock)
            }
            group.cancelAll()
            return (wishes: Array(memory.wishes.values), client: fetcher?.client)
        }
        for wish in left.wishes { wish.finish(.failure(FederationDesk.serverEnds)) }
        // Fetches have ended: what they told is taken with the rest.
        desk.close()
        await left.client?.close()
    }

    /// Says at the start what else the first fetch of an https_web endpoint says.
    private func warnOfRoots() {
        guard let path = core.configuration.federationRoots else { return }
        do {
            _ = try BundleFetcher.roots(path)
        } catch {
            core.logger.warning(
                "federationRoots cannot be read, so no https_web endpoint is believed",
                metadata: ["error": "\(error)"]
            )
        }
    }

    /// Takes what was told, and looks at documents and clock.
    private func turn(_ memory: inout Memory) async {
        let (logic, desk) = (core.logic, core.federation)
        let news = desk.take()
        for ended in news.ended { note(ended, &memory) }
        memory.dropWishesOfGone()
        let now = core.clock.wallTime
        let jump = core.clockGuard.problem(wall: now, boot: core.clock.bootTime)
        do {
            let (partners, problem) = try await core.read { transaction in
                (
                    try logic.partners(in: transaction, knowing: desk.specs),
                    try jump ?? logic.clockProblem(now, in: transaction)
                )
            }
            let isBelieved = problem == nil
            memory.schedule.held(!isBelieved)
            if !isBelieved { memory.endWishes(Self.clockNotBelieved) }
            follow(partners, &memory)
            for wish in news.wishes { accept(wish, among: partners, isBelieved, &memory) }
            schedule(&memory)
            report(partners, isBelieved: isBelieved, &memory)
            if isBelieved { await withhold(partners) }
        } catch {
            // The health of the datastore tells of it.
            memory.schedule.held(true)
            memory.endWishes(error)
            for wish in news.wishes { wish.finish(.failure(error)) }
        }
        desk.standings = memory.standings
    }

    /// The documents are these now.
    private func follow(_ partners: [FederatedPartner], _ memory: inout Memory) {
        let versions = Dictionary(
            partners.lazy.filter { $0.spec != nil }.map { ($0.trustDomain, $0.version) },
            uniquingKeysWith: { first, _ in first }
        )
        let now = core.clock.bootTime
        memory.schedule.documentsChanged(to: versions, now: now)
        for partner in partners {
            guard let voucher = partner.spec?.vouchingTrustDomain,
                memory.shownAnew.contains(voucher)
            else { continue }
            memory.schedule.becameFetchable(partner.trustDomain, now: now)
        }
        memory.shownAnew = []
        memory.standings = memory.standings.filter { versions[$0.key] != nil }
        for trustDomain in versions.keys where memory.standings[trustDomain] == nil {
            memory.standings[trustDomain] = PartnerStanding()
        }
        for (trustDomain, wish) in memory.wishes where versions[trustDomain] == nil {
            memory.wishes[trustDomain] = nil
            wish.finish(.failure(Self.unknown(trustDomain)))
        }
    }

    /// Nothing is fetched for a document that cannot be read, so no fetch fails: what was fetched is
    /// believed no longer for that.
    private func withhold(_ partners: [FederatedPartner]) async {
        for partner in partners where partner.spec == nil {
            // Health tells of it with the next turn.
            if await core.withholdIfStale(partner) { core.federation.documentsChanged() }
        }
    }

    private func accept(
        _ wish: FederationDesk.Wish,
        among partners: [FederatedPartner],
        _ isBelieved: Bool,
        _ memory: inout Memory
    ) {
        guard !wish.caller.hasLeft else { return }
        guard isBelieved else {
            wish.finish(.failure(Self.clockNotBelieved))
            return
        }
        if let unreadable = partners.first(where: { $0.trustDomain == wish.trustDomain })?
            .unreadable
        {
            wish.finish(.failure(APIError(datastore: unreadable)))
            return
        }
        let now = core.clock.bootTime
        let answer = memory.schedule.refreshRequested(
            of: wish.trustDomain,
            acceptsOlder: wish.acceptsOlder,
            now: now
        )
        switch answer {
        case .accepted: memory.wishes[wish.trustDomain] = wish
        case .tooSoon(let until):
            let seconds = Int(((until - now) / .seconds(1)).rounded(.up))
            let error = APIError(
                .exhausted,
                "refreshTooSoon",
                "the bundle of \(wish.trustDomain) was fetched for an admin a moment ago, or one waits "
                    + "for it; retry in \(seconds) s"
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
        core.metrics.increment(.federationFetches, report.result)
        ended.wish?.finish(report.denial.map { .failure($0) } ?? .success(report))
        if report.isShownAnew { memory.shownAnew.insert(trustDomain) }
        // What stood before it stands still.
        guard !report.isSuperseded else { return }
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
    /// Nothing begins now: whoever waits is told why, and may ask again at once.
    fileprivate mutating func endWishes(_ error: APIError) {
        for (trustDomain, wish) in wishes {
            wish.finish(.failure(error))
            schedule.refreshWithdrawn(of: trustDomain, isForgotten: true)
        }
        wishes = [:]
    }

    /// Nothing is taken for an admin who has hung up.
    fileprivate mutating func dropWishesOfGone() {
        for (trustDomain, wish) in wishes where wish.caller.hasLeft {
            wishes[trustDomain] = nil
            schedule.refreshWithdrawn(of: trustDomain, isForgotten: false)
        }
    }

    /// A fetch begins: who waits for it.
    fileprivate mutating func begin(_ fetch: FederationSchedule.Fetch) -> FederationDesk.Wish? {
        guard fetch.asking != .schedule else { return nil }
        return wishes.removeValue(forKey: fetch.trustDomain)
    }
}
