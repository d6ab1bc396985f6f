// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials

/// What one certificate revocation list says: what a server keeps of the last one, and writes the
/// next one from (docs/decisions/0018-certificate-revocation-lists.md).
package struct RevocationListContent: Hashable, Sendable {
    /// One revoked certificate, and what a list does not show of it.
    package struct Entry: Hashable, Sendable {
        /// Big-endian, without the leading zero that DER adds to keep it positive.
        package let serial: [UInt8]
        /// When it was revoked, a whole hour; the same on every list that it is on.
        package let revokedAt: Date
        /// The certificate's end, after which it may leave.
        package let notAfter: Date

        package init(serial: [UInt8], revokedAt: Date, notAfter: Date) {
            self.serial = serial
            self.revokedAt = revokedAt
            self.notAfter = notAfter
        }
    }

    /// The authority whose certificates it lists and whose key signs it.
    package let authorityID: String
    /// A whole second, later than that of the list before.
    package let thisUpdate: Date
    /// A whole second, at the latest the authority's end.
    package let nextUpdate: Date
    /// Whether no list of the authority follows, so that its key may go.
    package let isLast: Bool
    /// In the order of their serial numbers.
    package let entries: [Entry]
    /// Whether the list itself is lost, as after a restore: another one is due, with a later number.
    package let isLost: Bool

    /// Takes the entries in any order.
    package init(
        authorityID: String,
        thisUpdate: Date,
        nextUpdate: Date,
        isLast: Bool,
        entries: some Sequence<Entry>,
        isLost: Bool = false
    ) {
        self.authorityID = authorityID
        self.thisUpdate = thisUpdate
        self.nextUpdate = nextUpdate
        self.isLast = isLast
        self.isLost = isLost
        self.entries = entries.sorted { $0.serial.isBelow($1.serial) }
    }
}

extension [UInt8] {
    /// Whether a number is smaller than another; both big-endian without leading zeros.
    func isBelow(_ other: Self) -> Bool {
        count == other.count ? lexicographicallyPrecedes(other) : count < other.count
    }
}
