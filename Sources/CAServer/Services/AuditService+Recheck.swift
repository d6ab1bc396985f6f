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
    /// How long a reader may take for what it was sent; then the recheck ends, so that others may run.
    static let recheckReadDuration: Duration = .seconds(30)

    private static let recheckQuestion = AdminQuestion.exactly(.auditRead)

    func recheck(
        request: Signet_Admin_V1alpha1_RecheckRequest,
        response: RPCWriter<Signet_Admin_V1alpha1_RecheckPart>,
        context: ServerContext
    ) async throws {
        // What is not the caller's to ask for costs nothing.
        try await gate.read(Self.recheckQuestion, context)
        let desk = core.recheckDesk
        try desk.begin()
        defer { desk.end() }
        let milliseconds = request.sinceUnixMilliseconds
        let since = milliseconds == 0 ? nil : Date(unixMilliseconds: milliseconds)
        let longest = core.logic.lifetimes.longestSVID / .seconds(1)
        let keptSince = core.clock.wallTime
            .addingTimeInterval(-longest - Retention.expiredIntentSeconds)
        var walk = try await gate.read(Self.recheckQuestion, context) { transaction, _ in
            try RecheckWalk(since: since, keptSince: keptSince, in: transaction)
        }
        var judge = RecheckJudge(logic: core.logic, today: walk.today)
        var total = RecheckVerdict()
        var listed = 0
        var toldAt = core.clock.bootTime
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
                try await send(.with { $0.finding = finding.message }, response, context.stream)
            }
            let now = core.clock.bootTime
            if now - toldAt >= Self.recheckProgressInterval {
                toldAt = now
                let progress = walk.progress(certificates: total.certificates)
                try await send(.with { $0.progress = progress }, response, context.stream)
            }
            // Whoever waits for a thread goes on between pages.
            await Task.yield()
        }
        try await response.write(.with { $0.summary = total.summary(of: walk) })
    }

    private func send(
        _ part: Signet_Admin_V1alpha1_RecheckPart,
        _ response: RPCWriter<Signet_Admin_V1alpha1_RecheckPart>,
        _ stream: RequestStream?
    ) async throws {
        let clock = core.clock
        let end = clock.bootTime + Self.recheckReadDuration
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
        guard isTaken else {
            throw APIError(
                .unavailable,
                "recheckSlow",
                "nothing of the answer was taken for "
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
            $0.recordsRead = next - first
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
