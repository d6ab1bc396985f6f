// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Authorization
internal import ControlAPI
internal import ControlAPIProtos
internal import Datastore
internal import DurableFiles
internal import FoundationEssentials
internal import GRPCCore
internal import SPIFFE
internal import SwiftProtobuf

/// The audit log for readers: queries, what happens now, and the files that prove it.
struct AuditService: Signet_Admin_V1alpha1_Audit.SimpleServiceProtocol {
    /// Records of one answer: 1,000 of the largest leaves would pass the message limit, which refuses
    /// the answer; usual ones are below 1 MiB.
    static let recordsMax = 1000
    static let recordsDefault = 50
    /// Leaves read at a time while following: one bundle of tiles.
    static let tailPageMax = 256

    private static let question = AdminQuestion.exactly(.auditRead)

    let core: ServerCore
    var gate: AdminGate { AdminGate(core: core) }

    func query(
        request: Signet_Admin_V1alpha1_AuditQueryRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_AuditQueryResponse {
        var filter = AuditLeafFilter()
        filter.event = request.event.isEmpty ? nil : request.event
        filter.actor = request.actor.isEmpty ? nil : request.actor
        filter.namespace = request.namespace.isEmpty ? nil : request.namespace
        filter.spiffeID = request.spiffeID.isEmpty ? nil : request.spiffeID
        filter.serial = request.serial.isEmpty ? nil : request.serial.lowercased()
        if request.sinceUnixMilliseconds != 0 {
            filter.since = Date(unixMilliseconds: request.sinceUnixMilliseconds)
        }
        if request.untilUnixMilliseconds != 0 {
            filter.before = Date(unixMilliseconds: request.untilUnixMilliseconds)
        }
        let limit =
            request.limit == 0 ? Self.recordsDefault : min(Int(request.limit), Self.recordsMax)
        let (wanted, before) = (filter, request.beforeIndex)
        let leaves = try await gate.read(Self.question, context) { transaction, _ in
            try Self.check(event: wanted.event)
            return try transaction.queryLeaves(
                wanted,
                limit: limit + 1,
                after: before == 0 ? nil : before,
                newestFirst: true
            )
        }
        return .with {
            $0.records = leaves.prefix(limit).map(\.message)
            $0.more = leaves.count > limit
        }
    }

    private static func check(event: String?) throws(APIError) {
        guard let event, AuditEvent.Name(rawValue: event) == nil else { return }
        let known = AuditEvent.Name.allCases.map(\.rawValue).joined(separator: ", ")
        throw APIError(
            .invalidArgument,
            "eventUnknown",
            "there is no event \(event); there are \(known)"
        )
    }

    func tail(
        request: Signet_Admin_V1alpha1_AuditTailRequest,
        response: RPCWriter<Signet_Admin_V1alpha1_AuditRecord>,
        context: ServerContext
    ) async throws {
        let (follower, published) = core.audit.follow()
        defer { core.audit.unfollow(follower) }
        let size = try await gate.read(Self.question, context) { log, _ in try log.auditSize() }
        var next =
            if request.fromStart {
                UInt64(0)
            } else if request.afterIndex > 0, request.afterIndex < size {
                request.afterIndex + 1
            } else {
                size
            }
        try await withRPCCancellationHandler {
            next = try await write(from: next, response, context)
            for await _ in published { next = try await write(from: next, response, context) }
        } onCancelRPC: {
            core.audit.unfollow(follower)
        }
    }

    /// Writes what is published, page by page; whether the reader may have it is judged for each.
    private func write(
        from first: UInt64,
        _ response: RPCWriter<Signet_Admin_V1alpha1_AuditRecord>,
        _ context: ServerContext
    ) async throws -> UInt64 {
        var next = first
        while true {
            let start = next
            let leaves = try await gate.read(Self.question, context) { transaction, _ in
                try transaction.leaves(from: start, limit: Self.tailPageMax)
            }
            for leaf in leaves { try await response.write(leaf.message) }
            next += UInt64(leaves.count)
            if leaves.count < Self.tailPageMax { return next }
        }
    }

    func getCheckpoint(
        request: Signet_Admin_V1alpha1_GetCheckpointRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_GetCheckpointResponse {
        let committed = try await gate.read(Self.question, context) { log, _ in
            try log.auditSize()
        }
        return .with {
            $0.note = core.audit.checkpoint.map { String(decoding: $0.note, as: UTF8.self) } ?? ""
            $0.verifierKey = core.audit.key.description
            $0.committedSize = committed
        }
    }

    func getFile(
        request: Signet_Admin_V1alpha1_GetAuditFileRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_GetAuditFileResponse {
        try await gate.read(Self.question, context)
        // Only paths of the tree's own grammar are opened.
        guard request.path == TilePath.checkpoint || TilePath(parsing: request.path) != nil else {
            throw APIError(
                .invalidArgument,
                "auditPath",
                "\"\(request.path)\" is no file of the audit log"
            )
        }
        do {
            let bytes = try AuditPublisher.read(request.path, in: core.audit.directory)
            return .with { $0.content = Data(bytes) }
        } catch {
            throw APIError(.notFound, "auditFile", "there is no \(request.path)")
        }
    }
}

extension StoredLeaf {
    fileprivate var message: Signet_Admin_V1alpha1_AuditRecord {
        .with {
            $0.index = index
            $0.json = String(decoding: bytes, as: UTF8.self)
        }
    }
}
