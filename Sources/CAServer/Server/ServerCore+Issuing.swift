// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Clocks
package import ControlAPI
internal import Datastore
internal import FoundationEssentials
internal import Issuance
internal import Logging
internal import NodeAttestation
internal import NodeSync
package import SPIFFE
internal import Telemetry

extension ServerCore {
    /// How often a request is prepared anew when it was overtaken: once is a coincidence, three
    /// times is a state that changes faster than it can be signed for.
    static let issuanceAttemptsMax = 3

    /// What an admitted agent gets.
    package struct AgentIdentity: Sendable {
        package let certificateChain: [[UInt8]]
        package let bundle: TrustBundle
        package let id: SPIFFEID
    }

    /// Admits an agent and signs its certificate.
    ///
    /// - Parameters:
    ///   - admission: What was verified about the caller.
    ///   - csr: Its request.
    ///   - source: Where it calls from, for the rate limit.
    /// - Returns: The certificate and what its holder trusts.
    /// - Throws: `APIError` naming the rule that forbids it.
    package func admit(
        _ admission: AgentAdmission,
        csr: [UInt8],
        source: String
    ) async throws(APIError) -> AgentIdentity {
        let limiter = admission.isAnonymous ? attestationLimiter : renewalLimiter
        if let wait = limiter.take(1, of: source, now: clock.bootTime) {
            metrics.increment(.attestations, admission.name, "limited")
            if admission.isAnonymous {
                metrics.increment(.unauthenticatedRequests, admission.name)
            }
            throw APIError(
                .exhausted,
                "attestationRate",
                "too many attestations from \(source); try again in \(wait)"
            )
        }
        do {
            let identity = try await retrying {
                () throws(APIError) in try await issue(admission, csr: csr)
            }
            metrics.increment(.attestations, admission.name, "admitted")
            metrics.increment(.svidsIssued, SubjectRole.agent.rawValue)
            return identity
        } catch {
            metrics.increment(.attestations, admission.name, "refused")
            if case .renewal(let peer) = admission {
                await record(error, of: "renew", by: peer)
            } else {
                anonymous.count("\(admission.name)Refused")
                metrics.increment(.unauthenticatedRequests, admission.name)
            }
            throw error
        }
    }

    private func issue(
        _ admission: AgentAdmission,
        csr: [UInt8]
    ) async throws(APIError) -> AgentIdentity {
        try await requireClock()
        try requireSigner()
        let (logic, now) = (logic, clock.wallTime)
        let trust = try trust
        // Before anything is looked up, so that an unreadable request tells nothing of what exists.
        let request: CertificateRequest
        do {
            request = try CertificateRequest(der: csr)
        } catch {
            throw APIError(issuance: error)
        }
        let key = request.publicKey.spkiSHA256
        let name = try await read { transaction in
            try logic.admittedName(admission, key: key, now: now, in: transaction)
        }
        var batch = IssuanceBatch(issuer: trust.issuer)
        let prepared: PreparedCertificate
        do {
            let warrant = try trust.issuer.approveAgent(
                request,
                name: name,
                atAuthorityEnd: .cut,
                now: now
            )
            var generator = randomness
            prepared = try batch.prepare(warrant, using: &generator)
        } catch {
            throw APIError(issuance: error)
        }
        let (node, isNew, bundle) = try await write { transaction in
            let isNew = try transaction.node(named: name) == nil
            let node = try logic.commit(prepared, for: admission, now: now, in: transaction)
            // As it is in this moment: an authority may have been revoked since `trust` was read.
            return (node, isNew, try SyncContent.bundle(in: transaction))
        }
        if isNew { metrics.adjust(.agentsKnown, by: 1) }
        // From now on it is named when a change cannot reach it.
        hub.remembered(AgentName(node.name), selectors: node.selectors, mayBeLive: true)
        await forgetIfGone(node.name)
        let issued = try await sign(batch, with: trust)
        return AgentIdentity(
            certificateChain: issued.map(\.der) + trust.issuer.authority.presentedChain,
            bundle: bundle ?? trust.bundle,
            id: prepared.id
        )
    }

    /// Lets the hub forget a node that was banned or evicted while it was made known there.
    ///
    /// Its removal found nothing to remove, and nobody would remove it later.
    package func forgetIfGone(_ name: String) async {
        let stands = try? await read { transaction in
            try transaction.node(named: name).map { $0.ban == nil } ?? false
        }
        if stands == false { hub.removed(AgentName(name)) }
    }

