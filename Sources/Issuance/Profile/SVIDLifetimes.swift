// SPDX-License-Identifier: Apache-2.0

/// How long certificates live, by role; every relation between the numbers is checked at creation.
///
/// All values are whole seconds.
package struct SVIDLifetimes: Hashable, Sendable {
    /// An authority must outlive the longest SVID it signs by this factor, so that there is time to
    /// publish its successor, to wait for every agent and to let the last SVIDs run out.
    package static let authorityPerSVIDMin = 6
    /// Below 10 s a renewal at half life would meet the backdate and the clock skew of real nodes.
    package static let svidMin: Duration = .seconds(10)
    /// Ten years: beyond that a root is not rotated but forgotten.
    package static let authorityMax: Duration = .seconds(10 * 365 * 86_400)
    /// Longest backdate: more would make certificates valid in a past that the audit log closed.
    package static let backdateMax: Duration = .seconds(300)

    /// What a workload gets when its entry does not say.
    package let workload: Duration
    /// The most that an entry may say.
    package let workloadMax: Duration
    package let agent: Duration
    package let server: Duration
    package let authority: Duration
    /// How far notBefore lies before the moment of signing, for verifiers whose clock is late.
    package let backdate: Duration

    /// The lifetimes of a default installation.
    package static let standard = Self()

    private init() {
        workload = .seconds(3600)
        workloadMax = .seconds(4 * 3600)
        agent = .seconds(4 * 3600)
        server = .seconds(4 * 3600)
        authority = .seconds(24 * 3600)
        backdate = .seconds(60)
    }

    /// Takes the given lifetimes, the others from `standard`; `workloadMax` is by default what the
    /// authority's lifetime allows.
    ///
    /// - Throws: `LifetimeError` naming the relation that does not hold.
    package init(
        workload: Duration = standard.workload,
        workloadMax: Duration? = nil,
        agent: Duration = standard.agent,
        server: Duration = standard.server,
        authority: Duration = standard.authority,
        backdate: Duration = standard.backdate
    ) throws(LifetimeError) {
        let ceiling = Duration.seconds(
            authority.components.seconds / Int64(Self.authorityPerSVIDMin)
        )
        self.workload = workload
        self.workloadMax = workloadMax ?? ceiling
        self.agent = agent
        self.server = server
        self.authority = authority
        self.backdate = backdate
        for lifetime in [workload, self.workloadMax, agent, server, authority, backdate]
        where lifetime.components.attoseconds != 0 {
            throw .notWholeSeconds
        }
        guard authority <= Self.authorityMax else { throw .authorityTooLong }
        guard backdate >= .zero, backdate <= Self.backdateMax else { throw .backdateOutOfRange }
        guard min(workload, self.workloadMax, agent, server) >= Self.svidMin else {
            throw .svidTooShort
        }
        guard workload <= self.workloadMax else { throw .workloadExceedsMax }
        guard longestSVID <= ceiling else { throw .authorityTooShort }
    }

    /// The longest that any SVID of these lifetimes is valid after the moment of signing.
    package var longestSVID: Duration { max(workloadMax, agent, server) }

    /// The longest from notBefore to notAfter of a leaf, backdate included.
    func validityMax(within profile: CertificateProfile) -> Duration {
        min(longestSVID, profile.limits.lifetimeMax ?? longestSVID) + backdate
    }

    /// The same of a leaf of one role.
    func validityMax(of role: SubjectRole, within profile: CertificateProfile) -> Duration {
        let longest =
            switch role {
            case .workload: workloadMax
            case .agent: agent
            case .bundleEndpoint, .server: server
            }
        return min(longest, profile.limits.lifetimeMax ?? longest) + backdate
    }

    /// The longest that a published authority can wait before it signs: from half life of the one
    /// before it to the last moment.
    ///
    /// With a longer wait the next authority would be used up before it signs, and the one after it
    /// sign in the second of its publication.
    package var publicationHoldMax: Duration {
        authority / 2 - max(authority / 6, longestSVID * 2)
    }

    /// A lifetime as people write it: `4h`, `20m`, `1h30m`; whole seconds.
    package static func text(_ lifetime: Duration) -> String {
        var rest = lifetime.components.seconds
        var text = ""
        let units: [(suffix: String, seconds: Int64)] = [("h", 3600), ("m", 60), ("s", 1)]
        for (suffix, unit) in units where rest >= unit {
            text += "\(rest / unit)\(suffix)"
            rest %= unit
        }
        return text.isEmpty ? "0s" : text
    }
}

/// The relation between lifetimes that does not hold.
package enum LifetimeError: Error, Hashable, Sendable, CustomStringConvertible {
    case authorityTooLong
    case authorityTooShort
    case backdateOutOfRange
    case notWholeSeconds
    case svidTooShort
    case workloadExceedsMax

    package var description: String {
        switch self {
        case .authorityTooLong: "an authority lives at most ten years"
        case .authorityTooShort:
            """
            an authority lives at least \(SVIDLifetimes.authorityPerSVIDMin) times as long as the \
            longest SVID
            """
        case .backdateOutOfRange: "the backdate is between 0 s and \(SVIDLifetimes.backdateMax)"
        case .notWholeSeconds: "lifetimes are whole seconds"
        case .svidTooShort: "an SVID lives at least \(SVIDLifetimes.text(SVIDLifetimes.svidMin))"
        case .workloadExceedsMax: "the default workload lifetime exceeds the longest allowed"
        }
    }
}
