// SPDX-License-Identifier: Apache-2.0

internal import Telemetry
internal import Clocks
internal import Authorization
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
        let actor = try await gate.require(.tokenCreate, spiffeID: id.description, context)
        let chosen = try selectors(request.nodeSelectors, "selector")
        if !chosen.isEmpty { try await requireSelectorChoice(context) }
        let ttl = request.ttlSeconds == 0 ? Self.defaultTokenSeconds : request.ttlSeconds
        var generator = core.randomness
        let secret = (0..<JoinToken.secretBytes).map { _ in
            UInt8.random(in: .min ... .max, using: &generator)
        }
        let trust = try core.trust
        let token = try JoinToken(
            trustDomain: core.logic.trustDomain,
            serverAddresses: request.serverAddresses.isEmpty
                ? core.configuration.advertise : request.serverAddresses,
            authorityPins: trust.bundle.x509Authorities.map { try authoritySPKISHA256($0) },
            secret: secret
        )
        let (logic, now) = (core.logic, core.clock.wallTime)
        _ = try await core.write { transaction in
            try logic.createToken(
                hash: token.secretHash,
                name: request.agentName,
                selectors: chosen,
                ttlSeconds: ttl,
                by: actor,
                now: now,
                in: transaction
            )
        }
        return .with {
            $0.token = token.text
            $0.expiresAtUnixSeconds = Int64(now.timeIntervalSince1970) + Int64(ttl)
            $0.agentSpiffeID = id.description
        }
    }

    /// Requires the right to choose node selectors, which is that to create tokens without prefix.
    ///
    /// A role narrowed by SPIFFE ID prefixes admits agents of certain names; selectors decide which
    /// entries a node gets.
    private func requireSelectorChoice(_ context: ServerContext) async throws {
        do {
            try await gate.require(.tokenCreate, context)
        } catch let error as APIError where error.kind == .permissionDenied {
            throw APIError(
                .permissionDenied,
                "selectorsNotYours",
                "node selectors are chosen only by who may create tokens without a SPIFFE ID "
                    + "prefix; leave them out (\(error.message))"
            )
        }
    }

    func listNodes(
        request: Signet_Admin_V1alpha1_ListNodesRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_ListNodesResponse {
        try await gate.require(.nodeList, context)
        let name = request.name
        let nodes = try await core.read { transaction in
            if !name.isEmpty { return try transaction.node(named: name).map { [$0] } ?? [] }
            return try transaction.nodes(after: request.pageToken, limit: Self.pageMax)
        }
        var messages: [Signet_Admin_V1alpha1_Node] = []
        for node in nodes { messages.append(try await message(node)) }
        return .with {
            $0.nodes = messages
            if nodes.count == Self.pageMax { $0.nextPageToken = nodes.last?.name ?? "" }
        }
    }

    func banNode(
        request: Signet_Admin_V1alpha1_NodeActionRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_Node {
        try await change(.ban, .nodeBan, request, context)
    }

    func unbanNode(
        request: Signet_Admin_V1alpha1_NodeActionRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_Node {
        try await change(.unban, .nodeBan, request, context)
    }

    func evictNode(
        request: Signet_Admin_V1alpha1_NodeActionRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_Node {
        try await change(.evict, .nodeEvict, request, context)
    }

    private func change(
        _ change: ServerLogic.StandingChange,
        _ verb: AdminVerb,
        _ request: Signet_Admin_V1alpha1_NodeActionRequest,
        _ context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_Node {
        let id = try core.logic.agentID(request.name)
        let actor = try await gate.require(verb, spiffeID: id.description, context)
        let (logic, now) = (core.logic, core.clock.wallTime)
        let before = try await core.write { transaction in
            try logic.change(
                change,
                ofNode: request.name,
                reason: request.reason,
                by: actor,
                now: now,
                in: transaction
            )
        }
        if change != .unban {
            core.hub.removed(AgentName(request.name))
            core.disconnect(id)
        }
        let after = try await core.read { try $0.node(named: request.name) }
        return try await message(after ?? before)
    }

    private func message(_ node: NodeRecord) async throws -> Signet_Admin_V1alpha1_Node {
        let (presence, version) = core.hub.presence(of: AgentName(node.name))
        let entries = try await core.read { try $0.entries(node: node.selectors).count }
        return .with {
            $0.name = node.name
            $0.spiffeID = node.spiffeID.description
            $0.selectors = node.selectors.sorted().map(\.description)
            $0.attestation = node.attestationMethod
            $0.attestedAtUnixSeconds = Int64(node.createdAt.timeIntervalSince1970)
            $0.svidNotAfterUnixSeconds = Int64(node.notAfter.timeIntervalSince1970)
            $0.serial = Hex.text(node.serial)
            $0.banned = node.ban != nil
            $0.banReason = node.ban?.reason ?? ""
            $0.connected = presence.isConnected
            $0.lastSeenUnixSeconds = Int64(node.lastSeen.timeIntervalSince1970)
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
        try await gate.require(.bundleShow, context)
        return try core.trust.bundle.message
    }

    func listAuthorities(
        request: Signet_Admin_V1alpha1_ListAuthoritiesRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_ListAuthoritiesResponse {
        try await gate.require(.authorityShow, context)
        let authorities = try await core.read { transaction in
            try transaction.authorities().map { try Authority($0, in: transaction) }
        }
        return try .with {
            $0.authorities = try authorities.map { authority in
                try .with {
                    $0.id = authority.id
                    $0.serverID = authority.serverID
                    $0.state = authority.state.rawValue
                    $0.notBeforeUnixSeconds = authority.notBefore.wholeSeconds
                    $0.notAfterUnixSeconds = authority.notAfter.wholeSeconds
                    $0.publishedAtUnixSeconds = authority.publishedAt?.wholeSeconds ?? 0
                    $0.activatedAtUnixSeconds = authority.activatedAt?.wholeSeconds ?? 0
                    $0.lastSvidNotAfterUnixSeconds = authority.lastSVIDNotAfter?.wholeSeconds ?? 0
                    $0.certificate = Data(authority.certificateDER)
                    $0.spkiSha256 = Hex.text(try authoritySPKISHA256(authority.certificateDER))
                }
            }
            $0.nextStep = core.rotationStatus.text
            $0.nextStepAtUnixSeconds = core.rotationStatus.at?.wholeSeconds ?? 0
        }
    }

    // MARK: - Health

    /// Whoever may open the socket may know what ails the server; on the network only admins may,
    /// because reasons name paths and errors.
    private func mayKnowDetails(_ context: ServerContext) async throws -> Bool {
        let actor = try gate.actor(context)
        if case .localUser = actor { return true }
        let (core, now) = (core, core.clock.wallTime)
        return try await core.read { transaction in
            try core.access(in: transaction).lacksAll(actor, nil, now: now) == nil
        }
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
