// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Clocks
internal import ControlAPI
internal import Datastore
internal import FoundationEssentials
internal import Issuance
internal import Logging
internal import SPIFFE
internal import Synchronization
internal import Telemetry

/// Asks the upstream in a task of its own, beside the rotation, which must not wait: revocations
/// pass there.
package struct UpstreamService: Sendable {
    /// The condition in health; readiness is independent of it.
    package static let condition = "upstream"
    /// How often it is looked how long what is above lives on.
    package static let lookInterval: Duration = .seconds(60)
    /// How long after a failed watch it is begun again, and after a failed answer it is asked again.
    package static let retryDelay: Duration = .seconds(10)

    let core: ServerCore
    let upstream: any UpstreamAuthority
    private let trouble = LastTold()
    private let line = UpstreamLine()

    package init(core: ServerCore, upstream: any UpstreamAuthority) {
        self.core = core
        self.upstream = upstream
    }

    /// Serves until cancelled.
    package func run() async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await answerOrders() }
            group.addTask { await watch() }
            group.addTask { await lookAtLife() }
            await group.waitForAll()
        }
    }

    // MARK: - Certificates

    /// After a failure it asks again whoever needs it: nobody may for half a day, and health says
    /// until then what was wrong.
    private func answerOrders() async {
        var retryAt: Duration?
        while let candidate = await core.upstreamDesk.order(retryingAt: retryAt, core.clock) {
            let result: Result<UpstreamChain, UpstreamError>
            do throws(UpstreamError) {
                result = .success(try await certify(candidate))
            } catch { result = .failure(error) }
            guard !Task.isCancelled else { return }
            await report(result)
            if case .failure = result {
                retryAt = core.clock.bootTime + Self.retryDelay
            } else {
                retryAt = nil
            }
            core.upstreamDesk.answer(candidate.id, result)
            core.rotationDesk.wakeUp()
        }
    }

    private func certify(
        _ candidate: UpstreamDesk.Candidate
    ) async throws(UpstreamError) -> UpstreamChain {
        let request = UpstreamRequest(
            csr: candidate.csr,
            lifetimeSeconds: core.logic.lifetimes.authority.components.seconds
        )
        // Whoever has a key that is above may be known before anything is published below it.
        await core.recordAbove()
        let chain = try await line.certify(request, with: upstream, core.clock)
        let (logic, configured) = (core.logic, core.configuredRoots)
        // By a clock that is behind none enters the bundle before somebody accepts it, and then they
        // enter with the authority that is asked for here.
        let entering =
            await core.isClockBelieved() ? [] : core.livingRoots(at: core.clock.wallTime)
        let spki = candidate.signer.subjectPublicKeyInfo
        let expectation: UpstreamChain.Expectation
        let roots: [[UInt8]]
        do throws(APIError) {
            (expectation, roots) = try await core.read { transaction in
                (
                    try logic.upstreamExpectation(spki: spki, in: transaction),
                    // One that is only in the bundle still is to leave it.
                    try transaction.bundleRoots().filter { configured.contains($0.id) }
                        .map(\.certificateDER) + entering
                )
            }
        } catch { throw .unavailable("what is known of authorities cannot be read: \(error)") }
        do throws(UpstreamRefusal) {
            return try await UpstreamChain(
                checking: chain,
                below: roots,
                expecting: expectation,
                now: core.clock.wallTime
            )
        } catch { throw .refused(error.description) }
    }

    private func report(_ result: Result<UpstreamChain, UpstreamError>) async {
        let outcome: String
        switch result {
        case .success:
            outcome = "certified"
            _ = trouble.isNews(nil)
            await look()
        case .failure(let error):
            if case .refused = error { outcome = "refused" } else { outcome = "failed" }
            if trouble.isNews(error.description) {
                core.logger.error(
                    "the upstream certifies no authority; it is asked again each 10 s",
                    metadata: ["upstream": "\(upstream.kind.rawValue)", "error": "\(error)"]
                )
            }
            core.health.unmet(Self.condition, reason: "\(error)\(await signingEnd())")
        }
        core.metrics.increment(.upstreamRequests, upstream.kind.rawValue, outcome)
    }

    /// Until when SVIDs are signed if nothing changes.
    private func signingEnd() async -> String {
        let serverID = core.logic.serverID
        let active: AuthorityRecord?
        do throws(APIError) {
            active = try await core.read { transaction in
                try transaction.authorities().first {
                    $0.serverID == serverID && $0.state == AuthorityRecord.activeState
                }
            }
        } catch { return "" }
        guard let end = active?.notAfter else { return "; nothing can be signed" }
        return "; the active authority signs until \(AuditTime(end))"
    }

    // MARK: - What is above

    private func watch() async {
        while !Task.isCancelled {
            do throws(UpstreamError) {
                try await upstream.watch { trust in await told(trust) }
                // Nothing will change any more.
                return
            } catch {
                core.logger.error(
                    "the upstream does not say what is above",
                    metadata: ["upstream": "\(upstream.kind.rawValue)", "error": "\(error)"]
                )
            }
            try? await core.clock.sleep(untilBoot: core.clock.bootTime + Self.retryDelay)
        }
    }

    private func told(_ trust: UpstreamTrust) async {
        if let problem = trust.problem {
            core.logger.error(
                "what the upstream says is not taken",
                metadata: ["why": "\(problem)"]
            )
            return
        }
        core.upstreamTrust.withLock { $0 = trust }
        await core.settleRootsOrTell()
    }

    // MARK: - Its life

    private func lookAtLife() async {
        while !Task.isCancelled {
            if trouble.isQuiet { await look() }
            try? await core.clock.sleep(untilBoot: core.clock.bootTime + Self.lookInterval)
        }
    }

    /// Says until when what is above lives, once that is near.
    private func look() async {
        let (serverID, now) = (core.logic.serverID, core.clock.wallTime)
        let above: [UpstreamRecord]?
        do throws(APIError) {
            above = try await core.read { transaction in
                let newest = try transaction.bundleAuthorities().last {
                    $0.serverID == serverID && $0.ancestry != nil
                }
                return try newest?.ancestry?.keyIDs.compactMap { try transaction.upstream(id: $0) }
            }
        } catch {
            // What was said before stays: nobody knows better.
            return
        }
        let lives = (above ?? []).compactMap { try? LeafCertificate(der: $0.certificateDER) }
        guard let first = lives.min(by: { $0.notAfter < $1.notAfter }) else {
            core.health.met(Self.condition)
            return
        }
        core.metrics.set(.upstreamNotAfter, to: first.notAfter.timeIntervalSince1970)
        let life = first.notAfter.timeIntervalSince(first.notBefore)
        guard now >= first.notAfter.addingTimeInterval(-life / 3) else {
            core.health.met(Self.condition)
            return
        }
        core.health.unmet(
            Self.condition,
            reason: "\(first.keyIdentifier), above the authorities, ends at "
                + "\(AuditTime(first.notAfter)): have another certificate made (pki/README.md), then "
                + "signet authority rotate"
        )
    }
}

