// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
package import NodeSync
package import SPIFFE

/// When the agent's own SVID is renewed, and how it comes back once it has expired.
package struct OwnSVID: Sendable {
    /// What the certificate is good for now.
    package enum Standing: Hashable, Sendable {
        case valid
        /// Expired, but the server readmits the key, and can be verified.
        case expired
        /// Expired for too long: a new join token is needed.
        case lapsed(Lapse)
    }

    /// Why an expired agent cannot come back by itself.
    package enum Lapse: Hashable, Sendable {
        /// Every authority that the agent knows has ended: it can verify no server.
        case authoritiesEnded
        /// The server does not know the key any more.
        case keyForgotten
    }

    /// How a new certificate is asked for; always with the same key, because the server refuses
    /// the old key on open connections as soon as there is a newer one.
    package enum Renewal: Hashable, Sendable {
        /// On the open connection.
        case renew
        /// Without a certificate, on a connection whose server is verified.
        case readmit
    }

    /// How long after its end the server still knows the key (decision 0002).
    package static let readmissionSeconds = 7.0 * 86_400
    /// The shortest wait after a failure: a renewal is due hours before it is urgent.
    package static let retryDelayMin: Duration = .seconds(2)
    /// The longest wait: how late the agent may notice that it may come back.
    package static let retryDelayMax: Duration = .seconds(120)
    /// After so many handshakes without a welcome in which the server did not take the certificate, the agent
    /// doubts it: one or two may have met a server that is in the middle of a change.
    package static let turnedAwayMax = 3

    package private(set) var validity: SVIDValidity
    /// Which authority signed it, as the leaf says.
    package private(set) var authorityKeyID: [UInt8]
    /// How that authority is distrusted; nil if it is not.
    package private(set) var distrust: AuthorityStanding?
    /// Why the last try failed; nil after a success.
    package private(set) var problem: String?
    /// When the last authority of the bundle ends.
    private var bundleNotAfter: Date
    private var renewAt: Date
    private var retryAt: Duration?
    private var inFlight: Renewal?
    /// Whether the certificate is to be replaced sooner than at half its life.
    private var isHastened = false
    /// Whether the authority was tainted while a new certificate was asked for, which may be by it.
    private var wasTaintedMeanwhile = false
    /// Handshakes since the last welcome in which the server did not take the certificate.
    private var turnedAway = 0
    private var backoff = Backoff(delayMin: Self.retryDelayMin, delayMax: Self.retryDelayMax)

    /// Begins with an SVID.
    ///
    /// - Parameters:
    ///   - validity: Of the SVID.
    ///   - authorityKeyID: Who signed it; empty if that is not known.
    ///   - bundle: What the server is verified with.
    ///   - generator: Where jitter comes from.
    package init(
        _ validity: SVIDValidity,
        authorityKeyID: [UInt8],
        bundle: TrustBundle,
        using generator: inout some RandomNumberGenerator
    ) {
        self.validity = validity
        self.authorityKeyID = authorityKeyID
        bundleNotAfter = Self.end(of: bundle)
        renewAt = renewalTime(
            issuedAt: validity.issuedAt,
            notAfter: validity.notAfter,
            jitter: &generator
        )
    }

    /// Whether the SVID is valid, may still be readmitted, or is over.
    ///
    /// One whose authority was revoked counts as expired: nobody believes it, and the key is what
    /// readmission asks for (docs/decisions/0014-life-of-an-authority.md).
    package func standing(at now: Date) -> Standing {
        let isRevoked = distrust == .revoked
        if now <= validity.notAfter, !isRevoked { return .valid }
        let end = isRevoked ? min(validity.notAfter, now) : validity.notAfter
        return Self.lapse(end, bundleNotAfter: bundleNotAfter, at: now)
            .map { .lapsed($0) } ?? .expired
    }

    /// Why an agent whose SVID ended at `notAfter` cannot come back by itself; nil if it can.
    package static func lapse(
        _ notAfter: Date,
        bundle: TrustBundle,
        at now: Date
    ) -> Lapse? {
        lapse(notAfter, bundleNotAfter: end(of: bundle), at: now)
    }

    private static func lapse(_ notAfter: Date, bundleNotAfter: Date, at now: Date) -> Lapse? {
        if now >= notAfter.addingTimeInterval(readmissionSeconds) { return .keyForgotten }
        return now > max(bundleNotAfter, notAfter) ? .authoritiesEnded : nil
    }

    /// A bundle of which nothing can be read verifies nobody.
    private static func end(of bundle: TrustBundle) -> Date { bundle.notAfter ?? .distantPast }

    /// The server is verified with another bundle from now on.
    package mutating func bundleChanged(_ bundle: TrustBundle) {
        bundleNotAfter = Self.end(of: bundle)
    }

    /// What is known of the certificate's authority now.
    package mutating func judged(
        _ standing: AuthorityStanding?,
        now: Date,
        using generator: inout some RandomNumberGenerator
    ) {
        guard standing != distrust else { return }
        distrust = standing
        guard standing == .tainted else { return }
        wasTaintedMeanwhile = inFlight != nil
        hasten(now: now, using: &generator)
    }

    /// Asks for a new certificate at a random moment of the time that is for replacing tainted ones.
    private mutating func hasten(now: Date, using generator: inout some RandomNumberGenerator) {
        let left = max(0, validity.notAfter.timeIntervalSince(now))
        let spread = min(RenewalQueue.taintSpread / .seconds(1), left / 4)
        let soon = now.addingTimeInterval(Double.random(in: 0...spread, using: &generator))
        renewAt = min(renewAt, soon)
        isHastened = true
    }

    /// The wall clock was stepped: a moment that was soon may be hours away now.
    package mutating func clockStepped(
        now: Date,
        using generator: inout some RandomNumberGenerator
    ) {
        if isHastened { hasten(now: now, using: &generator) }
    }

    /// The server did not take the certificate: perhaps its authority was revoked while the agent
    /// was away.
    package mutating func wasTurnedAway() { turnedAway += 1 }

    /// A server has welcomed the agent, and so believes the certificate.
    ///
    /// A server that is not there, or has no place, says nothing of it, and does not hide what
    /// another address says.
    package mutating func wasWelcomed() { turnedAway = 0 }

    /// What is to be done now; the answer is `renewed`, `failed` or `connectionEnded`.
    ///
    /// - Parameters:
    ///   - now: Both clocks.
    ///   - isOnline: Whether a connection on which to renew is open.
    /// - Returns: How to ask for a new certificate now; nil if none is to be asked for.
    package mutating func started(now: ClockReading, isOnline: Bool) -> Renewal? {
        guard inFlight == nil, retryAt ?? now.boot <= now.boot else { return nil }
        switch standing(at: now.wall) {
        case .valid where isOnline:
            guard renewAt <= now.wall else { return nil }
            inFlight = .renew
        case .valid:
            guard isDoubted else { return nil }
            inFlight = .readmit
        case .expired: inFlight = .readmit
        case .lapsed: return nil
        }
        return inFlight
    }

    /// Whether the certificate is valid by all that is known here, and yet nobody believes it.
    private var isDoubted: Bool { turnedAway >= Self.turnedAwayMax }

    /// The server signed a new one.
    ///
    /// - Parameters:
    ///   - new: Of the new one.
    ///   - authorityKeyID: Who signed it.
    ///   - now: Both clocks.
    ///   - generator: Where jitter comes from.
    package mutating func renewed(
        _ new: SVIDValidity,
        authorityKeyID: [UInt8],
        now: ClockReading,
        using generator: inout some RandomNumberGenerator
    ) {
        inFlight = nil
        problem = nil
        isHastened = false
        validity = new
        // A server that goes on signing by a tainted authority is not asked more often for it.
        if authorityKeyID != self.authorityKeyID { distrust = nil }
        self.authorityKeyID = authorityKeyID
        turnedAway = 0
        renewAt = renewalTime(issuedAt: new.issuedAt, notAfter: new.notAfter, jitter: &generator)
        // What was signed before the taint is replaced by what is signed after it.
        if wasTaintedMeanwhile, distrust == .tainted { hasten(now: now.wall, using: &generator) }
        wasTaintedMeanwhile = false
        if renewAt <= now.wall {
            // Over half of its life is gone: the clocks differ, and asking again at once would
            // never end.
            retryAt = now.boot + backoff.failed(using: &generator)
        } else {
            backoff.succeeded()
            retryAt = nil
        }
    }

    /// A renewal did not succeed; it is tried again later.
    package mutating func failed(
        _ reason: String,
        now: ClockReading,
        using generator: inout some RandomNumberGenerator
    ) {
        inFlight = nil
        problem = reason
        retryAt = now.boot + backoff.failed(using: &generator)
    }

    /// The connection on which a renewal was asked for has ended: it is asked for on the next one.
    package mutating func connectionEnded() {
        if inFlight == .renew { inFlight = nil }
    }

    /// When to ask `started` again; nil if only another event can change its answer.
    package func nextTime(now: ClockReading, isOnline: Bool) -> Duration? {
        guard inFlight == nil else { return nil }
        let end = now.bootTime(of: validity.notAfter) + .seconds(1)
        switch standing(at: now.wall) {
        case .valid:
            guard isOnline else { return isDoubted ? min(end, retryAt ?? now.boot) : end }
            return min(end, max(now.bootTime(of: renewAt), retryAt ?? .zero))
        case .expired: return retryAt ?? now.boot
        case .lapsed: return nil
        }
    }
}

extension OwnSVID {
    /// What helps an agent of that name when it cannot come back by itself.
    static func newTokenRemedy(agent name: String) -> String {
        "on the server run signet agent evict \(name) and signet token create --name \(name), then "
            + "start the agent again with the new join token"
    }
}

extension OwnSVID.Lapse {
    /// What is wrong and what to do about it, for the operator of an agent of that name.
    func description(agent name: String) -> String {
        let remedy = OwnSVID.newTokenRemedy(agent: name)
        return switch self {
        case .authoritiesEnded:
            "the agent's certificate has expired, and so has every authority that the agent "
                + "knows: it can verify no server; \(remedy)"
        case .keyForgotten: "the agent's certificate expired more than 7 days ago; \(remedy)"
        }
    }
}
