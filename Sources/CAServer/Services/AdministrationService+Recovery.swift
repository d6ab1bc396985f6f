// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Authorization
internal import Clocks
internal import ControlAPI
internal import ControlAPIProtos
internal import Datastore
internal import FoundationEssentials
internal import GRPCCore
internal import Issuance
internal import Logging
internal import SPIFFE
internal import SwiftProtobuf

/// The end of the hold of a restored server.
extension AdministrationService {
    func recover(
        request: Signet_Admin_V1alpha1_RecoverRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_RecoverResponse {
        let question = AdminQuestion.exactly(.serverRecover)
        // Before it nobody on the network could be told from anybody else.
        try await gate.requireAdminSocket(for: question, context)
        try await gate.read(question, context)
        let keys = try await keys()
        let (serverID, roots) = (core.logic.serverID, core.configuredRoots)
        let look: @Sendable (ReadTransaction) throws -> HoldOutlook = { transaction in
            try HoldOutlook(
                try Self.endableHold(in: transaction),
                keys: keys,
                serverID: serverID,
                roots: roots,
                in: transaction
            )
        }
        guard !request.rehearse else {
            let outlook = try await gate.read(question, context) { transaction, _ in
                try look(transaction)
            }
            return message(outlook, isRehearsal: true)
        }
        let (isNow, logic) = (request.now, core.logic)
        let outlook = try await gate.write(question, context) { transaction, standing in
            let outlook = try look(transaction)
            guard isNow || outlook.objections.isEmpty else {
                throw APIError(
                    .failedPrecondition,
                    "recoveryIncomplete",
                    outlook.objections.joined(separator: "; ")
                        + "; add --now if it has to be all the same"
                )
            }
            try transaction.append(
                .serverRecovered(outlook.recovery),
                by: standing.actor,
                at: standing.now
            )
            for id in outlook.authorities {
                guard keys.proved.contains(id) else {
                    try logic.leave(id, by: standing.actor, now: standing.now, in: transaction)
                    continue
                }
                guard !keys.provedTokens.contains(id) else { continue }
                try logic.leaveTokenKey(of: id, in: transaction)
            }
            try transaction.endHold()
            return outlook
        }
        core.logger.notice("the hold of the restored server has ended")
        for id in outlook.tokenKeys {
            core.logger.warning(
                """
                the key for JWT-SVIDs of an authority that the log alone knew has left the bundle, as it \
                is not here: what it signed is refused from now on
                """,
                metadata: ["authority": "\(id)"]
            )
        }
        core.holdGate.end()
        return message(outlook, isRehearsal: false)
    }

    /// The hold, if an admin may end it.
    private static func endableHold(in transaction: ReadTransaction) throws -> HoldRecord {
        guard let hold = try transaction.hold() else {
            throw APIError(.failedPrecondition, "notHeld", "this server is not held")
        }
        guard hold.reason == .restored else {
            throw APIError(
                .failedPrecondition,
                "rollbackProved",
                "this server was set back, and an agent has seen what it forgot: stop it and run "
                    + "signet-server restore, see docs/operations.md"
            )
        }
        return hold
    }

    /// The keys that are here, and whether those of authorities that the log alone knew are those of
    /// the records.
    private func keys() async throws -> KeysHere {
        let authorities = try await core.read { transaction in
            let fromLog = Set(try transaction.heldNames(.authority))
            return try transaction.bundleAuthorities().filter { fromLog.contains($0.id) }
                .map { try Authority($0, in: transaction) }
        }
        do {
            let keys = try await core.keys.apart { try KeysHere(in: $0, of: authorities) }
            for problem in keys.problems {
                core.logger.warning(
                    "a key does not open, and so keeps no authority that the log alone knew",
                    metadata: ["key": "\(problem)"]
                )
            }
            return keys
        } catch {
            throw APIError(
                .unavailable,
                "keysUnreadable",
                "which keys are there is not known: \(error)"
            )
        }
    }

    private func message(
        _ outlook: HoldOutlook,
        isRehearsal: Bool
    ) -> Signet_Admin_V1alpha1_RecoverResponse {
        func first<Item>(_ items: [Item]) -> [Item] {
            Array(items.prefix(HoldOutlook.namesMax))
        }
        return .with {
            $0.rehearsed = isRehearsal
            $0.logOrigin = outlook.hold.logOrigin
            $0.logSize = outlook.hold.logSize
            $0.lastRecordUnixMilliseconds = outlook.hold.lastRecordAt?.unixMilliseconds ?? 0
            $0.restoredAtUnixMilliseconds = outlook.hold.restoredAt.unixMilliseconds
            $0.nodes = first(outlook.nodes)
            $0.nodeCount = UInt64(outlook.nodes.count)
            $0.authorities = first(outlook.authorities)
            $0.authorityCount = UInt64(outlook.authorities.count)
            $0.documents = first(outlook.documents).map { document in
                .with {
                    $0.kind = document.key.kind
                    $0.namespace = document.key.namespace
                    $0.name = document.key.name
                    $0.isToBeGone = document.sha256 == nil
                }
            }
            $0.documentCount = UInt64(outlook.documents.count)
            $0.unnamedKeys = first(outlook.unnamedKeys)
            $0.unnamedKeyCount = UInt64(outlook.unnamedKeys.count)
            $0.signerMissing = outlook.agentsNeedingTokens != nil
            $0.agentsNeedingTokens = UInt64(outlook.agentsNeedingTokens ?? 0)
            $0.objections = outlook.objections
            $0.tokenKeys = first(outlook.tokenKeys)
            $0.tokenKeyCount = UInt64(outlook.tokenKeys.count)
        }
    }
}
