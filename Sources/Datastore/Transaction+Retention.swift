// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials

/// How long rows are kept that no rule of their own subject bounds.
package enum Retention {
    /// Intents after their certificate expired: longer than any clock may be wrong.
    ///
    /// The audit leaf tells of the certificate for ever.
    package static let expiredIntentSeconds: TimeInterval = 3_600
    /// Tokens after they expired: long enough to tell a latecomer why his token is refused.
    package static let expiredTokenSeconds: TimeInterval = 7 * 86_400
    /// Rows of one kind deleted by one call: a few milliseconds in which other writes wait.
    package static let batchMax = 2_000
}

extension Transaction {
    /// Deletes a bounded number of the rows whose time is over, of every kind.
    ///
    /// To be called every minute, and again at once while it returns true.
    ///
    /// - Returns: whether more are left to delete.
    package func trim(now: Date) throws(DatastoreError) -> Bool {
        let limit = Retention.batchMax
        let left = [
            try trimChanges(limit: limit),
            try trimDocumentHistory(now: now, limit: limit),
            try trimIntents(
                expiredBefore: now.addingTimeInterval(-Retention.expiredIntentSeconds),
                limit: limit
            ),
            try trimTokenHolders(
                expiredBefore: now.addingTimeInterval(-Retention.expiredIntentSeconds),
                limit: limit
            ),
            try trimDelegationParties(
                expiredBefore: now.addingTimeInterval(-Retention.expiredIntentSeconds),
                limit: limit
            ),
            try trimJoinTokens(
                expiredBefore: now.addingTimeInterval(-Retention.expiredTokenSeconds),
                limit: limit
            ),
        ]
        return left.contains(true)
    }
}
