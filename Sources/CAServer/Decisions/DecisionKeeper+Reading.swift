// SPDX-License-Identifier: Apache-2.0

internal import ControlAPI
internal import ControlAPIProtos
internal import Datastore
internal import DecisionLog
internal import FoundationEssentials
internal import NodeSync
internal import SwiftProtobuf

/// A decision as the log has it.
struct LoggedDecision: Sendable {
    let agent: String
    /// `namespace/name`.
    let proxy: String
    let explanation: Signet_Node_V1alpha1_DecisionExplanation
}

/// What people ask of the store.
extension DecisionKeeper {
    /// Every record of a decision; several if agents contradict each other.
    ///
    /// - Throws: `APIError` (`unavailable`) while the store cannot be used.
    func decisions(named id: String) async throws(APIError) -> [LoggedDecision] {
        let store = try requireStore()
        let segments: [StoredDecisionSegment]
        do throws(DatastoreError) {
            segments = try await store.segments(holding: id)
        } catch {
            failed(error, store)
            throw Self.unreadable(error)
        }
        return segments.flatMap { $0.decisions(named: id) }
    }

    /// A page of segments after a sequence number, for whoever checks them.
    ///
    /// - Throws: `APIError` (`unavailable`) while the store cannot be used.
    func page(
        after sequence: UInt64
    ) async throws(APIError) -> Signet_Admin_V1alpha1_ReadDecisionSegmentsResponse {
        let store = try requireStore()
        do throws(DatastoreError) {
            let (segments, more) = try await store.segments(after: sequence)
            let oldest = try await store.status().oldestSequence
            return .with {
                $0.storeID = Data(store.id)
                $0.oldestSequence = oldest
                $0.segments = segments.map(\.message)
                $0.more = more
                $0.retentionSeconds = retention.components.seconds
            }
        } catch {
            failed(error, store)
            throw Self.unreadable(error)
        }
    }

    private static func unreadable(_ error: DatastoreError) -> APIError {
        APIError(.unavailable, "decisionStore", "the decision store cannot be read: \(error)")
    }
}

extension StoredDecisionSegment {
    /// What it says of a decision; nothing if it is damaged, which `signet decisions verify` names.
    fileprivate func decisions(named id: String) -> [LoggedDecision] {
        guard let content, let segment = try? DecisionSegment(parsing: content) else { return [] }
        return segment.records.compactMap { record in
            guard case .decision(var explanation) = record.content, explanation.id == id else {
                return nil
            }
            explanation.logged = .with {
                $0.agent = row.agent
                $0.proxy = record.proxy
                $0.storedAtUnixMilliseconds = row.storedAt.unixMilliseconds
            }
            return LoggedDecision(
                agent: row.agent,
                proxy: record.proxy,
                explanation: explanation
            )
        }
    }

    fileprivate var message: Signet_Admin_V1alpha1_StoredDecisionSegment {
        .with {
            $0.sequence = row.sequence
            $0.agent = row.agent
            $0.spool = Data(row.spool)
            $0.number = row.number
            $0.sha256 = Data(row.digest)
            $0.content = Data(content ?? [])
        }
    }
}
