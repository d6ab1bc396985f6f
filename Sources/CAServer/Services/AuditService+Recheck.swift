// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Authorization
internal import Clocks
internal import ControlAPI
internal import ControlAPIProtos
internal import Datastore
internal import FoundationEssentials
internal import GRPCCore
internal import GRPCPeer
internal import Issuance
internal import SPIFFE
internal import SwiftProtobuf

/// Whether what was issued is what should have been.
extension AuditService {
    /// Most findings that are listed, so that neither side keeps more; the others are counted.
    static let recheckFindingsMax = 10_000
    /// How often a reader is told how far it is.
    static let recheckProgressInterval: Duration = .seconds(1)
    /// How long a reader may keep the whole answer waiting; then the recheck ends, so that others may
    /// run.
    static let recheckReadDuration: Duration = .seconds(60)
    /// How long it is waited at the beginning until what is committed is published.
    static let recheckPublishDuration: Duration = .seconds(5)

    private static let recheckQuestion = AdminQuestion.exactly(.auditRead)

    func recheck(
        request: Signet_Admin_V1alpha1_RecheckRequest,
        response: RPCWriter<Signet_Admin_V1alpha1_RecheckPart>,
        context: ServerContext
    ) async throws {
        // What is not the caller's to ask for costs nothing.
        try await gate.read(Self.recheckQuestion, context)
        let recheck = core.recheck
        try recheck.begin()
        defer { recheck.end() }
        let milliseconds = request.sinceUnixMilliseconds
        let since = milliseconds == 0 ? nil : Date(unixMilliseconds: milliseconds)
        let log = try await publishedLog(context)
        let (now, longest) = (core.clock.wallTime, core.logic.lifetimes.longestSVID)
        let today = core.ownStart
        var walk = try await gate.read(Self.recheckQuestion, context) { transaction, _ in
            try RecheckWalk(
                since: since,
                now: now,
                longest: longest,
                log: log,
                today: today,
                in: transaction
            )
        }
        var judge = RecheckJudge(logic: core.logic, today: walk.today)
        var total = RecheckVerdict()
        var listed = 0
        var toldAt = core.clock.bootTime
        var patience = Self.recheckReadDuration
        while !walk.isFinished {
            // Rights may end while it is read.
            let step = walk
            let (moved, page) = try await gate.read(Self.recheckQuestion, context) { log, _ in
                var walk = step
                let page = try walk.page(in: log)
                return (walk, page)
            }
            walk = moved
            let verdict = judge.judge(page, now: core.clock.wallTime)
            total.count(verdict)
            let findings = verdict.findings.prefix(Self.recheckFindingsMax - listed)
            listed += findings.count
            for finding in findings {
                try await send(
                    .with { $0.finding = finding.message },
                    response,
                    context.stream,
                    &patience
                )
            }
            let now = core.clock.bootTime
            if now - toldAt >= Self.recheckProgressInterval {
                toldAt = now
                let progress = walk.progress(certificates: total.certificates)
                try await send(
                    .with { $0.progress = progress },
                    response,
                    context.stream,
                    &patience
                )
            }
            // Whoever waits for a thread goes on between pages.
            await Task.yield()
        }
        let summary = total.summary(of: walk)
        try await send(.with { $0.summary = summary }, response, context.stream, &patience)
    }

    /// The log as it is published, once everything is that is committed now, or after a while.
    private func publishedLog(_ context: ServerContext) async throws -> RecheckLog {
        let audit = core.audit
        let (follower, published) = audit.follow()
        defer { audit.unfollow(follower) }
        let size = try await gate.read(Self.recheckQuestion, context) { log, _ in
            try log.auditSize()
        }
        let (clock, end) = (core.clock, core.clock.bootTime + Self.recheckPublishDuration)
        if audit.frontier.size < size {
            audit.poke()
            await withTaskGroup(of: Void.self) { group in
                group.addTask {
                    for await _ in published where audit.frontier.size >= size { return }
                }
                group.addTask { try? await clock.sleep(untilBoot: end) }
                _ = await group.next()
                group.cancelAll()
            }
        }
        let (frontier, directory) = (audit.frontier, audit.directory)
        return RecheckLog(size: frontier.size, committed: size, root: frontier.root) {
            try AuditPublisher.read($0, in: directory)
        }
    }

    /// Sends a part, and takes off what the reader has kept it waiting.
    private func send(
        _ part: Signet_Admin_V1alpha1_RecheckPart,
        _ response: RPCWriter<Signet_Admin_V1alpha1_RecheckPart>,
        _ stream: RequestStream?,
        _ patience: inout Duration
    ) async throws {
        let (clock, begun) = (core.clock, core.clock.bootTime)
        let end = begun + patience
        let isTaken = try await withThrowingTaskGroup(of: Bool.self) { group in
            group.addTask {
                try await response.write(part)
                await stream?.drained()
                return true
            }
            group.addTask {
                try await clock.sleep(untilBoot: end)
                return false
            }
            defer { group.cancelAll() }
            let isTaken = try await group.next() ?? false
            if !isTaken { stream?.end() }
            return isTaken
        }
        patience = max(.zero, patience - (clock.bootTime - begun))
        guard isTaken else {
            throw APIError(
                .unavailable,
                "recheckSlow",
                "the reader has kept the answer waiting for "
                    + "\(Self.recheckReadDuration.components.seconds) s"
            )
        }
    }
}

extension RecheckWalk {
    fileprivate func progress(
        certificates: UInt64
    ) -> Signet_Admin_V1alpha1_RecheckProgress {
        .with {
            $0.recordsRead = min(next, end) - first
            $0.records = end - first
            $0.certificates = certificates
        }
    }
}

extension RecheckVerdict {
    /// The numbers of everything.
    fileprivate func summary(of walk: RecheckWalk) -> Signet_Admin_V1alpha1_RecheckSummary {
        .with {
            $0.firstRecord = walk.first
            $0.endRecord = walk.end
            $0.certificates = certificates
            $0.findings = unlisted
            $0.notJudged = notJudged
            for (reason, count) in omissions { $0.notJudgedReasons[reason.rawValue] = count }
        }
    }
}

extension RecheckFinding {
    fileprivate var message: Signet_Admin_V1alpha1_RecheckFinding {
        .with {
            $0.name = name.rawValue
            $0.serial = Hexadecimal.text(serial)
            $0.spiffeID = spiffeID
            $0.record = leafIndex
            $0.detail = detail
        }
    }
}
