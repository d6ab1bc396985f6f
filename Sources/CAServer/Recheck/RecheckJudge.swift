// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Datastore
internal import FoundationEssentials
internal import Issuance
internal import SPIFFE

/// Compares what was issued with what should have been; no transaction is open meanwhile.
struct RecheckJudge {
    let logic: ServerLogic
    /// The newest start, of the process that judges.
    let today: RecheckStart?
    private var reviews: [String: Reviewer] = [:]

    /// Who makes an authority's certificates again.
    private enum Reviewer {
        case ready(CertificateReview)
        /// There is no record of the authority.
        case missing
        /// Its record does not read; why.
        case unreadable(String)
    }

    init(logic: ServerLogic, today: RecheckStart?) {
        self.logic = logic
        self.today = today
    }

    /// Judges a page.
    ///
    /// - Parameters:
    ///   - page: What was read.
    ///   - now: The wall clock, after the reading: what was deleted before it had expired by then.
    /// - Returns: What was found.
    mutating func judge(_ page: RecheckPage, now: Date) -> RecheckVerdict {
        var verdict = RecheckVerdict()
        verdict.findings = page.findings
        verdict.unlisted = page.unlisted
        verdict.omit(page.earlierLog, for: .earlierLog)
        let kept = now.addingTimeInterval(-Retention.expiredIntentSeconds)
        for (svid, first) in page.withoutIntent where svid.notAfter.date >= kept {
            verdict.certificates += 1
            verdict.findings.append(
                RecheckFinding(
                    .intentMissing,
                    serial: svid.serial,
                    spiffeID: svid.spiffeID.description,
                    leafIndex: first,
                    detail: "it ends \(svid.notAfter), and no list or revocation can name it"
                )
            )
        }
        for subject in page.subjects {
            verdict.certificates += 1
            judge(subject, page.authorities, now, &verdict)
        }
        return verdict
    }

    private mutating func judge(
        _ subject: RecheckSubject,
        _ authorities: [AuthorityRecord],
        _ now: Date,
        _ verdict: inout RecheckVerdict
    ) {
        var found: [(RecheckFindingName, String)] = []
        var omissions: Set<RecheckOmission> = []
        let differences = Self.differences(subject)
        if !differences.isEmpty {
            found.append((.leafDiffers, "other \(differences.joined(separator: ", "))"))
        }
        if subject.record.active != subject.record.authority {
            let active = subject.record.active.map(Hexadecimal.text) ?? "none"
            found.append((.authorityDidNotSign, "by the log the active authority was \(active)"))
        }
        if !subject.record.isPublished { omissions.insert(.unpublished) }
        switch review(of: Hexadecimal.text(subject.record.authority), authorities) {
        case .ready(let review): remake(subject, review, &found, &omissions)
        case .unreadable(let reason): found.append((.authorityUnreadable, reason))
        case .missing where subject.svid.notAfter.date > now:
            found.append((.authorityMissing, "it ends \(subject.svid.notAfter)"))
        case .missing: omissions.insert(.authorityForgotten)
        }
        if subject.record.profile == .workload {
            if let entry = subject.entry {
                let defect = entry.grantDefect(
                    id: subject.svid.spiffeID,
                    dnsNames: subject.intent.spki == nil ? nil : subject.intent.dnsNames,
                    issuedAt: subject.record.time,
                    notAfter: subject.intent.notAfter,
                    defaultLifetime: isOfToday(subject) ? logic.lifetimes.workload : nil,
                    in: logic.trustDomain
                )
                if let defect { found.append((.entryDoesNotGrant, "by \(defect.rawValue)")) }
            } else {
                omissions.insert(.entryForgotten)
            }
        }
        verdict.omit(omissions)
        verdict.findings += found.map { name, detail in
            RecheckFinding(
                name,
                serial: subject.svid.serial,
                spiffeID: subject.svid.spiffeID.description,
                leafIndex: subject.record.first,
                detail: detail
            )
        }
    }

    /// Whether it was issued under the lifetimes of the process that judges.
    private func isOfToday(_ subject: RecheckSubject) -> Bool {
        guard let start = subject.record.start, let today else { return false }
        return start.leafIndex == today.leafIndex
    }

