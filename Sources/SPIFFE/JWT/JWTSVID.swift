// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials

/// One JWT-SVID as a workload receives it (Workload API section 6.2.1).
///
/// Whoever has the token is the workload until it expires, so its descriptions leave the token out:
/// no log line or failed test can show it.
package struct JWTSVID: Hashable, Sendable {
    package let id: SPIFFEID
    /// The token in compact serialization.
    package let token: String
    package let audiences: [String]
    package let issuedAt: Date
    package let notAfter: Date
    /// Tells several SVIDs of one workload apart (Workload API section 4.4); may be empty.
    package let hint: String
    /// The registration entry that granted it.
    package let entryID: String

    package init(
        id: SPIFFEID,
        token: String,
        audiences: [String],
        issuedAt: Date,
        notAfter: Date,
        hint: String,
        entryID: String
    ) {
        self.id = id
        self.token = token
        self.audiences = audiences
        self.issuedAt = issuedAt
        self.notAfter = notAfter
        self.hint = hint
        self.entryID = entryID
    }
}

extension JWTSVID: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package var description: String { "JWTSVID(\(id), entry \(entryID), until \(notAfter))" }

    package var debugDescription: String { description }

    package var customMirror: Mirror {
        Mirror(self, children: ["id": id, "entryID": entryID, "notAfter": notAfter])
    }
}
