// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
internal import SPIFFE

/// Who gets which place, and then which list is signed: the steps of `RevocationListPlan`.
struct RevocationListRound {
    private typealias Entry = RevocationListContent.Entry

    private(set) var leftOut = RevocationListPlan.LeftOut()
    private let now: Date
    private let places: Int
    /// What is on lists that cannot be signed now, by the IDs of their authorities.
    private var fixed: [String: Set<[UInt8]>] = [:]
    private let fixedCount: Int
    /// Those that can, by the IDs of their authorities.
    private var drafts: [String: Draft]
    private var usedCount = 0

    init(authorities: [ListedAuthority], places: Int, now: Date) {
        self.now = now
        self.places = places
        var drafts: [String: Draft] = [:]
        for authority in authorities {
            if let thisUpdate = authority.thisUpdate(now: now) {
                drafts[authority.id] = Draft(authority, thisUpdate)
            } else if authority.previous?.isLast != true {
                fixed[authority.id] = Set((authority.previous?.entries ?? []).map(\.serial))
            }
        }
        self.drafts = drafts
        fixedCount = fixed.values.reduce(0) { $0 + $1.count }
    }

    /// One authority's next list while it is made.
    private struct Draft {
        let authority: ListedAuthority
        let thisUpdate: CertificateTime
        /// What the last list had and the next one has to have.
        private(set) var staying: [[UInt8]: Entry] = [:]
        /// What the last list had and the next one need not have.
        private(set) var leaving: Set<[UInt8]> = []
        var placed: [[UInt8]: Entry] = [:]
        /// What has no place and does not get one as what is left over either.
        var refused: Set<[UInt8]> = []

        init(_ authority: ListedAuthority, _ thisUpdate: CertificateTime) {
            self.authority = authority
            self.thisUpdate = thisUpdate
            guard let previous = authority.previous else { return }
            for entry in previous.entries {
                // RFC 5280 section 3.3: until a list that begins after its end has had it.
                if previous.thisUpdate > entry.notAfter {
                    leaving.insert(entry.serial)
                } else {
                    staying[entry.serial] = entry
                }
            }
        }

        /// How a certificate stands on the list; nil if it has ended and need not.
        private func entry(
            of certificate: RevocationListPlan.Certificate,
            revokedAt: Date
        ) -> Entry? {
            if let known = staying[certificate.serial] { return known }
            guard !leaving.contains(certificate.serial),
                certificate.notAfter >= thisUpdate.date
            else { return nil }
            // Some verifiers accept a certificate until its date, also one that a clock made which
            // was ahead. The hour tells less of an incident.
            let seconds = min(
                revokedAt.timeIntervalSince1970,
                Double(thisUpdate.secondsSince1970)
            )
            let hour = (max(seconds, 0) / 3600).rounded(.down) * 3600
            return Entry(
                serial: certificate.serial,
                revokedAt: Date(timeIntervalSince1970: hour),
                notAfter: certificate.notAfter
            )
        }

        enum Placement {
            case notNeeded
            case placed
            case refused
        }

        mutating func place(
            _ revoked: RevocationListPlan.RevokedSerial,
            hasRoom: Bool
        ) -> Placement {
            guard let entry = missing(revoked.certificate, revokedAt: revoked.revokedAt) else {
                return .notNeeded
            }
            if hasRoom {
                placed[entry.serial] = entry
            } else {
                refused.insert(entry.serial)
            }
            return hasRoom ? .placed : .refused
        }

        /// As `entry(of:revokedAt:)`, for a certificate of which nothing is decided yet.
        func missing(
            _ certificate: RevocationListPlan.Certificate,
            revokedAt: Date
        ) -> Entry? {
            guard placed[certificate.serial] == nil, !refused.contains(certificate.serial) else {
                return nil
            }
            return entry(of: certificate, revokedAt: revokedAt)
        }

        /// Whether verifiers have to be told something; an end is nothing to tell.
        var isChanged: Bool {
            guard let previous = authority.previous, !previous.isLost else { return true }
            return placed.keys.contains { staying[$0] == nil }
                || staying.keys.contains { placed[$0] == nil }
        }

        func isOlder(than age: Duration, at now: Date) -> Bool {
            guard let previous = authority.previous else { return true }
            return now.timeIntervalSince(previous.thisUpdate) > age / .seconds(1)
        }

        /// Whether the list is for nothing but that what is on it may leave before the last one,
        /// which would show it until the authority ends.
        var isFarewell: Bool {
            !staying.isEmpty && staying.values.allSatisfy { $0.notAfter < thisUpdate.date }
        }

        func content(isLast: Bool) -> RevocationListContent {
            let end = thisUpdate.adding(RevocationListPlan.lifetime)?.date ?? authority.notAfter
            return RevocationListContent(
                authorityID: authority.id,
                thisUpdate: thisUpdate.date,
                nextUpdate: isLast ? authority.notAfter : min(end, authority.notAfter),
                isLast: isLast,
                entries: placed.values
            )
        }
    }

