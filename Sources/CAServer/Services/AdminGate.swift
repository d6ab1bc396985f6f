// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import Clocks
internal import ControlAPI
internal import Datastore
internal import GRPCCore
internal import GRPCPeer
internal import NodeSync
internal import SPIFFE
internal import Telemetry

/// What a caller asks to do, before it is known who asks.
struct AdminQuestion: Sendable {
    /// Whether the right must be for exactly this, or for anything at all of it.
    private enum Extent {
        case any
        /// For anything at all, whatever the verb.
        case anything
        case exactly
    }

    let verb: AdminVerb
    let kind: String?
    let namespace: String?
    private let spiffeID: String?
    private let extent: Extent

    /// To do exactly this.
    static func exactly(
        _ verb: AdminVerb,
        kind: String = "",
        namespace: String = "",
        spiffeID: String? = nil
    ) -> Self {
        Self(
            verb: verb,
            kind: kind,
            namespace: namespace,
            spiffeID: spiffeID,
            extent: .exactly
        )
    }

    /// To do `verb` to anything of a kind in a namespace (nil: whichever); what is found is judged
    /// one by one.
    static func any(_ verb: AdminVerb, kind: String? = nil, namespace: String? = nil) -> Self {
        Self(verb: verb, kind: kind, namespace: namespace, spiffeID: nil, extent: .any)
    }

    /// About proposals, whose acts are of many kinds: to be an admin at all; each act is judged by
    /// itself.
    static let aboutProposals = Self(
        verb: .get,
        kind: nil,
        namespace: nil,
        spiffeID: nil,
        extent: .anything
    )

    /// What refusals are recorded and counted as.
    var name: String {
        switch extent {
        case .any, .exactly: verb.rawValue
        case .anything: "approval"
        }
    }

    func require(of standing: AdminStanding) throws(APIError) {
        switch extent {
        case .any: try standing.requireAny(verb, kind: kind, namespace: namespace)
        case .anything: try standing.requireAny(nil)
        case .exactly:
            try standing.require(
                verb,
                kind: kind ?? "",
                namespace: namespace ?? "",
                spiffeID: spiffeID
            )
        }
    }
}

/// Lets admins in: every administrative call passes here, is judged in the transaction that does
/// what it asks, and is recorded when it is refused.
struct AdminGate {
    let core: ServerCore

    /// Who calls.
    ///
    /// - Throws: `APIError` (`unauthenticated`) for network callers without certificate.
    func actor(_ context: ServerContext) throws -> Actor {
        switch try context.peer {
        case .local(let local):
            return .localUser(uid: local.uid, host: core.configuration.hostName)
        case .remote(_, let verified?):
            // Whoever has a copy of its key can be any admin.
            guard core.standing(of: verified) == nil else { throw Self.authorityDistrusted }
            return .spiffe(verified.id)
        case .remote:
            throw APIError(
                .unauthenticated,
                "certificateRequired",
                "admins on the network show an SVID"
            )
        }
    }

    /// What the caller shows; nil for a local user.
    ///
    /// - Throws: `APIError` as `actor` does.
    func svid(_ context: ServerContext) throws -> ApprovalCaller.SVID? {
        guard case .remote(_, let verified?) = try context.peer else { return nil }
        return ApprovalCaller.SVID(
            serial: verified.serial,
            authorityID: Hexadecimal.text(verified.path.first ?? [])
        )
    }

    /// Reads for a caller who may do what the question says, in the view in which that was judged.
    ///
    /// To be called again for each piece of what is sent over a long time.
    ///
    /// - Throws: `APIError` (`permissionDenied`) with the reason; the refusal is in the audit log.
    func read<Value: Sendable>(
        _ question: AdminQuestion,
        _ context: ServerContext,
        _ body:
            @escaping @Sendable (ReadTransaction, AdminStanding) throws -> Value = { _, _ in }
    ) async throws -> Value {
        try core.requireNotHeld(for: question.verb)
        let actor = try actor(context)
        let requireBelieved = try certificateCheck(context)
        let (core, now) = (core, core.clock.wallTime)
        return try await recordingRefusals(of: question, by: actor) { () throws(APIError) in
            try await core.read { transaction in
                try requireBelieved(transaction)
                let standing = try core.standing(of: actor, now: now, in: transaction)
                try question.require(of: standing)
                return try body(transaction, standing)
            }
        }
    }

    /// Whether the caller may do anything at all, with a certificate that counts still.
    ///
    /// No refusal is recorded: whoever watches the server asks often, without any right. False also
    /// if it cannot be told.
    func isAdmin(_ context: ServerContext) async -> Bool {
        do {
            let actor = try actor(context)
            let requireBelieved = try certificateCheck(context)
            let (core, now) = (core, core.clock.wallTime)
            return try await core.read { transaction in
                try requireBelieved(transaction)
                try core.standing(of: actor, now: now, in: transaction).requireAny(nil)
                return true
            }
        } catch {
            return false
        }
    }

