// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
package import NodeSync
internal import SPIFFE

/// When the agent's own SVID is renewed, and how it comes back once it has expired.
package struct OwnSVID: Sendable {
    /// What the certificate is good for now.
    package enum Standing: Hashable, Sendable {
        case valid
        /// Expired, but the server readmits the key.
        case expired
        /// Expired for too long: a new join token is needed.
        case lapsed
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

    package private(set) var validity: SVIDValidity
    /// Why the last try failed; nil after a success.
    package private(set) var problem: String?
    private var renewAt: Date
    private var retryAt: Duration?
    private var isInFlight = false
    private var backoff = Backoff(delayMin: Self.retryDelayMin, delayMax: Self.retryDelayMax)

    package init(
        _ validity: SVIDValidity,
        using generator: inout some RandomNumberGenerator
    ) {
        self.validity = validity
        renewAt = renewalTime(
            issuedAt: validity.issuedAt,
            notAfter: validity.notAfter,
            jitter: &generator
        )
    }

    /// Whether the SVID is valid, may still be readmitted, or is over.
    package func standing(at now: Date) -> Standing {
        if now <= validity.notAfter { return .valid }
        return now < validity.notAfter.addingTimeInterval(Self.readmissionSeconds)
            ? .expired : .lapsed
    }

    /// What is to be done now; the answer is `renewed`, `failed` or `connectionEnded`.
    ///
    /// - Parameters:
    ///   - now: Both clocks.
    ///   - isOnline: Whether a connection on which to renew is open.
    /// - Returns: How to ask for a new certificate now; nil if none is to be asked for.
    package mutating func started(now: ClockReading, isOnline: Bool) -> Renewal? {
        guard !isInFlight, retryAt ?? now.boot <= now.boot else { return nil }
        let renewal: Renewal
        switch standing(at: now.wall) {
        case .valid:
            guard isOnline, renewAt <= now.wall else { return nil }
            renewal = .renew
        case .expired: renewal = .readmit
        case .lapsed: return nil
        }
        isInFlight = true
        return renewal
    }

    /// The server signed a new one.
    package mutating func renewed(
        _ new: SVIDValidity,
        now: ClockReading,
        using generator: inout some RandomNumberGenerator
    ) {
        isInFlight = false
        problem = nil
        validity = new
        renewAt = renewalTime(issuedAt: new.issuedAt, notAfter: new.notAfter, jitter: &generator)
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
        isInFlight = false
        problem = reason
        retryAt = now.boot + backoff.failed(using: &generator)
    }

    /// The connection on which a renewal was asked for has ended: it is asked for on the next one.
    package mutating func connectionEnded(now: Date) {
        if standing(at: now) == .valid { isInFlight = false }
    }

    /// When to ask `started` again; nil if only another event can change its answer.
    package func nextTime(now: ClockReading, isOnline: Bool) -> Duration? {
        guard !isInFlight else { return nil }
        let end = now.bootTime(of: validity.notAfter) + .seconds(1)
        switch standing(at: now.wall) {
        case .valid:
            guard isOnline else { return end }
            return min(end, max(now.bootTime(of: renewAt), retryAt ?? .zero))
        case .expired: return retryAt ?? now.boot
        case .lapsed: return nil
        }
    }
}
