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
        let (admins, now) = (core.configuration.admins, core.clock.wallTime)
        let decision = try await core.read { transaction in
            try AdminAccess(stored: transaction, admins: admins).allows(request, now: now)
        }
        if case .denied(let denial) = decision {
            await recordRefusal(of: verb.rawValue, namespace, denial.description, by: actor)
            throw APIError(.permissionDenied, "adminDenied", denial.description)
        }
        return actor
    }

    /// Records that an authenticated caller was refused, at a bounded rate for each caller.
    func recordRefusal(
        of what: String,
        _ namespace: String,
        _ reason: String,
        by actor: Actor
    ) async {
        core.metrics.increment(.adminDenials, what, "")
        guard
            core.refusalLimiter.take(1, of: actor.description, now: core.clock.bootTime) == nil
        else {
            core.anonymous.count("refusalsNotRecordedOneByOne")
            return
        }
        let refusal = RequestRefusal(what: what, reason: reason, namespace: namespace)
        let now = core.clock.wallTime
        do {
            _ = try await core.write { transaction in
                try transaction.append(.requestRefused(refusal), by: actor, at: now)
            }
        } catch {
            core.logger.error("a refusal cannot be recorded", metadata: ["error": "\(error)"])
        }
    }
}