    /// Notes a revoked certificate that is not on its list, if that cannot be signed now.
    private mutating func noteWaiting(_ certificate: RevocationListPlan.Certificate) {
        let id = certificate.authorityID
        let since = now.addingTimeInterval(-(RevocationListPlan.backdate / .seconds(1)))
        guard certificate.notAfter >= since,
            fixed[id]?.insert(certificate.serial).inserted == true
        else { return }
        leftOut.waiting.append(certificate)
        leftOut.add(1, of: id)
    }

    /// Gives certificates that are revoked by serial number the first places.
    mutating func place(_ serials: [RevocationListPlan.RevokedSerial]) {
        for revoked in serials {
            noteWaiting(revoked.certificate)
            let id = revoked.certificate.authorityID
            switch drafts[id]?.place(revoked, hasRoom: usedCount < places) {
            case .placed: usedCount += 1
            case .refused:
                leftOut.serials.append(revoked.certificate)
                leftOut.add(1, of: id)
            case .notNeeded, nil: break
            }
        }
    }

    /// Gives revoked identities places, each whole or not at all, the smallest first.
    mutating func place(_ identities: [RevocationListPlan.RevokedHolder]) {
        for holder in identities { holder.certificates.forEach { noteWaiting($0) } }
        let claims = identities.map { Claim($0, drafts) }.sorted()
        for claim in claims where claim.count > 0 || !claim.unread.isEmpty {
            let fits = usedCount + fixedCount + claim.count <= places
            if fits, claim.unread.isEmpty {
                for (id, entries) in claim.entries {
                    drafts[id]?.placed.merge(entries) { known, _ in known }
                }
                usedCount += claim.count
            } else {
                let count = claim.count + claim.unread.values.reduce(0, +)
                leftOut.identities[claim.spiffeID] = count
                for (id, count) in claim.unread { leftOut.add(count, of: id) }
                for (id, entries) in claim.entries {
                    drafts[id]?.refused.formUnion(entries.keys)
                    leftOut.add(entries.count, of: id)
                }
            }
        }
    }

    /// The places that an identity needs beside those of its certificates that have one.
    private struct Claim: Comparable {
        let spiffeID: SPIFFEID
        /// How many certificates it has that were not read, by authority.
        let unread: [String: Int]
        private(set) var entries: [String: [[UInt8]: Entry]] = [:]
        private(set) var count = 0
        private let name: String

        init(_ holder: RevocationListPlan.RevokedHolder, _ drafts: [String: Draft]) {
            spiffeID = holder.spiffeID
            name = holder.spiffeID.description
            unread = holder.unread
            for certificate in holder.certificates {
                let id = certificate.authorityID
                guard
                    let entry = drafts[id]?.missing(certificate, revokedAt: holder.revokedAt)
                else { continue }
                let known = entries[id, default: [:]].updateValue(entry, forKey: entry.serial)
                if known == nil { count += 1 }
            }
        }

        static func < (claim: Self, other: Self) -> Bool {
            claim.count == other.count ? claim.name < other.name : claim.count < other.count
        }

        static func == (claim: Self, other: Self) -> Bool {
            claim.count == other.count && claim.name == other.name
        }
    }

    /// Gives what no record explains any more the places that nobody else needs.
    ///
    /// The last lists had it, and it has ended or will soon. What ends last goes first.
    mutating func placeRest() {
        var rest: [(id: String, entry: Entry)] = []
        for (id, draft) in drafts {
            for entry in draft.staying.values
            where draft.placed[entry.serial] == nil && !draft.refused.contains(entry.serial) {
                rest.append((id, entry))
            }
        }
        rest.sort { one, other in
            if one.entry.notAfter != other.entry.notAfter {
                return one.entry.notAfter > other.entry.notAfter
            }
            return one.id == other.id
                ? one.entry.serial.isBelow(other.entry.serial) : one.id < other.id
        }
        let room = max(0, places - usedCount - fixedCount)
        for (id, entry) in rest.prefix(room) { drafts[id]?.placed[entry.serial] = entry }
        usedCount += min(room, rest.count)
        for (id, _) in rest.dropFirst(room) { leftOut.add(1, of: id) }
    }

    /// The lists that are due, now that it is known what is on them.
    func lists() -> [RevocationListContent] {
        var due: Set<String> = []
        var last: Set<String> = []
        for (id, draft) in drafts {
            let isDone = draft.authority.isDone(at: now)
            if isDone, draft.placed.isEmpty, draft.staying.isEmpty { last.insert(id) }
            if draft.isChanged || draft.isOlder(than: RevocationListPlan.renewalAge, at: now)
                || isDone && draft.isFarewell
            {
                due.insert(id)
            }
        }
        due.formUnion(last)
        // What has ended stays where no other list needs its place.
        let total = drafts.reduce(fixedCount) { sum, item in
            let previous = item.value.authority.previous?.entries.count ?? 0
            return sum + (due.contains(item.key) ? item.value.placed.count : previous)
        }
        if total > places {
            due.formUnion(drafts.filter { !$0.value.leaving.isEmpty }.keys)
        }
        if !due.isEmpty {
            let age = RevocationListPlan.joinedRenewalAge
            due.formUnion(drafts.filter { $0.value.isOlder(than: age, at: now) }.keys)
        }
        return due.sorted().compactMap { drafts[$0]?.content(isLast: last.contains($0)) }
    }
}
