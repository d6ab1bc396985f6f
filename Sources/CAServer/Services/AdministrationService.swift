// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import Clocks
internal import ControlAPI
internal import ControlAPIProtos
internal import Datastore
internal import FoundationEssentials
internal import GRPCCore
internal import Issuance
internal import NodeAttestation
internal import NodeSync
internal import PolicyDocuments
internal import SPIFFE
internal import SwiftProtobuf
internal import Telemetry

/// Tokens, nodes, authorities, entries and health.
struct AdministrationService: Signet_Admin_V1alpha1_Administration.SimpleServiceProtocol {
    /// Objects of one page: well below the message limit with entries of the usual size.
    static let pageMax = 500
    static let defaultTokenSeconds: UInt32 = 600

    let core: ServerCore
    var gate: AdminGate { AdminGate(core: core) }

    // MARK: - Nodes

    func createToken(
        request: Signet_Admin_V1alpha1_CreateTokenRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_CreateTokenResponse {
        let id = try core.logic.agentID(request.agentName)
        let question = AdminQuestion.exactly(.tokenCreate, spiffeID: id.description)
        // What is not the caller's to ask for is not even parsed.
        try await gate.read(question, context)
        let token = try newToken(request.serverAddresses)
        let order = JoinTokenOrder(
            hash: token.secretHash,
            name: request.agentName,
            selectors: try selectors(request.nodeSelectors, "selector"),
            ttlSeconds: request.ttlSeconds == 0 ? Self.defaultTokenSeconds : request.ttlSeconds
        )
        let act = ProposedAct.token(ProposedToken(order, pins: token.authorityPins))
        let (takes, seconds) = (request.takesProposal, Int64(order.ttlSeconds))
        let desk = ApprovalDesk(core: core, svid: try gate.svid(context))
        let (proposal, expires) = try await gate.write(question, context) { transaction, standing in
            var generator = SystemRandomness()
            let answer = try desk.act(by: standing, in: transaction)
                .order(act, takesProposal: takes, using: &generator)
            return (answer.proposal, standing.now.wholeSeconds + seconds)
        }
        if proposal != nil { await core.countProposals() }
        let rules = core.approvalRules
        return .with {
            $0.token = token.text
            // Its time counts from when it is approved, which nobody knows.
            if proposal == nil { $0.expiresAtUnixSeconds = expires }
            $0.agentSpiffeID = id.description
            if let proposal { $0.proposal = proposal.summary.message(approved: 0, rules) }
        }
    }

    /// A token for the authorities of the moment.
    private func newToken(_ addresses: [String]) throws -> JoinToken {
        var generator = core.randomness
        let secret = (0..<JoinToken.secretBytes).map { _ in
            UInt8.random(in: .min ... .max, using: &generator)
        }
        // Whoever has a copy of a tainted one's key could be the server to the new machine; so could,
        // below a root, whoever has that of a revoked one.
        let trusted = try core.trust.authorities.filter { certificate in
            guard let read = try? LeafCertificate(der: certificate) else { return true }
            return core.standing(ofAuthority: read.keyIdentifier.bytes) == nil
        }
        do {
            return try JoinToken(
                trustDomain: core.logic.trustDomain,
                serverAddresses: addresses.isEmpty ? core.configuration.advertise : addresses,
                authorityPins: trusted.map { try authoritySPKISHA256($0) },
                secret: secret
            )
        } catch let error as JoinTokenError {
            throw APIError(
                .invalidArgument,
                "joinToken",
                "\(error); add --server-address HOST:8081, or set advertise in server.yaml"
            )
        }
    }

    func listNodes(
        request: Signet_Admin_V1alpha1_ListNodesRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_ListNodesResponse {
        let name = request.name
        let nodes = try await gate.read(.exactly(.nodeList), context) { transaction, _ in
            let nodes =
                name.isEmpty
                ? try transaction.nodes(after: request.pageToken, limit: Self.pageMax)
                : try transaction.node(named: name).map { [$0] } ?? []
            return try nodes.map { node in
                (node: node, entries: try transaction.entryCount(node: node.selectors))
            }
        }
        return .with {
            $0.nodes = nodes.map { message($0.node, entries: $0.entries) }
            if nodes.count == Self.pageMax { $0.nextPageToken = nodes.last?.node.name ?? "" }
        }
    }

    func banNode(
        request: Signet_Admin_V1alpha1_NodeActionRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_Node {
        try await change(.ban, request, context)
    }

    func unbanNode(
        request: Signet_Admin_V1alpha1_NodeActionRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_Node {
        let id = try core.logic.agentID(request.name)
        let act = ProposedAct.unban(node: request.name, reason: request.reason)
        let (name, takes) = (request.name, request.takesProposal)
        let desk = ApprovalDesk(core: core, svid: try gate.svid(context))
        let (answer, node, entries) = try await gate.write(
            .exactly(.nodeBan, spiffeID: id.description),
            context
        ) { transaction, standing in
            var generator = SystemRandomness()
            let answer = try desk.act(by: standing, in: transaction)
                .order(act, takesProposal: takes, using: &generator)
            // The act has found it.
            let node = try transaction.node(named: name)
            let entries = try transaction.entryCount(node: node?.selectors ?? [])
            return (answer, node, entries)
        }
        if let result = answer.result { await core.carriedOut(result) }
        var reply = node.map { message($0, entries: entries) } ?? .init()
        if let proposal = answer.proposal {
            await core.countProposals()
            reply.proposal = proposal.summary.message(approved: 0, core.approvalRules)
        }
        return reply
    }

    func evictNode(
        request: Signet_Admin_V1alpha1_NodeActionRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_Node {
        try await change(.evict, request, context)
    }

    /// Bans or evicts.
    private func change(
        _ change: ServerLogic.StandingChange,
        _ request: Signet_Admin_V1alpha1_NodeActionRequest,
        _ context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_Node {
        let id = try core.logic.agentID(request.name)
        let logic = core.logic
        let (node, entries, revision): (NodeRecord, Int, Revision)
        do {
            (node, entries, revision) = try await gate.write(
                .exactly(change.verb, spiffeID: id.description),
                context
            ) { transaction, standing in
                let before = try logic.change(
                    change,
                    ofNode: request.name,
                    reason: request.reason,
                    by: standing,
                    in: transaction
                )
                return (
                    try transaction.node(named: request.name) ?? before,
                    try transaction.entryCount(node: before.selectors),
                    try transaction.revision()
                )
            }
        } catch let error as APIError where change == .evict && error.reason == "nodeUnknown" {
            guard let answer = try await goOnEvicting(id, request, context) else { throw error }
            return answer
        }
        let agent = AgentName(request.name)
        core.hub.removed(agent)
        core.disconnect(id)
        if change == .evict { core.metrics.adjust(.agentsKnown, by: -1) }
        var answer = message(node, entries: entries)
        answer.revision = revision.message
        do {
            answer.took(try await revokeHeld(by: id, request, change.verb, context))
        } catch {
            throw notAllRevoked(request.name, isBan: change == .ban, error)
        }
        return answer
    }

    private func notAllRevoked(_ name: String, isBan: Bool, _ error: any Error) -> APIError {
        let cause = (error as? APIError) ?? APIError(datastore: error)
        return APIError(
            cause.kind,
            "certificatesNotRevoked",
            "agent \(name) is \(isBan ? "banned" : "evicted"), but not all that its workloads and "
                + "proxies hold is refused yet: \(cause.message); run the command again"
        )
    }

    /// An eviction that ended half-way: its node is gone, and what that holds is not.
    ///
    /// - Returns: The answer; nil if nothing is left to be done.
    private func goOnEvicting(
        _ id: SPIFFEID,
        _ request: Signet_Admin_V1alpha1_NodeActionRequest,
        _ context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_Node? {
        let revoked: RevokedHeld
        do {
            revoked = try await revokeHeld(by: id, request, .nodeEvict, context)
        } catch let error as APIError where error.kind == .permissionDenied {
            throw error
        } catch {
            throw notAllRevoked(request.name, isBan: false, error)
        }
        guard revoked != .init() else { return nil }
        return .with {
            $0.name = request.name
            $0.spiffeID = id.description
            $0.took(revoked)
        }
    }

    private func message(_ node: NodeRecord, entries: Int) -> Signet_Admin_V1alpha1_Node {
        let (presence, version) = core.hub.presence(of: AgentName(node.name))
        return .with {
            $0.name = node.name
            $0.spiffeID = node.spiffeID.description
            $0.selectors = node.selectors.sorted().map(\.description)
            $0.attestation = node.attestationMethod
            $0.attestedAtUnixSeconds = Int64(node.createdAt.timeIntervalSince1970)
            $0.svidNotAfterUnixSeconds = Int64(node.notAfter.timeIntervalSince1970)
            $0.serial = Hexadecimal.text(node.serial)
            $0.banned = node.ban != nil
            $0.banReason = node.ban?.reason ?? ""
            $0.connected = presence.isConnected
            $0.lastSeenUnixSeconds =
                (presence.isConnected ? core.clock.wallTime : node.lastSeen).wholeSeconds
            if let applied = presence.applied {
                $0.applied = Revision(epoch: core.hub.epoch, number: applied).message
            }
            $0.version = version
            $0.entriesInScope = UInt64(entries)
        }
    }

    // MARK: - Authorities

    func getBundle(
        request: Signet_Admin_V1alpha1_GetBundleRequest,
        context: ServerContext
    ) async throws -> Signet_Node_V1alpha1_TrustBundle {
        try await gate.read(.exactly(.bundleShow), context)
        return try core.trust.bundle.message
    }

    // MARK: - Health

    /// Whoever may open the socket may know what ails the server; on the network only admins may,
    /// because reasons name paths and errors.
    private func mayKnowDetails(_ context: ServerContext) async throws -> Bool {
        if case .localUser = try gate.actor(context) { return true }
        return await gate.isAdmin(context)
    }

    func getHealth(
        request: Signet_Admin_V1alpha1_GetHealthRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_Health {
        let report = core.health.report(.ready)
        guard try await mayKnowDetails(context) else {
            return .with { $0.ready = report.isHealthy }
        }
        let revision = try? await core.read { try $0.revision() }
        return .with {
            $0.ready = report.isHealthy
            $0.conditions = report.conditions.map { condition in
                .with {
                    $0.name = condition.name
                    $0.ok = condition.problem == nil
                    $0.reason = condition.problem ?? ""
                }
            }
            $0.serverID = core.logic.serverID
            $0.trustDomain = core.logic.trustDomain.name
            $0.version = SignetVersion.current
            if let revision { $0.revision = revision.message }
            $0.connectedAgents = UInt32(clamping: core.hub.connectedCount)
        }
    }
}

extension Date {
    var wholeSeconds: Int64 { Int64(timeIntervalSince1970) }
}
