// SPDX-License-Identifier: Apache-2.0

internal import Clocks
package import ControlAPI
internal import Datastore
internal import FoundationEssentials
internal import Issuance
internal import Logging
package import SPIFFE
internal import Synchronization
internal import Telemetry

/// Servers below (docs/decisions/0020-authorities-under-another.md, "Nested").
extension ServerCore {
    /// Has an authority of a server below certified.
    ///
    /// Nothing of the request is believed but that the agent of a node makes it: which process holds
    /// the key is its word.
    ///
    /// - Parameters:
    ///   - entryID: The entry that the agent says the server has.
    ///   - csr: PKCS #10.
    ///   - lifetimeSeconds: How long from now the certificate shall be valid.
    ///   - peer: The agent.
    /// - Returns: DER of the certificate and of those above it, in order, without the root.
    /// - Throws: `APIError`, of each rule its own.
    package func certifyDownstream(
        entryID: String,
        csr: [UInt8],
        lifetimeSeconds: Int64,
        for peer: VerifiedPeer
    ) async throws(APIError) -> [[UInt8]] {
        do throws(APIError) {
            guard entryID.utf8.count <= DownstreamLimits.entryIDBytesMax else {
                throw APIError(
                    .invalidArgument,
                    "entryUnknown",
                    "the ID of an entry has at most \(DownstreamLimits.entryIDBytesMax) bytes"
                )
            }
            if let wait = downstreamLimiter.take(
                1,
                of: peer.id.description,
                now: clock.bootTime
            ) {
                throw APIError(
                    .exhausted,
                    "downstreamAgentRate",
                    "too many authorities are asked for by \(peer.id); try again in \(wait)",
                    retryAfter: wait
                )
            }
            // A node that may not speak has nothing read, and takes no place.
            let logic = logic
            _ = try await read { try logic.standing(of: peer, in: $0) }
            guard upstream != nil else { throw Self.noUpstream }
            try requireNotHeld()
            try await requireClock()
            let request: DownstreamRequest
            do throws(DownstreamRequestError) {
                request = try DownstreamRequest(der: csr, trustDomain: logic.trustDomain)
            } catch { throw APIError(.invalidArgument, error.name, error.description) }
            let order = DownstreamOrder(
                entryID: entryID,
                request: request,
                lifetimeSeconds: lifetimeSeconds
            )
            // Also when another one is being certified.
            if let answer = try await judgeDownstream(order, for: peer).answer {
                metrics.increment(.downstreamRequests, "repeated")
                return answer
            }
            return try await downstreamDesk.certify(order, for: peer, now: clock.bootTime)
        } catch {
            await recordRefusal(of: entryID, error, by: peer)
            throw error
        }
    }

    private func recordRefusal(
        of entryID: String,
        _ error: APIError,
        by peer: VerifiedPeer
    ) async {
        switch error.kind {
        case .conflict, .fault, .unavailable, .unimplemented:
            metrics.increment(.downstreamRequests, "failed")
        case .exhausted: metrics.increment(.downstreamRequests, "limited")
        case .failedPrecondition, .invalidArgument, .notFound, .permissionDenied, .unauthenticated:
            metrics.increment(.downstreamRequests, "refused")
            let source = "\(peer.id) \(error.reason)"
            guard downstreamRefusalLimiter.take(1, of: source, now: clock.bootTime) == nil else {
                anonymous.count(Self.refusalsNotRecorded)
                return
            }
            let what = "certify an authority for entry \(entryID.prefix(64))"
            await recordRefusal(of: what, "", error.description, by: .spiffe(peer.id))
        }
    }

    static let noUpstream = APIError(
        .failedPrecondition,
        "noUpstream",
        "the authorities of the server above are self-signed (upstream: none), and certify no others: "
            + "it needs an upstream of its own in its server.yaml"
    )

    /// What is gone by that is in no database, for a key.
    func downstreamGround(for keyID: String) -> DownstreamGround {
        let now = clock.wallTime
        let uncommitted = downstreamUncommitted.withLock { known in
            known = known.filter { $0.value > now }
            return known.count - (known[keyID] == nil ? 0 : 1)
        }
        return DownstreamGround(
            roots: configuredRoots,
            isBelowAgent: upstream?.kind == .agent,
            uncommitted: uncommitted,
            now: now
        )
    }

    /// Counts what was certified for a key and is on no record, until it ends.
    func countUncommitted(_ keyID: String, until end: Date) {
        downstreamUncommitted.withLock { $0[keyID] = max(end, $0[keyID] ?? end) }
    }

    /// Judges an order by what is known now.
    ///
    /// - Returns: What it rests on, and the answer that its key got before, if that is of use.
    /// - Throws: `APIError`: also that there is no room, if it has to be certified.
    func judgeDownstream(
        _ order: DownstreamOrder,
        for peer: VerifiedPeer
    ) async throws(APIError) -> (basis: DownstreamBasis, answer: [[UInt8]]?) {
        let (logic, ground) = (
            logic, downstreamGround(for: order.request.publicKey.keyID)
        )
        return try await read { transaction in
            let basis = try logic.downstreamBasis(of: order, for: peer, on: ground, in: transaction)
            let answer = try logic.downstreamAnswer(
                basis,
                to: order,
                on: ground,
                in: transaction
            )
            if answer == nil { try logic.requireRoom(for: basis, on: ground, in: transaction) }
            return (basis, answer)
        }
    }

    /// Deletes the records of authorities of servers below that have ended.
    ///
    /// - Throws: `APIError`.
    func forgetDownstream(now: Date) async throws(APIError) {
        let logic = logic
        if try await read({ try logic.hasForgettableDownstream(now: now, in: $0) }) {
            _ = try await write { try logic.forgetDownstream(now: now, in: $0) }
        }
        await countDownstream()
    }

    /// Tells how many authorities of servers below are valid.
    func countDownstream() async {
        let now = clock.wallTime
        guard let count = try? await read({ try $0.validDownstreamCount(at: now) }) else { return }
        metrics.set(.downstreamAuthorities, to: Double(count))
    }
}
