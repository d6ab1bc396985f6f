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
    private let trouble = UpstreamTrouble()
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
        // By it the chain is judged.
        try await core.firstWord.wait(for: .own, core.clock)
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
            _ = trouble.isNews(nil, of: .certificates)
        case .failure(let error):
            if case .refused = error { outcome = "refused" } else { outcome = "failed" }
            if trouble.isNews("\(error)", of: .certificates) {
                core.logger.error(
                    "the upstream certifies no authority; it is asked again each 10 s",
                    metadata: ["upstream": "\(upstream.kind.rawValue)", "error": "\(error)"]
                )
            }
        }
        await tellHealth()
        core.metrics.increment(.upstreamRequests, upstream.kind.rawValue, outcome)
    }

    /// Says what is wrong, also before an authority is due, or until when what is above lives.
    private func tellHealth() async {
        let above = await core.problemAbove()
        if trouble.isNews(above, of: .above), let above {
            core.logger.error(
                "the next authority will not be certified",
                metadata: ["upstream": "\(upstream.kind.rawValue)", "error": "\(above)"]
            )
        }
        let problems = [core.waitingProblem, trouble.problem].compactMap(\.self)
        guard !problems.isEmpty else { return await look() }
        let reason = problems.joined(separator: "; ") + (await signingEnd())
        core.health.unmet(Self.condition, reason: reason)
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
            core.firstWord.asked()
            do throws(UpstreamError) {
                try await upstream.watch { trust in await told(trust) }
                // Nothing will change any more.
                return
            } catch {
                guard !Task.isCancelled else { return }
                core.firstWord.failed(error)
                await notTold("\(error)", outcome: "failed")
            }
            try? await core.clock.sleep(untilBoot: core.clock.bootTime + Self.retryDelay)
        }
    }

    private func told(_ trust: UpstreamTrust) async {
        if let problem = trust.problem(of: core.logic.trustDomain) {
            await notTold("what it says is not taken: \(problem)", outcome: "refused")
        } else {
            core.upstreamTrust.withLock { $0 = trust }
            core.upstreamNamed.withLock { $0 = Set(trust.revokedKeyIDs.map(Hexadecimal.text)) }
            // What fails here is tried again.
            _ = try? await core.settleRevocations()
            core.revocationsNamed.signal()
            await core.settleRootsOrTell()
            core.metrics.increment(.upstreamTrusts, upstream.kind.rawValue, "taken")
            _ = trouble.isNews(nil, of: .trust)
            await tellHealth()
        }
        core.firstWord.said()
    }

    /// What was told before stays.
    private func notTold(_ problem: String, outcome: String) async {
        core.metrics.increment(.upstreamTrusts, upstream.kind.rawValue, outcome)
        if trouble.isNews(problem, of: .trust) {
            core.logger.error(
                "the upstream does not say what is above; what it said last stays",
                metadata: ["upstream": "\(upstream.kind.rawValue)", "error": "\(problem)"]
            )
        }
        await tellHealth()
    }

    // MARK: - Its life

    private func lookAtLife() async {
        while !Task.isCancelled {
            await tellHealth()
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
        // Something may have gone wrong meanwhile.
        guard trouble.problem == nil else { return }
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
        let remedy =
            upstream.kind == .disk
            ? "have another certificate made (pki/README.md)"
            : "see to it that the upstream has another certificate"
        core.health.unmet(
            Self.condition,
            reason: "\(first.keyIdentifier), above the authorities, ends at "
                + "\(AuditTime(first.notAfter)): \(remedy), then signet authority rotate"
        )
    }
}