extension ServerCore {
    /// Deletes the records of what was above authorities and has ended.
    ///
    /// - Throws: `APIError`.
    func forgetUpstreams(now: Date) async throws(APIError) {
        let logic = logic
        guard try await read({ try logic.hasForgettableUpstream(now: now, in: $0) }) else { return }
        let forgotten = try await write { try logic.forgetUpstreams(now: now, in: $0) }
        if !forgotten.isEmpty { await refreshTrust() }
    }

    /// DER of the roots that are configured, or that the upstream names, and have not ended.
    func livingRoots(at now: Date) -> [[UInt8]] {
        upstreamTrust.withLock { $0 }?.roots(livingAt: now) ?? []
    }

    /// The key IDs of the roots that are configured, or that the upstream names.
    var configuredRoots: Set<String> {
        UpstreamTrust.keyIDs(of: livingRoots(at: clock.wallTime))
    }

    /// Records what the upstream certifies with, though nothing is published below it yet: whoever
    /// has its key makes authorities with it, so that it can be tainted and revoked.
    func recordAbove() async {
        let (logic, now) = (logic, clock.wallTime)
        let roots = upstreamTrust.withLock { $0 }?.roots ?? []
        guard let chain = upstream?.above, let last = chain.last,
            let root = UpstreamChain.root(above: last, among: roots)
        else { return }
        do {
            try await AuthorityPath.check(chain, to: root, of: logic.trustDomain, now: now)
        } catch {
            // Nobody believes what is below; the next authority's refusal says why.
            return
        }
        do throws(APIError) {
            let isKnown = try await read { transaction in
                try logic.unrecorded(chain, now: now, in: transaction).isEmpty
            }
            guard !isKnown else { return }
            try await write { transaction in
                for record in try logic.unrecorded(chain, now: now, in: transaction) {
                    try transaction.put(record)
                }
            }
        } catch {
            logger.error(
                "what is above authorities cannot be recorded",
                metadata: ["error": "\(error)"]
            )
        }
    }

    /// Publishes and removes roots as the upstream, or the configuration, names them.
    ///
    /// - Throws: `APIError`.
    func settleRoots() async throws(APIError) {
        guard let trust = upstreamTrust.withLock({ $0 }) else { return }
        let (logic, now) = (logic, clock.wallTime)
        let roots = trust.roots(livingAt: now)
        guard try await read({ try !logic.rootChanges(roots, in: $0).isEmpty }) else { return }
        let changes = try await write { try logic.settleRoots(roots, now: now, in: $0) }
        await refreshTrust()
        for id in changes.published.map(\.id) {
            logger.notice("a root was published", metadata: ["root": "\(id)"])
        }
        for root in changes.removed {
            logger.notice("a root was removed", metadata: ["root": "\(root.id)"])
        }
    }

    /// The same while it serves: what cannot be done now is told once, and done later.
    func settleRootsOrTell() async {
        guard await isClockBelieved() else { return }
        do throws(APIError) {
            try await settleRoots()
            _ = rootsTold.isNews(nil)
        } catch {
            guard rootsTold.isNews("\(error)") else { return }
            logger.error(
                "roots cannot be published or removed; it is tried again each minute",
                metadata: ["error": "\(error)"]
            )
        }
    }
}
