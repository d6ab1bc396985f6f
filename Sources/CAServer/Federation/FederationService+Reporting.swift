// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Clocks
internal import Datastore
internal import FoundationEssentials
internal import Logging
internal import SPIFFE
internal import Telemetry

/// What health, metrics and log say of partners.
extension FederationService {
    /// Failures in a row that health tells of: one may be a restart of the endpoint.
    static let failuresMin = 3

    /// Says how the bundles of all partners stand.
    func report(
        _ partners: [FederatedPartner],
        isBelieved: Bool,
        _ memory: inout Memory
    ) {
        measure(partners, &memory)
        var problems: [String] = []
        if !isBelieved, !partners.isEmpty {
            problems.append("nothing is fetched, as the clock is not believed")
        }
        problems += partners.compactMap { partner -> String? in
            let standing = memory.standings[partner.trustDomain] ?? PartnerStanding()
            return Self.problem(of: partner, standing)
        }
        memory.shared.follow(partners, own: try? core.trust.bundle)
        problems += memory.shared.problems
        tell(problems.isEmpty ? nil : problems.joined(separator: "; "), &memory)
    }

    private func measure(_ partners: [FederatedPartner], _ memory: inout Memory) {
        let names = Set(partners.map(\.trustDomain))
        for gone in memory.measured.subtracting(names) {
            core.metrics.remove(.federationConfirmedTime, gone.name)
        }
        memory.measured = names
        for partner in partners {
            let time = partner.record.confirmedAt?.timeIntervalSince1970 ?? 0
            core.metrics.set(.federationConfirmedTime, to: time, partner.trustDomain.name)
        }
    }

    /// What is wrong with one partner; nil: nothing.
    private static func problem(
        of partner: FederatedPartner,
        _ standing: PartnerStanding
    ) -> String? {
        var problems: [String] = []
        if let unreadable = partner.unreadable {
            let end = partner.record.isWithheld ? nil : partner.staleAt
            problems.append(
                "nothing is fetched: \(unreadable)"
                    + (end.map { "; its bundle is withheld from \(AuditTime($0))" } ?? "")
            )
        }
        let last = standing.problem.map { ": \(standing.lastResult): \($0)" } ?? ""
        if partner.record.document == nil {
            problems.append("no bundle was fetched yet\(last)")
        } else if partner.record.isWithheld {
            let at = partner.record.confirmedAt.map { " since \(AuditTime($0))" } ?? ""
            problems.append("withheld, as it could not be fetched\(at)\(last)")
        } else if standing.isRefused || standing.failuresInRow >= failuresMin {
            let end = partner.staleAt.map { ", and is withheld from \(AuditTime($0))" } ?? ""
            let what = standing.isRefused ? "what it serves is refused" : "it cannot be fetched"
            problems.append("\(what)\(last)\(end)")
        }
        if standing.isSequenceReused {
            problems.append(
                "sequenceReused: its keys changed and its spiffe_sequence did not, so an old bundle "
                    + "cannot be told from a new one"
            )
        }
        guard !problems.isEmpty else { return nil }
        return "\(partner.trustDomain): " + problems.joined(separator: "; ")
    }

    /// Health has what is true now; the log, what has become of it.
    private func tell(_ problem: String?, _ memory: inout Memory) {
        if let problem {
            core.health.unmet(Self.condition, reason: "federation: \(problem)")
        } else {
            core.health.met(Self.condition)
        }
        guard memory.told != problem else { return }
        memory.told = problem
        if let problem {
            core.logger.warning("federation", metadata: ["problem": "\(problem)"])
        } else {
            core.logger.notice("every partner's bundle is believed")
        }
    }
}

/// Authorities that more than one trust domain has.
///
/// Below such a one, an intermediate without SPIFFE ID is anybody's.
struct SharedAuthorities: Sendable {
    /// Which keys a partner has, without a look into them: another bundle came at another time.
    private struct Footing: Hashable, Sendable {
        let documentUID: String
        let changedAt: Date?
        let hasDocument: Bool
    }

    private var own: [[UInt8]] = []
    private var footings: [TrustDomain: Footing] = [:]
    /// What is wrong, for people.
    private(set) var problems: [String] = []

    /// Looks again, if any bundle is another one than the last time.
    mutating func follow(_ partners: [FederatedPartner], own bundle: TrustBundle?) {
        let own = bundle?.x509Authorities ?? []
        var footings: [TrustDomain: Footing] = [:]
        for partner in partners {
            footings[partner.trustDomain] = Footing(
                documentUID: partner.record.documentUID,
                changedAt: partner.record.changedAt,
                hasDocument: partner.record.document != nil
            )
        }
        guard own != self.own || footings != self.footings else { return }
        (self.own, self.footings) = (own, footings)
        var holders: [[UInt8]: Set<String>] = [:]
        if let bundle {
            for der in own { holders[der, default: []].insert(bundle.trustDomain.name) }
        }
        for partner in partners {
            guard let bytes = partner.record.document,
                let document = try? BundleDocument(parsing: bytes)
            else { continue }
            for der in document.x509Authorities {
                holders[der, default: []].insert(partner.trustDomain.name)
            }
        }
        let shared = Set(holders.values.filter { $0.count > 1 })
        problems = shared.map {
            "an authority is of \($0.sorted().joined(separator: " and of "))"
        }.sorted()
    }
}
