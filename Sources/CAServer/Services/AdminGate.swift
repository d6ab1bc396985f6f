// SPDX-License-Identifier: Apache-2.0

internal import Logging
internal import Telemetry
internal import Clocks
internal import AuditLog
internal import Authorization
internal import ControlAPI
internal import GRPCCore
internal import GRPCPeer
internal import SPIFFE

/// Lets admins in: every administrative call passes here, and what is refused is recorded.
struct AdminGate {
    let core: ServerCore

    /// Who calls.
    ///
    /// - Throws: `APIError` (`unauthenticated`) for network callers without certificate.
    func actor(_ context: ServerContext) throws -> Actor {
        switch try context.peer {
        case .local(let local):
            return .localUser(uid: local.uid, host: core.configuration.hostName)
        case .remote(_, let verified?): return .spiffe(verified.id)
        case .remote:
            throw APIError(
                .unauthenticated,
                "certificateRequired",
                "admins on the network show an SVID"
            )
        }
    }

    /// Requires that the caller may do `verb`, and tells who it is.
    ///
    /// - Throws: `APIError` (`permissionDenied`) with the reason; the refusal is in the audit log.
    @discardableResult
    func require(
        _ verb: AdminVerb,
        kind: String = "",
        namespace: String = "",
        spiffeID: String? = nil,
        _ context: ServerContext
    ) async throws -> Actor {
        let actor = try actor(context)
        let request = AdminRequest(
            actor: actor,
            verb: verb,
            kind: kind,
            namespace: namespace,
            spiffeID: spiffeID
        )
        let (core, now) = (core, core.clock.wallTime)
        let decision = try await core.read { transaction in
            try core.access(in: transaction).allows(request, now: now)
        }
        if case .denied(let denial) = decision {
            await recordRefusal(of: verb.rawValue, namespace, denial.description, by: actor)
            throw APIError(.permissionDenied, "adminDenied", denial.description)
        }
        return actor
    }

    /// Requires that the caller may do `verb` to anything at all of a kind in a namespace, and tells
    /// who it is: nothing is read, parsed or queued for others.
    ///
    /// - Throws: `APIError` (`permissionDenied`) with the reason; the refusal is in the audit log.
    @discardableResult
    func requireAny(
        _ verb: AdminVerb,
        kind: String? = nil,
        namespace: String? = nil,
        _ context: ServerContext
    ) async throws -> Actor {
        let actor = try actor(context)
        let (core, now) = (core, core.clock.wallTime)
        let denial = try await core.read { transaction in
            try core.access(in: transaction)
                .lacksAll(actor, verb, kind: kind, namespace: namespace, now: now)
        }
        if let denial {
            await recordRefusal(of: verb.rawValue, namespace ?? "", denial.description, by: actor)
            throw APIError(.permissionDenied, "adminDenied", denial.description)
        }
        return actor
    }

    /// Records that an admin was refused, at a bounded rate for each caller.
    func recordRefusal(
        of what: String,
        _ namespace: String,
        _ reason: String,
        by actor: Actor
    ) async {
        core.metrics.increment(.adminDenials, what, "")
        await core.recordRefusal(of: what, namespace, reason, by: actor)
    }
}
