// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import ControlAPIProtos
internal import FoundationEssentials
internal import GRPCCore
internal import GRPCPeer
internal import Logging
internal import NodeSync
internal import SPIFFE
internal import SwiftProtobuf
internal import Telemetry

/// The SPIFFE Workload API; the JWT profile is in an extension.
///
/// The caller is known by the kernel alone.
///
/// - SeeAlso: SPIFFE Workload API sections 4 and 5; docs/conformance.md rows E-* and A-*.
struct WorkloadAPIService: SpiffeWorkloadAPI.SimpleServiceProtocol {
    /// Most messages with long lists or bundles of many other trust domains that wait for their
    /// readers at a time: some 8 MB of lists, 32 MB more if all are of workloads that federate with
    /// 64 trust domains of the largest bundles, and as much again of their keys for tokens.
    static let listsAtOnceMax = 16
    /// Most of them of one user.
    static let listsPerUserMax = 4

    let core: AgentCore
    let callers: WorkloadCallers
    /// Long revocation lists, and other trust domains' bundles, go with every message.
    let large = LargeMessages(atOnceMax: listsAtOnceMax, perSourceMax: listsPerUserMax)
    /// Keys for tokens have turns of their own: who reads none of them holds up no SVIDs.
    let largeJWTBundles = LargeMessages(atOnceMax: listsAtOnceMax, perSourceMax: listsPerUserMax)

    func fetchX509SVID(
        request: X509SVIDRequest,
        response: RPCWriter<X509SVIDResponse>,
        context: ServerContext
    ) async throws {
        let shown = LastMessage<X509SVIDResponse>()
        try await serve("FetchX509SVID", .svids, context) { view, current in
            let lists = view.listsBesideSVIDs
            guard shown.news(in: view.x509SVIDResponse, lists: lists) != nil else { return view }
            return try await send(bytes: lists.bytes + view.federatedBytes, large, context) {
                guard let view = try current() else { return nil }
                let lists = view.listsBesideSVIDs
                var message = view.x509SVIDResponse
                guard let news = shown.news(in: message, lists: lists) else { return view }
                noteWithheld(lists, of: view)
                shown.replace(by: news)
                message.crl = lists.map { Data($0.der) }
                try await response.write(message)
                return view
            }
        }
    }

    func fetchX509Bundles(
        request: X509BundlesRequest,
        response: RPCWriter<X509BundlesResponse>,
        context: ServerContext
    ) async throws {
        let shown = LastMessage<X509BundlesResponse>()
        try await serve("FetchX509Bundles", .bundles, context) { view, current in
            let lists = view.listsBesideBundles
            guard shown.news(in: view.x509BundlesResponse, lists: lists) != nil else {
                return view
            }
            return try await send(bytes: lists.bytes + view.federatedBytes, large, context) {
                guard let view = try current() else { return nil }
                let lists = view.listsBesideBundles
                var message = view.x509BundlesResponse
                guard let news = shown.news(in: message, lists: lists) else { return view }
                noteWithheld(lists, of: view)
                shown.replace(by: news)
                message.crl = lists.map { Data($0.der) }
                try await response.write(message)
                return view
            }
        }
    }

    /// Writes a message, in its turn if it is long by what others decide: lists, and bundles of other
    /// trust domains.
    ///
    /// A client that does not take it in time is ended: it may connect again.
    ///
    /// - Parameters:
    ///   - bytes: What others decide of its length; the caller's own certificates are not counted.
    ///   - turns: Where it waits.
    ///   - context: Of the call.
    ///   - write: Makes the message, since one that waits is not to be a copy in memory, and writes
    ///     it.
    /// - Returns: What `write` returns: the view that the caller has now, nil if it has none.
    /// - Throws: What `write` throws; `CancellationError` when the caller leaves before its turn.
    func send(
        bytes: Int,
        _ turns: LargeMessages,
        _ context: ServerContext,
        _ write: @escaping @Sendable () async throws -> WorkloadView?
    ) async throws -> WorkloadView? {
        guard case .local(let peer) = try context.peer else { throw CancellationError() }
        let (stream, clock) = (context.stream, core.clock)
        return try await turns.send(
            bytes: bytes,
            to: .uid(peer.uid),
            on: stream,
            turn: {
                try await clock.sleep(untilBoot: clock.bootTime + LargeMessages.turnDuration)
            },
            isLate: { stream?.end() },
            write
        )
    }

    /// Says that a message goes without the lists of its view.
    private func noteWithheld(_ lists: [ShownRevocationList], of view: WorkloadView) {
        guard lists.isEmpty, !view.lists.isEmpty else { return }
        core.metrics.increment(.revocationListsWithheld)
        core.logger.warning(
            "revocation lists do not fit into a message beside its SVIDs and bundles: it goes without",
            metadata: ["svids": "\(view.svids.count)", "lists": "\(view.lists.count)"]
        )
    }

    // MARK: - Profiles that this version does not have

    func fetchWITSVID(
        request: WITSVIDRequest,
        response: RPCWriter<WITSVIDResponse>,
        context: ServerContext
    ) async throws {
        throw Self.unimplemented("WIT")
    }