    /// Tries again when what was prepared rests on something that changed before the commit, as an
    /// edit or a step of rotation may do at any moment.
    func retrying<Value>(
        _ attempt: () async throws(APIError) -> Value
    ) async throws(APIError) -> Value {
        for _ in 1..<Self.issuanceAttemptsMax {
            do throws(APIError) {
                return try await attempt()
            } catch  where error.isOvertaken {
                // The step is committed; it may not have been read yet.
                if error.reason == APIError.authorityChanged { await refreshTrust() }
            }
        }
        return try await attempt()
    }

    /// Signs workload certificates for an agent: each request gets its own answer.
    ///
    /// - Returns: For each, the certificate and what is between it and its root, or why there is none.
    /// - Throws: `APIError` when the caller may not ask at all, or the commit failed; then nothing
    ///   was signed.
    package func signWorkloads(
        _ requests: [WorkloadSigningRequest],
        for peer: VerifiedPeer
    ) async throws(APIError) -> [Result<[[UInt8]], APIError>] {
        guard !requests.isEmpty else {
            throw APIError(.invalidArgument, "batchEmpty", "ask for at least one certificate")
        }
        guard requests.count <= IssuanceBatch.certificatesMax else {
            throw APIError(
                .invalidArgument,
                "batchTooLarge",
                "at most \(IssuanceBatch.certificatesMax) certificates in one request"
            )
        }
        do {
            // A node that may not speak takes no place from the others.
            let (logic, start) = (logic, clock.bootTime)
            _ = try await read { try logic.standing(of: peer, in: $0) }
            try await requireClock()
            let agent = peer.id.description
            let waits = signingLine.waits(of: requests.map(\.spiffeID), agent: agent, now: start)
            let admitted = zip(requests, waits).filter { $1 == nil }.map(\.0)
            metrics.increment(
                .issuanceRefusals,
                by: requests.count - admitted.count,
                APIError.identityRate
            )
            var results: [Result<[[UInt8]], APIError>] = []
            if !admitted.isEmpty {
                let place = try await signingLine.enter(
                    agent: agent,
                    count: admitted.count,
                    expiresAt: admitted.compactMap(\.replacesNotAfter).min(),
                    identities: admitted.map(\.spiffeID),
                    now: start
                )
                defer { signingLine.leave(place) }
                results = try await retrying {
                    () throws(APIError) in try await signAdmitted(admitted, for: peer)
                }
            }
            metrics.observe(.issuanceDuration, clock.bootTime - start)
            return SigningLine.answers(results, waits: waits)
        } catch {
            await record(error, of: "sign", by: peer)
            throw error
        }
    }

    private func signAdmitted(
        _ requests: [WorkloadSigningRequest],
        for peer: VerifiedPeer
    ) async throws(APIError) -> [Result<[[UInt8]], APIError>] {
        // Not before the line: it may have failed meanwhile.
        try requireSigner()
        let (logic, now) = (logic, clock.wallTime)
        let trust = try trust
        let basis = try await read {
            try logic.signingBasis(for: peer, requests: requests, in: $0)
        }
        var batch = IssuanceBatch(issuer: trust.issuer)
        var generator = randomness
        let outcomes = logic.prepare(
            requests,
            on: basis,
            batch: &batch,
            issuer: trust.issuer,
            now: now,
            using: &generator
        )
        let certificates = batch.certificates
        let refusals = zip(requests, outcomes).compactMap { request, outcome in
            if case .refused(let error) = outcome { (request: request, error: error) } else { nil }
        }
        let proxies = ServerLogic.proxies(of: requests, outcomes)
        let leaves = leavesAllowed(for: refusals.count, of: .spiffe(peer.id))
        if !certificates.isEmpty || leaves > 0 {
            try await write { transaction in
                try logic.commitSigning(
                    certificates,
                    proxies: proxies,
                    refusals: refusals,
                    leavesMax: leaves,
                    on: basis,
                    for: peer,
                    now: now,
                    in: transaction
                )
            }
        }
        anonymous.count(Self.refusalsNotRecorded, by: refusals.count - leaves)
        let issued = certificates.isEmpty ? [] : try await sign(batch, with: trust)
        metrics.increment(.svidsIssued, by: issued.count, SubjectRole.workload.rawValue)
        for refusal in refusals { metrics.increment(.issuanceRefusals, refusal.error.reason) }
        let above = trust.issuer.authority.presentedChain
        return outcomes.map { outcome in
            switch outcome {
            case .prepared(let index): .success([issued[index].der] + above)
            case .refused(let error): .failure(error)
            }
        }
    }

