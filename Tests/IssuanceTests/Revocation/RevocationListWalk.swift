// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import Issuance
import SPIFFE
import TestSeeds

/// A server whose clock, authorities and revocations go as one seed says, and what must hold after
/// each round.
struct RevocationListWalk {
    /// A rule that does not hold; the seed is the test's argument.
    struct Broken: Error, CustomStringConvertible {
        let description: String
    }

    private var generator: SeededGenerator
    private var server = ListedServer()
    private var now = Workshop.now
    private var madeCount = 0
    /// Whose certificate it is; those that are revoked by serial number are nobody's.
    private var holders: [[UInt8]: SPIFFEID] = [:]
    private(set) var listsCount = 0
    private(set) var leftOutCount = 0
    private(set) var departedCount = 0

    init(seed: UInt64) {
        generator = SeededGenerator(seed: seed)
        server.places = Int.random(in: 10...40, using: &generator)
        server.records = [:]
    }

    mutating func step() throws {
        moveClock()
        changeAuthorities()
        for _ in 0..<Int.random(in: 0...2, using: &generator) { try revoke() }
        forget()
        let before = server
        let plan = before.plan(at: now)
        guard plan == before.plan(at: now) else { throw Broken(description: "two plans differ") }
        server.round(at: now)
        try check(plan, before)
        listsCount += plan.lists.count
        leftOutCount += plan.leftOut.certificates.count
    }

    // MARK: What happens

    private mutating func moveClock() {
        switch Int.random(in: 0..<10, using: &generator) {
        case 0: now.addTimeInterval(-Double.random(in: 0...7200, using: &generator))
        case 1: break
        case 2: now.addTimeInterval(Double.random(in: 3600...50_000, using: &generator))
        default: now.addTimeInterval(Double.random(in: 0...900, using: &generator))
        }
    }

    private mutating func changeAuthorities() {
        for (id, record) in server.records.sorted(by: { $0.key < $1.key }) {
            if record.notAfter.addingTimeInterval(300) < now {
                server.records[id] = nil
                server.committed[id] = nil
            } else if Int.random(in: 0..<20, using: &generator) == 0 {
                server.records[id]?.state =
                    [.active, .old, .tainted].randomElement(using: &generator) ?? .old
            }
            server.records[id]?.hasKey = Int.random(in: 0..<15, using: &generator) != 0
        }
        guard server.records.count < 3 else { return }
        madeCount += 1
        let life = Double.random(in: 40_000...300_000, using: &generator).rounded()
        let start = now.timeIntervalSince1970.rounded(.down)
        server.records["authority-\(madeCount)"] = .init(
            notBefore: Date(timeIntervalSince1970: start - 60),
            notAfter: Date(timeIntervalSince1970: start + life),
            lastCertificateNotAfter: nil
        )
    }

    private mutating func certificate() -> RevocationListPlan.Certificate? {
        guard let id = server.records.keys.sorted().randomElement(using: &generator),
            let record = server.records[id]
        else { return nil }
        madeCount += 1
        // Some have ended already.
        let end = min(
            now.addingTimeInterval(Double.random(in: -1000...5000, using: &generator)),
            record.notAfter
        ).timeIntervalSince1970.rounded(.down)
        let notAfter = Date(timeIntervalSince1970: end)
        server.records[id]?.lastCertificateNotAfter = max(
            record.lastCertificateNotAfter ?? notAfter,
            notAfter
        )
        return .init(
            authorityID: id,
            serial: ListedServer.serial(UInt8.random(in: 1...3, using: &generator), madeCount),
            notAfter: notAfter
        )
    }

    private mutating func revoke() throws {
        let revokedAt = now.addingTimeInterval(Double.random(in: -5000...5000, using: &generator))
        if Bool.random(using: &generator) {
            guard server.serials.count < server.places, let certificate = certificate() else {
                return
            }
            server.serials.append(.init(certificate, revokedAt: revokedAt))
        } else {
            madeCount += 1
            let id = try SPIFFEID("spiffe://example.org/\(madeCount)")
            var certificates: [RevocationListPlan.Certificate] = []
            for _ in 0..<Int.random(in: 1...(server.places / 2 + 5), using: &generator) {
                guard let certificate = certificate() else { continue }
                certificates.append(certificate)
                holders[certificate.serial] = id
            }
            server.identities.append(
                .init(spiffeID: id, revokedAt: revokedAt, certificates: certificates)
            )
        }
    }

    /// Records of what has ended go some time later.
    private mutating func forget() {
        let now = now
        func isPast(_ certificate: RevocationListPlan.Certificate) -> Bool {
            certificate.notAfter.addingTimeInterval(60) < now
        }
        if Bool.random(using: &generator) {
            server.serials.removeAll { isPast($0.certificate) }
        }
        if Bool.random(using: &generator) {
            server.identities.removeAll { $0.certificates.allSatisfy(isPast) }
        }
    }

    // MARK: What must hold

    private mutating func check(_ plan: RevocationListPlan, _ before: ListedServer) throws {
        for list in plan.lists {
            try check(list, before)
            try checkDepartures(list, plan.leftOut, before.committed[list.authorityID])
        }
        try checkBound(before)
        try checkPresence(plan.leftOut, before)
        // With what is left out, an end makes room, and that is a change. The last list follows at
        // once on the one that what had ended has left by.
        if plan.leftOut.isEmpty, !server.plan(at: now).lists.allSatisfy(\.isLast) {
            throw Broken(description: "the same again signs lists")
        }
    }