    func fetchWITBundles(
        request: WITBundlesRequest,
        response: RPCWriter<WITBundlesResponse>,
        context: ServerContext
    ) async throws {
        throw Self.unimplemented("WIT")
    }

    private static func unimplemented(_ profile: String) -> RPCError {
        RPCError(code: .unimplemented, message: "the \(profile)-SVID profile is not provided")
    }

    // MARK: - One stream

    /// Attests the caller, who has a place among its user's as long as `body` runs.
    ///
    /// - Parameters:
    ///   - method: For metrics and the log.
    ///   - context: Of the call.
    ///   - body: What is done for the caller.
    /// - Returns: What `body` returns.
    /// - Throws: `RPCError` if the caller has no place or is not attested, and what `body` throws.
    func withCaller<Result>(
        _ method: String,
        _ context: ServerContext,
        _ body: (LocalPeer, WorkloadAttestation) async throws -> Result
    ) async throws -> Result {
        try await callers.with(context) {
            count(method, $0, $1)
        } body: { peer, attestation in
            try await body(peer, attestation)
        }
    }

    /// Writes what a view says, or nothing if that was written already.
    ///
    /// It asks for the `current` view in its turn, for which it may have waited: that throws if the
    /// caller does not run any more what it ran, and is nil if it is to be shown none by now.
    /// Returns the view that the caller has; nil if nothing was written.
    typealias Sending =
        @Sendable (
            _ view: WorkloadView,
            _ current: @escaping @Sendable () throws(RPCError) -> WorkloadView?
        ) async throws -> WorkloadView?

    /// Attests the caller and shows it its view, now and after each change, until it leaves.
    func serve(
        _ method: String,
        _ interest: WorkloadInterest,
        _ context: ServerContext,
        _ send: @escaping Sending
    ) async throws {
        let start = core.clock.bootTime
        try await withCaller(method, context) { peer, attestation in
            try await show(peer, attestation, interest, method, since: start, send)
        }
    }

    private func show(
        _ peer: LocalPeer,
        _ attestation: WorkloadAttestation,
        _ interest: WorkloadInterest,
        _ method: String,
        since start: Duration,
        _ send: @escaping Sending
    ) async throws {
        let stream = WorkloadStream()
        try await withRPCCancellationHandler {
            let id = core.subscribe(
                stream,
                selectors: attestation.selectors,
                interest: interest
            )
            defer { core.unsubscribe(id) }
            var shown: WorkloadView?
            // When a change of lists alone is told.
            var listsAt: Duration?
            var isOvertaken = false
            repeat {
                isOvertaken = false
                let answer = core.answer(for: id, after: shown)
                guard let view = try view(of: answer, for: peer, method), view != shown else {
                    listsAt = nil
                    continue
                }
                if let shown, view.differsInLists(alone: shown, for: interest) {
                    let now = core.clock.bootTime
                    let at = listsAt ?? now + view.listSpread * Double.random(in: 0..<1)
                    listsAt = at
                    if now < at { continue }
                }
                listsAt = nil
                let before = shown
                let sent = try await send(view) { () throws(RPCError) in
                    try peer.requireStillRuns(attestation.executable)
                    guard case .view(let now) = core.answer(for: id, after: before) else {
                        return nil
                    }
                    return now
                }
                guard let sent else {
                    isOvertaken = true
                    continue
                }
                if shown == nil {
                    count(method, "ok", peer)
                    core.metrics.observe(.fetchDuration, core.clock.bootTime - start)
                }
                shown = sent
            } while await isOvertaken ? true : stream.wait(until: listsAt, core.clock)
        } onCancelRPC: {
            stream.end()
        }
    }

    /// The view of an answer; nil if there is none yet.
    private func view(
        of answer: WorkloadAnswer,
        for peer: LocalPeer,
        _ method: String
    ) throws(RPCError) -> WorkloadView? {
        switch answer {
        case .denied:
            count(method, "denied", peer)
            throw RPCError(
                code: .permissionDenied,
                message: "no registration entry means this process; an admin can ask "
                    + "signet explain workload --pid \(peer.pid)"
            )
        case .unavailable(let reason):
            count(method, "unavailable", peer)
            throw RPCError(code: .unavailable, message: reason)
        case .wait: return nil
        case .view(let view): return view
        case .withdrawn:
            count(method, "denied", peer)
            throw RPCError(
                code: .permissionDenied,
                message: "the certificate was withdrawn: do not use it any more; its "
                    + "replacement is being signed, connect again"
            )
        }
    }

    func count(_ method: String, _ result: String, _ peer: LocalPeer) {
        core.metrics.increment(.workloadAPIRequests, method, result)
        core.logger.debug(
            "workload request",
            metadata: ["method": "\(method)", "result": "\(result)", "peer": "\(peer)"]
        )
    }
}

extension LocalPeer {
    /// Throws unless the caller still runs what it ran when it was attested.
    fileprivate func requireStillRuns(_ executable: FileIdentity?) throws(RPCError) {
        guard stillRuns(executable) else {
            throw RPCError(
                code: .permissionDenied,
                message: WorkloadAttestationError.executableReplaced.description
            )
        }
    }
}