    /// For what the server has certificates of its own.
    enum OwnUse {
        /// Serving the trust domain's bundle to other trust domains, by the authority that they know.
        case bundleEndpoint(authorityID: String)
        /// Serving agents and admins.
        case server

        fileprivate var role: SubjectRole {
            switch self {
            case .bundleEndpoint: .bundleEndpoint
            case .server: .server
            }
        }
    }

    /// Signs a certificate of the server's own.
    func signOwn(
        csr: [UInt8],
        for use: OwnUse
    ) async throws(APIError) -> (chain: [[UInt8]], certificate: PreparedCertificate) {
        let signed = try await retrying { () throws(APIError) in try await signOwn(csr, use) }
        metrics.increment(.svidsIssued, use.role.rawValue)
        return signed
    }

    private func signOwn(
        _ csr: [UInt8],
        _ use: OwnUse
    ) async throws(APIError) -> (chain: [[UInt8]], certificate: PreparedCertificate) {
        try await requireClock()
        try requireSigner()
        let (logic, now) = (logic, clock.wallTime)
        let trust = try trust
        if case .bundleEndpoint(let authorityID) = use, authorityID != trust.issuer.authority.id {
            throw APIError(
                .unavailable,
                APIError.authorityChanged,
                "the authority by which partners know the endpoint has just changed"
            )
        }
        var batch = IssuanceBatch(issuer: trust.issuer)
        let prepared: PreparedCertificate
        do {
            let request = try CertificateRequest(der: csr)
            var generator = randomness
            prepared = try batch.prepare(
                Self.warrant(for: use, request, trust.issuer, serverID: logic.serverID, now: now),
                using: &generator
            )
        } catch {
            throw APIError(issuance: error)
        }
        try await write { transaction in
            try logic.record(
                [prepared],
                namespaces: [:],
                agent: nil,
                node: "",
                by: .system("server"),
                now: now,
                in: transaction
            )
        }
        let chain = try await sign(batch, with: trust).map(\.der)
        return (chain + trust.issuer.authority.presentedChain, prepared)
    }

    private static func warrant(
        for use: OwnUse,
        _ request: CertificateRequest,
        _ issuer: Issuer,
        serverID: String,
        now: Date
    ) throws(IssuanceRefusal) -> IssuanceWarrant {
        switch use {
        case .bundleEndpoint:
            return try issuer.approveBundleEndpoint(request, atAuthorityEnd: .cut, now: now)
        case .server:
            return try issuer.approveServer(
                request,
                serverID: serverID,
                atAuthorityEnd: .cut,
                now: now
            )
        }
    }
}

extension ServerCore {
    /// Under which name refusals are summed up that have no leaf of their own.
    static let refusalsNotRecorded = "refusalsNotRecordedOneByOne"

    /// How many of a batch's refusals get a leaf: one agent must not fill the log.
    func leavesAllowed(for refusals: Int, of actor: Actor) -> Int {
        var allowed = 0
        while allowed < min(refusals, ServerLogic.refusalLeavesMax),
            refusalLimiter.take(1, of: actor.description, now: clock.bootTime) == nil
        {
            allowed += 1
        }
        return allowed
    }

    /// Records that a caller who proved an identity has no standing here.
    func record(_ error: any Error, of what: String, by peer: VerifiedPeer) async {
        guard let error = error as? APIError, error.kind == .permissionDenied else { return }
        await recordRefusal(of: what, "", error.message, by: .spiffe(peer.id))
    }

    /// Records that an authenticated caller was refused, at a bounded rate for each caller.
    func recordRefusal(
        of what: String,
        _ namespace: String,
        _ reason: String,
        by actor: Actor
    ) async {
        guard refusalLimiter.take(1, of: actor.description, now: clock.bootTime) == nil else {
            anonymous.count(Self.refusalsNotRecorded)
            return
        }
        let refusal = RequestRefusal(what: what, reason: reason, namespace: namespace)
        let now = clock.wallTime
        do {
            _ = try await write { transaction in
                try transaction.append(.requestRefused(refusal), by: actor, at: now)
            }
        } catch {
            logger.error("a refusal cannot be recorded", metadata: ["error": "\(error)"])
        }
    }
}

extension AgentAdmission {
    /// Whether the caller has shown no certificate.
    var isAnonymous: Bool {
        if case .renewal = self { false } else { true }
    }

    /// The name in metrics and summaries.
    var name: String {
        switch self {
        case .joinToken: "joinToken"
        case .readmission: "readmission"
        case .renewal: "renewal"
        }
    }
}