    private func check(_ list: RevocationListContent, _ before: ListedServer) throws {
        let id = list.authorityID
        func expect(_ holds: Bool, _ rule: String) throws {
            guard holds else { throw Broken(description: "\(id) at \(now): \(rule)") }
        }
        guard let record = before.records[id] else { throw Broken(description: "no \(id)") }
        let previous = before.committed[id]
        try expect(record.hasKey && previous?.isLast != true, "signed without a key")
        try expect(list.thisUpdate < now, "begins in the future")
        try expect(list.thisUpdate >= record.notBefore, "begins before the authority")
        try expect(list.nextUpdate <= record.notAfter, "ends after the authority")
        try expect(list.thisUpdate < list.nextUpdate, "ends before it begins")
        try expect(list.thisUpdate.isWholeSecond && list.nextUpdate.isWholeSecond, "fractions")
        if let previous {
            try expect(list.thisUpdate > previous.thisUpdate, "does not begin later")
        }
        try expect(
            !list.isLast
                || list.entries.isEmpty && record.state != .active
                    && list.nextUpdate == record.notAfter,
            "is not as a last list is"
        )
        try expect(
            zip(list.entries, list.entries.dropFirst()).allSatisfy {
                $0.serial.lexicographicallyPrecedes($1.serial)
            },
            "is not in order"
        )
        for entry in list.entries {
            try expect(entry.revokedAt <= list.thisUpdate, "a date after the list")
            let hours = entry.revokedAt.timeIntervalSince1970 / 3600
            try expect(hours == hours.rounded(), "a date within an hour")
            if let known = previous?.entries.first(where: { $0.serial == entry.serial }) {
                try expect(known == entry, "another date than before")
            }
        }
    }

    /// Nothing leaves before a list after its end has had it, unless its identity is left out.
    private mutating func checkDepartures(
        _ list: RevocationListContent,
        _ leftOut: RevocationListPlan.LeftOut,
        _ previous: RevocationListContent?
    ) throws {
        guard let previous else { return }
        let present = Set(list.entries.map(\.serial))
        for entry in previous.entries where !present.contains(entry.serial) {
            departedCount += 1
            let isDone = previous.thisUpdate > entry.notAfter
            let isLeftOut =
                holders[entry.serial].map { leftOut.identities[$0] != nil } ?? false
            let isForgotten =
                leftOut.certificates[list.authorityID] != nil
                && !server.serials.contains { $0.certificate.serial == entry.serial }
                && !server.identities.contains {
                    $0.certificates.contains { $0.serial == entry.serial }
                }
            guard isDone || isLeftOut || isForgotten else {
                throw Broken(description: "\(entry) left \(list.authorityID) at \(now)")
            }
        }
    }

    /// On all lists together there is no more than there are places, unless a list that could not
    /// be signed has them and what is revoked by serial number needs more.
    private func checkBound(_ before: ListedServer) throws {
        let total = server.committed.values.reduce(0) { $0 + $1.entries.count }
        let fixed = before.records.keys.filter { before.start(of: $0, at: now) == nil }
            .reduce(0) { $0 + (before.count($1) ?? 0) }
        let bound = max(server.places, fixed + server.serials.count)
        guard total <= bound else {
            throw Broken(description: "\(total) on all lists at \(now), \(fixed) of them fixed")
        }
    }

    /// What belongs on a list that cannot be signed is named, once.
    private func checkWaiting(
        _ leftOut: RevocationListPlan.LeftOut,
        _ before: ListedServer
    ) throws {
        let revoked = server.serials.map(\.certificate) + server.identities.flatMap(\.certificates)
        let wanted = Set(revoked).filter { certificate in
            let id = certificate.authorityID
            return before.records[id] != nil && before.start(of: id, at: now) == nil
                && before.committed[id]?.isLast != true
                && !before.lists(certificate.serial, of: id)
                && certificate.notAfter >= now.addingTimeInterval(-300)
        }
        guard Set(leftOut.waiting) == wanted, leftOut.waiting.count == wanted.count else {
            throw Broken(description: "at \(now) waiting: \(leftOut.waiting), not \(wanted)")
        }
    }

    /// What is revoked by serial number is on every list that can be signed, and so is every
    /// identity that is not left out; one that is has nothing on a list that was signed.
    private func checkPresence(
        _ leftOut: RevocationListPlan.LeftOut,
        _ before: ListedServer
    ) throws {
        guard leftOut.serials.isEmpty else { throw Broken(description: "a serial is left out") }
        try checkWaiting(leftOut, before)
        let bySerial = Set(server.serials.map(\.certificate.serial))
        func check(_ certificate: RevocationListPlan.Certificate, isWanted: Bool) throws {
            let id = certificate.authorityID
            guard let start = before.start(of: id, at: now), certificate.notAfter >= start
            else { return }
            guard server.lists(certificate.serial, of: id) == isWanted else {
                throw Broken(description: "\(certificate) at \(now), wanted: \(isWanted)")
            }
        }
        for revoked in server.serials { try check(revoked.certificate, isWanted: true) }
        for holder in server.identities {
            let isWanted = leftOut.identities[holder.spiffeID] == nil
            for certificate in holder.certificates where !bySerial.contains(certificate.serial) {
                try check(certificate, isWanted: isWanted)
            }
        }
    }
}

extension ListedServer {
    /// When the next list of an authority would begin; nil if none can be signed.
    fileprivate func start(of id: String, at now: Date) -> Date? {
        guard let record = records[id], record.hasKey, committed[id]?.isLast != true else {
            return nil
        }
        let second = Date(timeIntervalSince1970: now.timeIntervalSince1970.rounded(.down))
        var start = max(second.addingTimeInterval(-300), record.notBefore)
        if let previous = committed[id] {
            start = max(start, previous.thisUpdate.addingTimeInterval(1))
        }
        return start < now && start < record.notAfter ? start : nil
    }
}

extension Date {
    fileprivate var isWholeSecond: Bool {
        timeIntervalSince1970 == timeIntervalSince1970.rounded()
    }
}