    /// Whether the release that judges issued it.
    private func isOurRelease(_ subject: RecheckSubject) -> Bool {
        guard let start = subject.record.start, let today else { return false }
        return start.value.version == today.value.version
    }

    /// What the intent says that the log does not.
    private static func differences(_ subject: RecheckSubject) -> [String] {
        let (svid, intent, record) = (subject.svid, subject.intent, subject.record)
        let isWorkload = record.profile == .workload
        let node = record.agent?.path.split(separator: "/").last.map(String.init) ?? ""
        let comparisons: [(String, Bool)] = [
            ("SPIFFE ID", intent.spiffeID == svid.spiffeID.description),
            ("end", AuditTime(intent.notAfter) == svid.notAfter),
            ("digest", intent.tbsSHA256 == svid.tbsSHA256),
            ("entry", intent.entryID == svid.entry?.id && (svid.entry != nil) == isWorkload),
            ("entry revision", intent.entryRevision == svid.entry?.revision),
            ("Proxy", intent.proxy == svid.proxy),
            ("authority", intent.authorityID == Hexadecimal.text(record.authority)),
            ("node", intent.node == node),
            ("place in the log", intent.leafIndex == record.first),
        ]
        return comparisons.filter { !$0.1 }.map(\.0)
    }

    /// Makes the certificate again, and reads it by today's rules as far as they were the same.
    private func remake(
        _ subject: RecheckSubject,
        _ review: CertificateReview,
        _ found: inout [(RecheckFindingName, String)],
        _ omissions: inout Set<RecheckOmission>
    ) {
        let (svid, intent) = (subject.svid, subject.intent)
        let isOurRelease = isOurRelease(subject)
        guard let spki = intent.spki, let notBefore = intent.notBefore else {
            if isOurRelease {
                found.append((.certificateDiffers, "the record has no key or no begin"))
            } else {
                omissions.insert(.earlierRelease)
            }
            return
        }
        let start = subject.record.start
        let defects = review.defects(
            of: RecordedCertificate(
                serial: svid.serial,
                role: SubjectRole(rawValue: subject.record.profile.rawValue) ?? .workload,
                id: svid.spiffeID.description,
                dnsNames: intent.dnsNames,
                spki: spki,
                notBefore: notBefore,
                notAfter: svid.notAfter.date,
                tbsSHA256: svid.tbsSHA256
            )
        )
        for defect in defects {
            guard isOurRelease else {
                omissions.insert(.otherRelease)
                continue
            }
            switch defect {
            case .digest: found.append((.certificateDiffers, "the digest of what is made again"))
            case .record(let field): found.append((.certificateDiffers, "no such \(field)"))
            case .lint where start?.value.profiles != today?.value.profiles:
                omissions.insert(.otherProfiles)
            case .lint([CertificateReview.lifetimeRule]) where !isOfToday(subject):
                omissions.insert(.otherLifetimes)
            case .lint(let rules): found.append((.lint, rules.joined(separator: ", ")))
            }
        }
    }

    private mutating func review(
        of id: String,
        _ authorities: [AuthorityRecord]
    ) -> Reviewer {
        if let review = reviews[id] { return review }
        guard let record = authorities.first(where: { $0.id == id }) else { return .missing }
        let review = reviewer(record)
        reviews[id] = review
        return review
    }

    private func reviewer(_ record: AuthorityRecord) -> Reviewer {
        do {
            let authority = Authority(
                id: record.id,
                serverID: record.serverID,
                state: try record.knownState(),
                certificateDER: record.certificateDER,
                tokenKeySPKI: record.tokenKeySPKI,
                publishedAt: record.publishedAt,
                activatedAt: record.activatedAt,
                lastSVIDNotAfter: nil,
                notBefore: record.notBefore,
                notAfter: record.notAfter
            )
            return .ready(
                try CertificateReview(
                    authority: authority,
                    lifetimes: logic.lifetimes,
                    profiles: logic.profiles
                )
            )
        } catch {
            return .unreadable("\(error)")
        }
    }
}
