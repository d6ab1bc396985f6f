// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Clocks
internal import Datastore
internal import FoundationEssentials
internal import Issuance
internal import Logging
internal import SPIFFE
internal import Telemetry

/// What health, metrics and log say of revocation lists.
extension RevocationListService {
    /// One authority of the bundle, with the list that it has.
    private struct Standing: Sendable {
        let id: String
        let notAfter: Date
        let nextUpdate: Date?
        let count: Int

        /// What verifiers that insist on lists make of it; nil if nothing is wrong.
        func problem(at now: Date) -> String? {
            guard let nextUpdate else { return "authority \(id.prefix(16)) has none" }
            let soon = now.addingTimeInterval(RevocationListService.endingDuration / .seconds(1))
            // Nothing of an authority counts longer than itself.
            guard nextUpdate < soon, nextUpdate < notAfter else { return nil }
            return "that of authority \(id.prefix(16)) ends at \(AuditTime(nextUpdate))"
        }
    }

    /// Says how the lists of all authorities of the bundle stand.
    func report(_ memory: inout Memory) async {
        let standings: [Standing]
        do {
            standings = try await core.read { transaction in
                try transaction.bundleAuthorities().map { authority in
                    Standing(
                        id: authority.id,
                        notAfter: authority.notAfter,
                        nextUpdate: try transaction.revocationListEnd(of: authority.id),
                        count: try transaction.revocationListEntryCount(of: authority.id)
                    )
                }
            }
        } catch {
            // The health of the datastore tells of it.
            return
        }
        measure(standings, &memory)
        let now = core.clock.wallTime
        var problems = standings.compactMap { $0.problem(at: now) }
        problems += memory.failing.sorted { $0.key < $1.key }.map { id, reason in
            "the key of authority \(id.prefix(16)) signs none: \(reason)"
        }
        problems += Self.problems(of: memory.leftOut)
        tell(problems.isEmpty ? nil : problems.joined(separator: "; "), &memory)
    }

    private func measure(_ standings: [Standing], _ memory: inout Memory) {
        let metrics = core.metrics
        for id in memory.measured.subtracting(standings.map(\.id)) {
            metrics.remove(.revocationListNextUpdate, id)
            metrics.remove(.revocationListCertificates, id)
            metrics.remove(.revocationListLeftOut, id)
        }
        memory.measured = Set(standings.map(\.id))
        for standing in standings {
            let end = standing.nextUpdate?.timeIntervalSince1970 ?? 0
            let leftOut = memory.leftOut.certificates[standing.id] ?? 0
            metrics.set(.revocationListNextUpdate, to: end, standing.id)
            metrics.set(.revocationListCertificates, to: Double(standing.count), standing.id)
            metrics.set(.revocationListLeftOut, to: Double(leftOut), standing.id)
        }
    }

    /// What has no place, and how it is ended all the same.
    private static func problems(of leftOut: RevocationListPlan.LeftOut) -> [String] {
        guard !leftOut.isEmpty else { return [] }
        let count = leftOut.certificates.values.reduce(0, +)
        let identities = leftOut.identities.keys.map(\.description).sorted()
        let serials = (leftOut.serials + leftOut.waiting)
            .map { "serial \(Hexadecimal.text($0.serial))" }.sorted()
        let names = (identities + serials).prefix(namedMax)
        let whose = names.isEmpty ? "" : " (of \(names.joined(separator: ", ")))"
        return [
            "\(count) revoked certificates\(whose) are on none: rotate, and revoke the "
                + "authorities of before"
        ]
    }

    /// Health has what is true now; the log, what has become of it.
    private func tell(_ problem: String?, _ memory: inout Memory) {
        if let problem {
            core.health.unmet(Self.condition, reason: "revocation lists: \(problem)")
        } else {
            core.health.met(Self.condition)
        }
        guard memory.told != problem else { return }
        memory.told = problem
        if let problem {
            core.logger.warning("revocation lists", metadata: ["problem": "\(problem)"])
        } else {
            core.logger.notice("every authority has its revocation list, and nothing is left out")
        }
    }
}
