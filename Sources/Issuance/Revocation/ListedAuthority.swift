// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials

/// An authority of this server, and what its next list depends on beside revocations.
package struct ListedAuthority: Hashable, Sendable {
    package let id: String
    package let notBefore: Date
    package let notAfter: Date
    /// Whether it signs no certificate any more, so that its lists come to an end.
    package let isRetired: Bool
    /// The latest end of a certificate that it signed for an entry; nil if it signed none.
    package let lastCertificateNotAfter: Date?
    /// Whether its key for certificates is there to sign a list with.
    package let hasKey: Bool
    /// Its last list that was committed; nil if it has none.
    package let previous: RevocationListContent?

    /// Takes an authority that the bundle holds.
    ///
    /// - Parameters:
    ///   - authority: Its record; nil is returned for one in state `revoked`, which has no lists.
    ///   - lastCertificateNotAfter: The latest end of a certificate that it signed for an entry;
    ///     nil if it signed none. Of an authority that does not tell, the end of everything that it
    ///     signed.
    ///   - hasKey: Whether its key for certificates can be used.
    ///   - previous: Its last list that was committed.
    package init?(
        _ authority: Authority,
        lastCertificateNotAfter: Date?,
        hasKey: Bool,
        previous: RevocationListContent?
    ) {
        switch authority.state {
        case .prepared, .active: isRetired = false
        case .old, .tainted: isRetired = true
        case .revoked: return nil
        }
        id = authority.id
        notBefore = authority.notBefore
        notAfter = authority.notAfter
        self.lastCertificateNotAfter = lastCertificateNotAfter
        self.hasKey = hasKey
        self.previous = previous
    }

    /// Whether a list of it can be signed now.
    package func canSign(now: Date) -> Bool { thisUpdate(now: now) != nil }

    /// `thisUpdate` of a list that is signed now; nil if none can be.
    func thisUpdate(now: Date) -> CertificateTime? {
        guard hasKey, previous?.isLast != true, let second = CertificateTime(now),
            let first = CertificateTime(notBefore), let end = CertificateTime(notAfter)
        else { return nil }
        var time = max(first, second.adding(.zero - RevocationListPlan.backdate) ?? first)
        if let previous {
            guard let after = CertificateTime(previous.thisUpdate)?.adding(.seconds(1)) else {
                return nil
            }
            time = max(time, after)
        }
        // A list of the future makes verifiers refuse everybody.
        return time.date < now && time < end ? time : nil
    }

    /// Whether nothing of what it signed for entries can still be revoked.
    func isDone(at now: Date) -> Bool {
        guard isRetired else { return false }
        guard let lastCertificateNotAfter else { return true }
        return lastCertificateNotAfter.addingTimeInterval(
            RevocationListPlan.endedFor / .seconds(1)
        ) < now
    }
}