    /// Performs an act for a caller who may do what the question says, in the transaction in which
    /// that was judged.
    ///
    /// - Parameters:
    ///   - question: What the caller must be allowed to do.
    ///   - isRehearsal: Whether everything is taken back.
    ///   - context: Who calls.
    ///   - body: The act, told what else the caller may do.
    /// - Returns: What `body` returned.
    /// - Throws: `APIError`; then nothing has happened. A refusal is in the audit log.
    func write<Value: Sendable>(
        _ question: AdminQuestion,
        isRehearsal: Bool = false,
        _ context: ServerContext,
        _ body: @escaping @Sendable (Transaction, AdminStanding) throws -> Value
    ) async throws -> Value {
        try core.requireNotHeld(for: question.verb)
        let actor = try actor(context)
        let requireBelieved = try certificateCheck(context)
        let (core, now) = (core, core.clock.wallTime)
        return try await recordingRefusals(of: question, by: actor) { () throws(APIError) in
            let act: @Sendable (Transaction) throws -> Value = { transaction in
                try requireBelieved(transaction)
                let standing = try core.standing(of: actor, now: now, in: transaction)
                try question.require(of: standing)
                return try body(transaction, standing)
            }
            return isRehearsal ? try await core.rehearse(act) : try await core.write(act)
        }
    }

    /// Lets somebody else perform an act for a caller who may do what the question says.
    ///
    /// - Parameters:
    ///   - question: What the caller must be allowed to do.
    ///   - context: Who calls.
    ///   - body: Has the act done, and has the caller judged in the transaction that does it.
    /// - Returns: What `body` returned.
    /// - Throws: `APIError`. A refusal is in the audit log.
    func handOn<Value: Sendable>(
        _ question: AdminQuestion,
        _ context: ServerContext,
        _ body: (@escaping ActPermit) async throws(APIError) -> Value
    ) async throws -> Value {
        try core.requireNotHeld(for: question.verb)
        let actor = try actor(context)
        let requireBelieved = try certificateCheck(context)
        let core = core
        return try await recordingRefusals(of: question, by: actor) { () throws(APIError) in
            try await body { transaction in
                try requireBelieved(transaction)
                // The act may come long after the call.
                let now = core.clock.wallTime
                let standing = try core.standing(of: actor, now: now, in: transaction)
                try question.require(of: standing)
                return actor
            }
        }
    }

    /// Lets only those on who ask through the admin socket: whoever may come from the network may be
    /// somewhere else.
    ///
    /// - Throws: `APIError` (`adminSocketOnly`); the refusal is in the audit log.
    func requireAdminSocket(
        for question: AdminQuestion,
        _ context: ServerContext
    ) async throws {
        let actor = try actor(context)
        guard case .remote = try context.peer else { return }
        try await recordingRefusals(of: question, by: actor) { () throws(APIError) in
            throw APIError(
                .permissionDenied,
                "adminSocketOnly",
                "\(question.verb) is taken through the server's admin socket alone; run it on the "
                    + "server's machine"
            )
        }
    }

    /// Looks in the transaction of an act whether the caller's certificate still counts: it, or its
    /// identity, may have been revoked since the request came in, by who waits before it.
    private func certificateCheck(
        _ context: ServerContext
    ) throws -> @Sendable (ReadTransaction) throws -> Void {
        guard case .remote(_, let verified?) = try context.peer else { return { _ in } }
        return { transaction in
            guard try transaction.revokedCertificate(serial: verified.serial) == nil else {
                throw APIError(
                    .unauthenticated,
                    "certificateRevoked",
                    "this certificate was revoked; get a new SVID"
                )
            }
            // Whoever stole an SVID has it until it ends.
            if let revocation = try transaction.revocation(of: verified.id),
                Revocation.revokes(
                    leafNotBefore: verified.notBefore,
                    issuedBefore: revocation.issuedBefore
                )
            {
                throw APIError(
                    .unauthenticated,
                    "certificateRevoked",
                    "what was issued for \(verified.id) before this was revoked; get a new SVID, or "
                        + "use the server's admin socket"
                )
            }
            for keyID in verified.path {
                let id = Hexadecimal.text(keyID)
                guard try transaction.upstream(id: id)?.distrust == nil,
                    try transaction.upstreamRevocation(id: id)?.isWaiting ?? true
                else {
                    throw Self.authorityDistrusted
                }
                guard let state = try transaction.authority(id: id)?.state else { continue }
                let distrusted = [AuthorityRecord.taintedState, AuthorityRecord.revokedState]
                guard !distrusted.contains(state) else { throw Self.authorityDistrusted }
            }
        }
    }

    private static let authorityDistrusted = APIError(
        .unauthenticated,
        "authorityDistrusted",
        "the authority of this certificate is distrusted; get a new SVID, or use the server's admin "
            + "socket"
    )

    private func recordingRefusals<Value: Sendable>(
        of question: AdminQuestion,
        by actor: Actor,
        _ body: () async throws(APIError) -> Value
    ) async throws -> Value {
        do throws(APIError) {
            return try await body()
        } catch {
            if error.kind == .permissionDenied {
                let verb = question.name
                core.metrics.increment(.adminDenials, verb, question.kind ?? "")
                await core.recordRefusal(
                    of: verb,
                    question.namespace ?? "",
                    error.message,
                    by: actor
                )
            }
            throw error
        }
    }
}
