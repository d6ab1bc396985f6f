// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import Datastore

/// Whose identity makes an admin: the subjects of bindings, whether in force or not, and those that
/// would be named by what waits for approval.
///
/// Who approves a binding has looked by what its subjects get their identities; nothing is to be
/// added to that behind his back (docs/decisions/0023-approvals.md).
struct AdminSubjects: Sendable {
    /// All of them, so that most questions are one look however many there are.
    private let ids: Set<String>

    /// - Parameters:
    ///   - access: The bindings there are.
    ///   - waiting: SPIFFE IDs that would be named.
    init(_ access: AdminAccess, waiting: Set<String>) {
        ids = access.subjectIDs.union(waiting)
    }

    /// With all that waits now.
    ///
    /// - Throws: `DatastoreError`.
    init(_ access: AdminAccess, in transaction: ReadTransaction) throws {
        self.init(access, waiting: try transaction.proposedSubjects())
    }

    /// Whether an ID, or a template of one, is or may become such a subject.
    func contains(_ spiffeID: String) -> Bool {
        if ids.contains(spiffeID) { return true }
        guard spiffeID.utf8.contains(UInt8(ascii: "{")) else { return false }
        return ids.contains { AdminAccess.template(spiffeID, mayBecome: $0) }
    }
}
