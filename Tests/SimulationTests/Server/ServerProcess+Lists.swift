// SPDX-License-Identifier: Apache-2.0

import CAServer
import Datastore
import FoundationEssentials
import Issuance
import NodeSync
import SPIFFE

/// What `RevocationListService` remembers from one round to the next.
struct ListMemory {
    var schedule: RevocationListSchedule
    /// Up to which revision number everything revoked was looked at.
    var seen: UInt64?
    /// The authorities of which no list could be signed then.
    var unable: Set<String> = []
    /// A round is between its signatures and its commit.
    var isUnderWay = false
}

/// What `RevocationListService` does.
extension ServerProcess {
    /// What a round has signed and not committed.
    private struct Round {
        let lists: [SignedRevocationList]
        let leftOut: [String: Int]
        let seen: UInt64
        let unable: Set<String>
        let now: Date
    }

    /// Signs what is missing before the server serves.
    func startLists() throws {
        guard machine.trials.revocations else { return }
        lists = ListMemory(schedule: RevocationListSchedule(now: clock.bootTime))
        let begun = clock.bootTime
        try settle(begun) { [self] in try signDue() }
    }

    /// Revocations or the set of authorities have changed.
    func listsMayChange() {
        guard lists != nil else { return }
        lists?.schedule.changed(now: clock.bootTime)
        planLists()
    }

    private func planLists() {
        guard let wakeAt = lists?.schedule.wakeAt else { return }
        listTimer.set(at: clock.trueTime(ofBoot: wakeAt)) { [self] in
            guard !isStopped else { return }
            do { try listsDue() } catch is ServerGone {}
        }
    }

    private func listsDue() throws {
        guard lists?.isUnderWay == false else { return }
        let begun = clock.bootTime
        guard lists?.schedule.timerFired(now: begun) == true else { return planLists() }
        lists?.isUnderWay = true
        let signed = Result { try signDue() }
        // Revocations may be committed while it signs.
        after(workTime(), "server commits revocation lists") { [self] in
            lists?.isUnderWay = false
            try settle(begun) { try signed.get() }
        }
    }

    /// Commits a round; what fails is tried again.
    private func settle(_ begun: Duration, _ round: () throws -> Round?) throws {
        do {
            if let round = try round() {
                try commit(round)
                lists?.seen = round.seen
                lists?.unable = round.unable
                if !round.lists.isEmpty { lists?.schedule.signed(now: begun) }
            }
        } catch let gone as ServerGone {
            throw gone
        } catch {
            scheduler.note("server signs no revocation lists")
            lists?.schedule.failed(now: begun)
        }
        planLists()
    }

    /// Signs what has changed or is due.
    ///
    /// - Returns: nil if there is nothing to look at.
    private func signDue() throws -> Round? {
        let (logic, now, seen) = (logic, clock.wallTime, lists?.seen)
        var snapshot = try datastore.readNow {
            try logic.listSnapshot(after: seen, now: now, in: $0)
        }
        var signers = try signers(of: snapshot)
        if !snapshot.isWhole {
            let members = snapshot.listed(having: Set(signers.keys))
            let unable = lists?.unable ?? []
            let isAble = members.contains { $0.canSign(now: now) && unable.contains($0.id) }
            guard isAble || RevocationListPlan.isDue(members, now: now) else { return nil }
            snapshot = try datastore.readNow {
                try logic.listSnapshot(after: nil, now: now, in: $0)
            }
            signers = try self.signers(of: snapshot)
        }
        let plan = snapshot.plan(having: Set(signers.keys), now: now)
        var signed: [SignedRevocationList] = []
        for content in plan.lists where machine.sabotage != .staleLists {
            guard let signer = signers[content.authorityID],
                let member = snapshot.members.first(where: {
                    $0.authority.id == content.authorityID
                })
            else { continue }
            let prepared = try PreparedRevocationList(content, authority: member.authority)
            signed.append(try prepared.signed(with: signer))
        }
        let unable = snapshot.listed(having: Set(signers.keys)).filter { !$0.canSign(now: now) }
        return Round(
            lists: signed,
            leftOut: plan.leftOut.certificates,
            seen: snapshot.revision.number,
            unable: Set(unable.map(\.id)),
            now: now
        )
    }

    private func signers(
        of snapshot: RevocationListSnapshot
    ) throws -> [String: any Signer] {
        var found: [String: any Signer] = [:]
        for member in snapshot.members {
            found[member.authority.id] = try keys.signer(authorityID: member.authority.id)
        }
        return found
    }

    private func commit(_ round: Round) throws {
        guard !round.lists.isEmpty else { return }
        let (logic, ledger) = (logic, ledger)
        let (signed, leftOut, now) = (round.lists, round.leftOut, round.now)
        try write(claiming: { (committed: [SignedRevocationList], number: UInt64) in
            for list in committed { ledger.listed(ListFact(list), number: number) }
        }) { transaction in
            let committed = try logic.commit(
                signed,
                leftOut: leftOut,
                now: now,
                in: transaction
            )
            return (committed, try transaction.revision().number)
        }
        if signed.contains(where: \.prepared.content.isLast) { try destroyUnneededKeys() }
    }
}

extension ListFact {
    init(_ list: SignedRevocationList) {
        let content = list.prepared.content
        self.init(
            authorityID: content.authorityID,
            number: list.prepared.number,
            nextUpdate: content.nextUpdate,
            serials: Set(content.entries.map(\.serial)),
            der: list.der
        )
    }
}
