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

/// Has authorities of servers below certified by what certifies those of this one, one after the other
/// (docs/decisions/0020-authorities-under-another.md, "Nested").
struct DownstreamService: Sendable {
    let core: ServerCore
    /// A line of its own: whatever an agent asks for, the server's own authorities find theirs free.
    private let line = UpstreamLine()
    /// Askings of the upstream for one entry, whatever comes of them: what is signed and not committed
    /// is bounded by it.
    private let attempts = SourceLimiter(
        rate: 1 / Double(DownstreamLimits.interval.components.seconds),
        burst: 1
    )

    init(core: ServerCore) { self.core = core }

    /// Serves until cancelled.
    func run() async {
        while let order = await core.downstreamDesk.next(core.clock) {
            let answer: DownstreamDesk.Answer
            do throws(APIError) {
                answer = .success(try await certify(order.order, for: order.peer))
            } catch { answer = .failure(error) }
            core.downstreamDesk.finish(order, answer)
        }
        core.downstreamDesk.close()
    }

    private func certify(
        _ order: DownstreamOrder,
        for peer: VerifiedPeer
    ) async throws(APIError) -> [[UInt8]] {
        guard let upstream = core.upstream else { throw ServerCore.noUpstream }
        // What waits is most often above all that would be certified.
        let isOwnRevoked = core.waitingRevocations.withLock { !$0.isEmpty }
        guard !core.upstreamDesk.isInNeed, !isOwnRevoked else {
            throw APIError(
                .unavailable,
                "ownAuthorityFirst",
                "the server above waits for an authority of its own, which comes first; ask again in "
                    + "some seconds, with the same key",
                retryAfter: UpstreamService.retryDelay
            )
        }
        // By it the chain is judged.
        do throws(UpstreamError) {
            try await core.firstWord.wait(for: .below, core.clock)
        } catch {
            throw APIError(
                .unavailable,
                "upstream",
                "what certifies the authorities of the server above has not said yet what is revoked; "
                    + "ask again in some seconds, with the same key",
                retryAfter: UpstreamService.retryDelay
            )
        }
        let wait = attempts.take(1, of: order.entryID, now: core.clock.bootTime)
        if let wait { throw ServerLogic.tooSoon(wait) }
        // Something may have changed while it waited.
        let judged = try await core.judgeDownstream(order, for: peer)
        if let answer = judged.answer { return answer }
        await core.recordAbove()
        let chain = try await chain(for: order, judged.basis, from: upstream)
        do throws(APIError) {
            return try await commit(chain, of: order, for: peer)
        } catch {
            // It exists, and nobody has it.
            core.countUncommitted(order.request.publicKey.keyID, until: chain.notAfter)
            core.logger.warning(
                "an authority of a server below was certified and is given to nobody",
                metadata: [
                    "authority": "\(order.request.publicKey.keyID)", "entry": "\(order.entryID)",
                    "ends": "\(AuditTime(chain.notAfter))", "why": "\(error)",
                ]
            )
            throw error
        }
    }

    private func chain(
        for order: DownstreamOrder,
        _ basis: DownstreamBasis,
        from upstream: any UpstreamAuthority
    ) async throws(APIError) -> UpstreamChain {
        let request = UpstreamRequest(
            csr: order.request.der,
            lifetimeSeconds: basis.lifetimeSeconds,
            serverID: order.request.serverID
        )
        let answer: [[UInt8]]
        do throws(UpstreamError) {
            answer = try await line.certify(request, with: upstream, core.clock)
        } catch {
            core.logger.error(
                "the upstream certifies no authority of a server below",
                metadata: ["entry": "\(order.entryID)", "error": "\(error)"]
            )
            throw APIError(
                .unavailable,
                "upstream",
                "what certifies the authorities of the server above certifies none now; its log says "
                    + "why"
            )
        }
        let (logic, roots) = (core.logic, core.configuredRoots)
        let (expectation, trusted) = try await core.read { transaction in
            (
                try logic.downstreamExpectation(of: order, basis, in: transaction),
                try transaction.bundleRoots().filter { roots.contains($0.id) }
                    .map(\.certificateDER)
            )
        }
        do throws(UpstreamRefusal) {
            return try await UpstreamChain(
                checking: answer,
                below: trusted,
                expecting: expectation,
                now: core.clock.wallTime
            )
        } catch {
            core.logger.error(
                "what the upstream certified for a server below is refused",
                metadata: ["entry": "\(order.entryID)", "error": "\(error)"]
            )
            core.countUncommitted(
                order.request.publicKey.keyID,
                until: core.clock.wallTime + Double(basis.lifetimeSeconds)
            )
            throw APIError(upstream: error)
        }
    }

    private func commit(
        _ chain: UpstreamChain,
        of order: DownstreamOrder,
        for peer: VerifiedPeer
    ) async throws(APIError) -> [[UInt8]] {
        try await core.requireClock()
        try core.requireNotHeld()
        let keyID = order.request.publicKey.keyID
        let (logic, ground) = (core.logic, core.downstreamGround(for: keyID))
        let (record, answer) = try await core.write { transaction in
            try logic.commitDownstream(chain, of: order, for: peer, on: ground, in: transaction)
        }
        core.downstreamUncommitted.withLock { $0[keyID] = nil }
        core.metrics.increment(.downstreamRequests, "certified")
        core.logger.notice(
            "an authority of a server below was certified",
            metadata: [
                "authority": "\(record.id)", "entry": "\(record.entry.reference)",
                "node": "\(record.node)", "ends": "\(AuditTime(record.notAfter))",
            ]
        )
        await core.countDownstream()
        return answer
    }
}
