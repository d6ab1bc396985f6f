// SPDX-License-Identifier: Apache-2.0

internal import Datastore
internal import Issuance
internal import Logging
internal import NodeSync
internal import SPIFFE
internal import Synchronization
internal import Telemetry

extension ServerLogic {
    /// Why nothing could be issued for such an entry, as far as the workload's profile says so.
    ///
    /// - Parameters:
    ///   - lifetimeSeconds: The entry's own lifetime, if it has one.
    ///   - dnsNames: Of the entry.
    /// - Returns: The rule; nil if the profile says nothing against the entry.
    func profileRefusal(lifetimeSeconds: Int?, dnsNames: [String]) -> IssuanceRefusal? {
        let limits = profiles[ProfileKind.workload].limits
        let lifetime = lifetimeSeconds.map { Duration.seconds($0) } ?? lifetimes.workload
        if let max = limits.lifetimeMax, lifetime > max { return .lifetimeExceedsProfile(max: max) }
        return limits.dnsNameOutside(dnsNames).map { .dnsNameOutsideProfile($0) }
    }
}

/// Entries from before a profile was narrowed.
extension ServerCore {
    /// The condition of health; readiness does not depend on it.
    static let profileCondition = "profiles"
    /// Entries read at once: other readers go on between.
    private static let profilePageMax = 1000

    /// Counts the entries for which nothing is issued by the workload's profile.
    ///
    /// Later ones are not taken, so the number only falls while the server runs.
    func reviewProfiles() async throws {
        let revision = try await read { try $0.revision().number }
        var (count, first, after) = (0, "", "")
        // Without a file nothing is outside.
        while logic.profiles[ProfileKind.workload].limits.narrowsEntries {
            let from = after
            let page = try await read {
                try $0.entries(after: from, limit: Self.profilePageMax, namespace: nil)
            }
            for entry in page where isOutsideProfile(entry) {
                if count == 0 { first = "\(entry.namespace)/\(entry.name)" }
                count += 1
            }
            guard page.count == Self.profilePageMax, let last = page.last else { break }
            after = last.id
        }
        profilesReviewed.withLock { $0 = revision }
        metrics.set(.entriesOutsideProfile, to: Double(count))
        guard count > 0 else { return health.met(Self.profileCondition) }
        let reason =
            "\(count) registration entries are outside the workload's profile, and nothing is "
            + "issued for them (such as \(first)); change them, or the file in profileDirectory"
        health.unmet(Self.profileCondition, reason: reason)
        if profilesTold.isNews(reason) { logger.warning("\(reason)") }
    }

    /// Counts again if there were any, and documents have changed since.
    func reviewProfilesAgain() async {
        let conditions = health.report(.ready).conditions
        guard
            conditions.contains(where: { $0.name == Self.profileCondition && $0.problem != nil })
        else { return }
        do {
            let revision = try await read { try $0.revision().number }
            guard profilesReviewed.withLock({ $0 != revision }) else { return }
            try await reviewProfiles()
        } catch {
            logger.warning("entries are not compared with profiles: \(error); tried again")
        }
    }

    private func isOutsideProfile(_ entry: RegistrationEntry) -> Bool {
        logic.profileRefusal(
            lifetimeSeconds: entry.x509SVIDTTLSeconds,
            dnsNames: entry.dnsNames
        ) != nil
    }
}
