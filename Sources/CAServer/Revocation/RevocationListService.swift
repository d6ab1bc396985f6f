// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import Datastore
internal import FoundationEssentials
internal import Issuance
internal import Logging
internal import NodeSync
internal import SPIFFE
internal import Telemetry

/// The one task that signs revocation lists after changes and by the clock
/// (docs/decisions/0018-certificate-revocation-lists.md).
package struct RevocationListService: Sendable {
    /// What health says of lists; readiness does not depend on it: a server that is sent away in a
    /// mass revocation would help nobody.
    package static let condition = "revocationLists"
    /// How long before a list's end it is told that it ends: a verifier that insists refuses
    /// everybody of the authority then.
    package static let endingDuration: Duration = .seconds(2 * 3600)
    /// Most identities and certificates without a place that a reason names.
    package static let namedMax = 3

    /// What the task remembers from one round to the next.
    struct Memory: Sendable {
        /// Up to which revision number everything revoked was looked at.
        var seen: UInt64?
        /// The authorities of which no list could be signed then.
        var unable: Set<String> = []
        var leftOut = RevocationListPlan.LeftOut()
        /// Why authorities' lists cannot be signed.
        var failing: [String: String] = [:]
        /// The authorities that metrics tell of.
        var measured: Set<String> = []
        var told: String?
    }

    let core: ServerCore

    package init(core: ServerCore) {
        self.core = core
    }

    /// Signs what is missing, changed or due before the server serves; what cannot be signed is told
    /// of and tried again.
    func start() async -> Memory {
        var memory = Memory()
        _ = await round(&memory)
        return memory
    }

    /// Signs lists until cancelled.
    func run(_ memory: Memory) async {
        var memory = memory
        var schedule = RevocationListSchedule(now: core.clock.bootTime)
        if memory.seen == nil || !memory.failing.isEmpty {
            schedule.failed(now: core.clock.bootTime)
        }
        while !Task.isCancelled {
            await core.hub.listDesk.wait(until: schedule.wakeAt, core.clock)
            if core.hub.listDesk.take() { schedule.changed(now: core.clock.bootTime) }
            guard schedule.timerFired(now: core.clock.bootTime) else { continue }
            let begun = core.clock.bootTime
            switch await round(&memory) {
            case .failed: schedule.failed(now: begun)
            case .idle: break
            case .signed: schedule.signed(now: begun)
            }
        }
    }

    /// What became of a look at the lists.
    private enum Outcome {
        /// Something is left to be done.
        case failed
        /// There was nothing to sign.
        case idle
        case signed
    }

    /// Reads, decides, signs and commits.
    private func round(_ memory: inout Memory) async -> Outcome {
        // Lists stay as they are while nobody knows what time it is, and nothing is said of their ends.
        guard await core.isClockBelieved() else { return .failed }
        var outcome = Outcome.failed
        do {
            outcome = try await signDue(&memory)
        } catch {
            guard !Task.isCancelled else { return .failed }
            core.logger.error(
                "revocation lists cannot be signed; it is tried again",
                metadata: ["error": "\(error)"]
            )
        }
        await report(&memory)
        return outcome
    }

    private func signDue(_ memory: inout Memory) async throws -> Outcome {
        let (logic, now) = (core.logic, core.clock.wallTime)
        var snapshot = try await core.read { [seen = memory.seen] in
            try logic.listSnapshot(after: seen, now: now, in: $0)
        }
        var (signers, failing) = await signers(of: snapshot)
        if !snapshot.isWhole {
            let members = snapshot.listed(having: Set(signers.keys))
            // Of who could sign nothing when all was read, something may be left.
            let isAble = members.contains { $0.canSign(now: now) && memory.unable.contains($0.id) }
            guard isAble || RevocationListPlan.isDue(members, now: now) else {
                memory.failing = failing
                return failing.isEmpty ? .idle : .failed
            }
            snapshot = try await core.read { try logic.listSnapshot(after: nil, now: now, in: $0) }
            (signers, failing) = await self.signers(of: snapshot)
        }
        var signed: [SignedRevocationList] = []
        var plan: RevocationListPlan
        repeat {
            plan = snapshot.plan(having: Set(signers.keys), now: now)
            let failed = try await sign(plan, snapshot, with: signers, into: &signed)
            // A list that cannot be signed keeps its places: others are decided anew without it.
            for (id, reason) in failed { (signers[id], failing[id]) = (nil, reason) }
            if failed.isEmpty { break }
        } while !Task.isCancelled
        if !signed.isEmpty { try await commit(signed, plan, now: now) }
        memory.leftOut = plan.leftOut
        memory.failing = failing
        memory.seen = snapshot.revision.number
        memory.unable = Set(
            snapshot.listed(having: Set(signers.keys))
                .filter { !$0.canSign(now: now) }.map(\.id)
        )
        guard failing.isEmpty else { return .failed }
        return signed.isEmpty ? .idle : .signed
    }

    /// The keys of authorities that may sign lists, and why others cannot be used.
    ///
    /// A key that is not there is no failure that trying again could mend: report tells of it.
    private func signers(
        of snapshot: RevocationListSnapshot
    ) async -> (found: [String: any Signer], failing: [String: String]) {
        var found: [String: any Signer] = [:]
        var failing: [String: String] = [:]
        for member in snapshot.members where member.mayNeedKey {
            let id = member.id
            do {
                found[id] = try await core.keys.apart { try $0.signer(authorityID: id) }
            } catch {
                failing[id] = "\(error)"
            }
        }
        return (found, failing)
    }

    /// Signs the lists of a plan, until one cannot be.
    ///
    /// - Returns: Whose cannot be signed, and why.
    private func sign(
        _ plan: RevocationListPlan,
        _ snapshot: RevocationListSnapshot,
        with signers: [String: any Signer],
        into signed: inout [SignedRevocationList]
    ) async throws -> [String: String] {
        signed = []
        for content in plan.lists {
            let id = content.authorityID
            guard let signer = signers[id],
                let authority = snapshot.members.first(where: { $0.id == id })?.authority
            else { continue }
            do {
                // One place of the line before the signer; what ends now comes first there.
                let place = try await core.signingLine.enter(
                    agent: Self.condition,
                    count: 1,
                    expiresAt: core.clock.wallTime,
                    now: core.clock.bootTime
                )
                defer { core.signingLine.leave(place) }
                let list = try await core.keys.apart { _ in
                    try PreparedRevocationList(content, authority: authority).signed(with: signer)
                }
                signed.append(list)
            } catch {
                try Task.checkCancellation()
                return [id: "\(error)"]
            }
        }
        return [:]
    }

    private func commit(
        _ signed: [SignedRevocationList],
        _ plan: RevocationListPlan,
        now: Date
    ) async throws {
        let logic = core.logic
        let committed = try await core.write { transaction in
            try logic.commit(
                signed,
                leftOut: plan.leftOut.certificates,
                now: now,
                in: transaction
            )
        }
        core.metrics.increment(.revocationListsSigned, by: committed.count)
        for list in committed {
            core.logger.info(
                "revocation list signed",
                metadata: [
                    "authority": "\(list.prepared.content.authorityID)",
                    "number": "\(list.prepared.number)",
                    "certificates": "\(list.prepared.content.entries.count)",
                ]
            )
        }
    }
}

extension RevocationListSnapshot.Member {
    var id: String { authority.id }

    /// Whether a list of it may be signed; the key of one that has signed its last is gone.
    fileprivate var mayNeedKey: Bool { previous?.isLast != true }
}
