// SPDX-License-Identifier: Apache-2.0

import CAServer
import Datastore
import FoundationEssentials
import NodeSync
import PolicyDocuments
import SPIFFE
import TestSeeds

/// What `FederationService` remembers from one turn to the next.
struct FederationMemory {
    var schedule = FederationSchedule()
    let specs = FederationSpecs()
}

/// What `FederationService` and `BundleFetcher` do; endpoints are `SimulatedPartner`s.
extension ServerProcess {
    /// What came of a fetch.
    private struct Fetched: Sendable {
        let result: FederationResult
        let record: FederatedBundleRecord?
        let number: UInt64
    }

    func startFederation() {
        guard machine.trials.partners else { return }
        federation = FederationMemory()
        planFederation(after: workTime())
    }

    private func planFederation(after delay: Duration) {
        federationTimer.set(at: scheduler.now + delay) { [self] in
            guard !isStopped else { return }
            do { try federationTurn() } catch is ServerGone {}
        }
    }

    /// Looks at documents and clock, and begins what is due.
    private func federationTurn() throws {
        let now = clock.bootTime
        let versions = Dictionary(
            try partners().map { ($0.trustDomain, $0.version) },
            uniquingKeysWith: { first, _ in first }
        )
        federation?.schedule.documentsChanged(to: versions, now: now)
        for fetch in federation?.schedule.timerFired(now: now) ?? [] { begin(fetch) }
        let check = now + FederationService.checkInterval
        let wakeAt = min(federation?.schedule.wakeAt ?? check, check)
        planFederation(after: max(.milliseconds(1), wakeAt - now))
    }

    private func partners() throws -> [FederatedPartner] {
        guard let specs = federation?.specs else { return [] }
        let logic = logic
        return try datastore.readNow { try logic.partners(in: $0, knowing: specs) }
    }

    private func begin(_ fetch: FederationSchedule.Fetch) {
        // As it is when the fetch begins: what comes counts for no other document.
        let known = (try? partners())?.first {
            $0.trustDomain == fetch.trustDomain && $0.version == fetch.version
        }
        after(random.duration(0.01...3), "server fetches of \(fetch.trustDomain)") { [self] in
            var outcome = FederationSchedule.Outcome.failed
            do {
                if let known { outcome = try fetched(fetch, known) }
            } catch let gone as ServerGone {
                throw gone
            } catch {
                scheduler.note("server takes nothing of \(fetch.trustDomain)")
            }
            federation?.schedule.fetchEnded(
                fetch,
                outcome,
                now: clock.bootTime,
                using: &random
            )
            try federationTurn()
        }
    }

    private func fetched(
        _ fetch: FederationSchedule.Fetch,
        _ known: FederatedPartner
    ) throws -> FederationSchedule.Outcome {
        let endpoint = machine.partners.first { $0.trustDomain == fetch.trustDomain }
        guard let bytes = endpoint?.served else {
            try withholdIfStale(known)
            return .failed
        }
        let bundle = try FetchedBundle(bytes, of: fetch.trustDomain)
        let (logic, now) = (logic, clock.wallTime)
        let asking: BundleSuccession.Asking =
            machine.sabotage == .believedRollback ? .adminAcceptingOlder : fetch.asking
        let done = try write(claiming: { (done: Fetched) in claim(done) }) { transaction in
            let result = try logic.take(
                bundle,
                of: known,
                asking: asking,
                by: ServerLogic.federator,
                now: now,
                in: transaction
            )
            return Fetched(
                result: result,
                record: try transaction.federatedBundle(of: known.trustDomain),
                number: try transaction.revision().number
            )
        }
        scheduler.note("the bundle of \(fetch.trustDomain): \(done.result)")
        switch done.result {
        case .confirmed, .taken:
            return .fetched(refreshSeconds: bundle.document.refreshSeconds)
        case .postponed(let until):
            return .postponed(for: .seconds(max(0, until.timeIntervalSince(now))))
        case .refused, .superseded:
            try withholdIfStale(known)
            return .failed
        }
    }

    private func claim(_ done: Fetched) {
        guard let record = done.record else { return }
        switch done.result {
        case .confirmed, .taken:
            ledger.believed(PartnerFact(record, at: scheduler.now), number: done.number)
        case .refused: ledger.refusedBundle()
        case .postponed, .superseded: break
        }
    }

    /// What could not be fetched for too long is believed no longer.
    private func withholdIfStale(_ partner: FederatedPartner) throws {
        guard let staleAt = partner.staleAt, staleAt < clock.wallTime else { return }
        let (logic, now, trustDomain) = (logic, clock.wallTime, partner.trustDomain)
        let (ledger, instant) = (ledger, scheduler.now)
        try write(claiming: { (done: (isWithheld: Bool, number: UInt64)) in
            guard done.isWithheld else { return }
            ledger.disbelieved(trustDomain, number: done.number, at: instant)
        }) { transaction in
            let isWithheld = try logic.withholdIfStale(partner, now: now, in: transaction)
            return (isWithheld: isWithheld, number: try transaction.revision().number)
        }
    }

    // MARK: - Admins

    /// What an admin writes who federates with somebody.
    func federate(with partner: SimulatedPartner) throws {
        try apply([], and: [partner.document])
        ledger.federates(with: partner.trustDomain, at: scheduler.now)
        partnersMayChange()
    }

    /// What an admin deletes who wants to have nothing to do with somebody any more.
    func part(from partner: SimulatedPartner) throws {
        var order = DocumentOrder()
        order.deletions = [
            DocumentKey(
                group: DocumentKey.nativeGroup,
                kind: DocumentKind.federatedTrustDomain.rawValue,
                namespace: "",
                name: partner.name
            )
        ]
        let (carried, logic, standing, ledger) = (order, logic, standing, ledger)
        let (seed, instant, trustDomain) = (random.next(), scheduler.now, partner.trustDomain)
        try write(claiming: { (result: DocumentResult) in
            for outcome in result.outcomes {
                ledger.deleted(document: outcome.uid, result.revision.number)
            }
            ledger.disbelieved(trustDomain, number: result.revision.number, at: instant)
            ledger.parted(from: trustDomain)
        }) { transaction in
            var generator = SeededGenerator(seed: seed)
            var act = DocumentAct(logic, by: standing, in: transaction)
            return try act.perform(carried, using: &generator)
        }
        partnersMayChange()
    }

    private func partnersMayChange() {
        guard federation != nil else { return }
        planFederation(after: workTime())
    }
}

extension PartnerFact {
    init(_ record: FederatedBundleRecord, at now: Duration) {
        let document = record.shownDocument.flatMap { try? BundleDocument(parsing: $0) }
        self.init(
            trustDomain: record.trustDomain,
            documentUID: record.documentUID,
            sequence: record.sequenceNumber,
            authorities: Set(document?.x509Authorities ?? []),
            at: now
        )
    }
}
