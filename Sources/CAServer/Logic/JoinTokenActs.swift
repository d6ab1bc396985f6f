// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Authorization
internal import ControlAPI
package import Datastore
internal import SPIFFE

/// What admins do to join tokens that nobody has used.
extension ServerLogic {
    /// Takes back the join tokens of a name, whether its machine was here before or not.
    ///
    /// - Parameters:
    ///   - name: The name that they admit.
    ///   - standing: Who does it.
    ///   - transaction: In which it is done and recorded.
    /// - Returns: How many there were, those among them that have ended.
    /// - Throws: `APIError` when the caller may not, or there is none that can be used.
    package func deleteTokens(
        ofNode name: String,
        by standing: AdminStanding,
        in transaction: Transaction
    ) throws -> UInt64 {
        let id = try agentID(name)
        try standing.require(.tokenCreate, spiffeID: id.description)
        guard try transaction.hasUsableJoinToken(name: name, now: standing.now) else {
            let remedy =
                try transaction.node(named: name) == nil
                ? "see signet token list; one that waits for approval is withdrawn by signet approval "
                    + "withdraw" : "its machine has joined: signet agent evict \(name)"
            throw APIError(
                .notFound,
                "tokenUnknown",
                "there is no token of \(name) that can be used; \(remedy)"
            )
        }
        let deleted = UInt64(try transaction.deleteJoinTokens(name: name, unusedOnly: true))
        try transaction.append(
            .tokensDeleted(TokenDeletion(agent: id, tokensDeleted: deleted)),
            by: standing.actor,
            at: standing.now
        )
        return deleted
    }
}
