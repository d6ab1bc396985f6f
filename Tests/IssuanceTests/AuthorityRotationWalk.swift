// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import Issuance
import TestSeeds
import Testing

/// A server's life from a seed: time passes, steps fail, an agent is dead.
///
/// The clock steps, the server restarts at any point, and after every event the whole invariant is
/// checked.
struct AuthorityRotationWalk {
    private let lifetimes = SVIDLifetimes.standard
    private let hasDeadAgent: Bool
    private let hold: Duration
    private var generator: SeededGenerator
    private var now = Workshop.now
    private var machine: AuthorityRotation
    /// What the datastore holds.
    private var records: [Authority] = []
    /// Asked for and not yet done.
    private var pending: [AuthorityRotation.Action] = []
    private var timer: Date?
    /// The latest notAfter that each authority has signed.
    private var lastSVID: [String: Date] = [:]
    private var made = 0
    private(set) var activations = 0
    private(set) var removals = 0

    init(seed: UInt64) {
        generator = SeededGenerator(seed: seed)
        hasDeadAgent = seed.isMultiple(of: 2)
        hold = seed.isMultiple(of: 3) ? .seconds(3600) : AuthorityRotation.publicationHold
        machine = AuthorityRotation(authorities: [], lifetimes: lifetimes, hold: hold)
    }

    mutating func run(events: Int) throws {
        receive(machine.timerFired(now: now))
        for _ in 0..<events {
            if pending.isEmpty { try event() } else { try work() }
            issue()
            try check()
        }
    }

    /// Something happens while nothing is to be done.
    private mutating func event() throws {
        switch Int.random(in: 0..<20, using: &generator) {
        case 0:
            // The wall clock steps by up to an hour either way; the shell calls the machine.
            now.addTimeInterval(Double.random(in: -3600...3600, using: &generator))
            receive(machine.timerFired(now: now))
        case 1:
            machine = AuthorityRotation(
                authorities: records,
                lifetimes: lifetimes,
                hold: hold
            )
            receive(machine.timerFired(now: now))
        case 2:
            if let actions = try? machine.rotationRequested(now: now) { receive(actions) }
        case 3...8:
            guard let next = machine.next else { return }
            let missing = hasDeadAgent ? ["dead"] : []
            receive(machine.agentsApplied(id: next.id, missing: missing, now: now))
        default:
            let timer = try #require(timer, "nothing to do and no timer")
            let left = max(timer.timeIntervalSince(now), 0)
            now.addTimeInterval(min(left, Double.random(in: 0...4 * 3600, using: &generator)))
            if now >= timer { receive(machine.timerFired(now: now)) }
        }
    }

    /// The shell does the next thing, or fails at it.
    private mutating func work() throws {
        let action = pending.removeFirst()
        now.addTimeInterval(Double.random(in: 0...2, using: &generator))
        guard Int.random(in: 0..<5, using: &generator) > 0 else {
            receive(machine.stepFailed(action, now: now))
            return
        }
        switch action {
        case .prepare:
            try prepare()
        case .activate(let id, let retiring, let missing):
            try activate(id, retiring, missing)
        case .remove(let id):
            let index = try #require(records.firstIndex { $0.id == id })
            #expect(records[index].state != .active)
            if let last = lastSVID[id] {
                #expect(last < now, "an SVID of \(id) is still valid")
            }
            records.remove(at: index)
            removals += 1
            receive(machine.removed(id: id, now: now))
        case .scheduleTimer: break
        }
    }

    private mutating func prepare() throws {
        made += 1
        var authority = Authority(
            id: "authority-\(made)",
            serverID: "server-1",
            state: .prepared,
            certificateDER: [],
            notBefore: now.addingTimeInterval(-60),
            notAfter: now.addingTimeInterval(24 * 3600)
        )
        receive(machine.prepared(authority, now: now))
        now.addTimeInterval(1)
        if Int.random(in: 0..<10, using: &generator) == 0 {
            // The server ends between the record and its publication.
            records.append(authority)
            pending = []
            machine = AuthorityRotation(
                authorities: records,
                lifetimes: lifetimes,
                hold: hold
            )
            receive(machine.timerFired(now: now))
            return
        }
        authority.publishedAt = now
        records.append(authority)
        receive(machine.published(id: authority.id, now: now))
    }

    private mutating func activate(
        _ id: String,
        _ retiring: String?,
        _ missing: [String]
    ) throws {
        let next = try #require(records.firstIndex { $0.id == id })
        #expect(records[next].publishedAt != nil, "\(id) signs before it is published")
        let old = records.firstIndex { $0.state == .active }
        #expect(old.map { records[$0].id } == retiring)
        let known = Bool.random(using: &generator) ? retiring.flatMap { lastSVID[$0] } : nil
        if let old {
            records[old].state = .old
            records[old].lastSVIDNotAfter = known
            if hasDeadAgent, records[old].notAfter > now {
                let left = records[old].notAfter.timeIntervalSince(now)
                #expect(left <= 8 * 3600, "\(id) did not wait")
            }
        }
        records[next].state = .active
        records[next].activatedAt = now
        activations += 1
        receive(machine.activated(id: id, lastSVIDNotAfter: known, now: now))
    }

    /// The active authority signs the longest SVID it may.
    private mutating func issue() {
        guard let active = machine.active, active.notBefore <= now else { return }
        let end = now.addingTimeInterval(4 * 3600)
        guard end <= active.notAfter else { return }
        lastSVID[active.id] = max(lastSVID[active.id] ?? end, end)
    }

    private mutating func receive(_ actions: [AuthorityRotation.Action]) {
        timer = nil
        for action in actions {
            if case .scheduleTimer(let date) = action {
                #expect(date > now)
                timer = date
            } else {
                #expect(!pending.contains(action), "\(action) asked for twice")
                pending.append(action)
            }
        }
    }

    private func check() throws {
        #expect(machine.authorities == records)
        #expect(records.count { $0.state == .active } <= 1)
        #expect(records.count { $0.state == .prepared } <= 1)
        #expect(records.count <= AuthorityRotation.authoritiesMax + 1)
        guard pending.isEmpty, activations > 0 else { return }
        let active = try #require(machine.active)
        #expect(active.notAfter >= now.addingTimeInterval(4 * 3600), "no time left to sign")
    }
}

struct AuthorityRotationWalkTests {
    @Test(arguments: 0..<40 as Range<UInt64>)
    func `from any seed one authority signs and none leaves too early`(seed: UInt64) throws {
        var walk = AuthorityRotationWalk(seed: seed)
        try walk.run(events: 2000)
        #expect(walk.activations > 10)
        #expect(walk.removals > 10)
    }
}
