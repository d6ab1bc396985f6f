// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import Dispatch
internal import FoundationEssentials
internal import HTTPSemantics
internal import Logging
internal import SPIFFE
internal import Synchronization
package import Telemetry

/// The access log: one line for each request or connection, among the lines of the log and in their
/// form, with the time at which it ended.
package final class AccessLog: Sendable {
    /// What is written at once; whoever reads the log gets whole lines.
    private static let batchBytes = 256 * 1024
    /// Most bytes that wait for whoever reads the log: some 20,000 lines, so that a reader that
    /// pauses for a second misses nothing, and one that hangs costs no more.
    package static let waitingBytesMax = 8 << 20
    /// How long the end of the process waits for the last lines, in seconds.
    private static let finishSeconds = 1.0

    private struct State {
        var lines: LogLines
        var waitingBytes = 0
    }

    private let state: Mutex<State>
    private let write: @Sendable ([UInt8]) -> Void
    /// Not the pool of the tasks: a reader of the log that hangs must keep nothing else from running.
    private let queue = DispatchQueue(label: "signet.proxy.access-log")

    /// A log without lines.
    ///
    /// - Parameters:
    ///   - format: How lines look.
    ///   - write: Takes whole lines; it may block, for nothing waits for it.
    package init(_ format: LogFormat, write: @escaping @Sendable ([UInt8]) -> Void) {
        state = Mutex(
            State(lines: LogLines(format, level: .info, label: "signet-proxy", message: "access"))
        )
        self.write = write
    }

    /// Has the lines of those records written that the access log is to tell of; never waits.
    ///
    /// - Returns: How many lines were dropped, because too many wait.
    package func tell(_ records: [ProxyRecord]) -> Int {
        state.withLock { state in
            var (dropped, count) = (0, 0)
            for record in records where record.isForAccessLog {
                Self.append(record, to: &state.lines)
                count += 1
                guard state.lines.bytes.count > Self.batchBytes else { continue }
                if !handOver(&state) { dropped += count }
                count = 0
            }
            if !handOver(&state) { dropped += count }
            return dropped
        }
    }

    /// Waits for the last lines, but not for a reader that hangs.
    package func finish() {
        let written = DispatchSemaphore(value: 0)
        queue.async { written.signal() }
        _ = written.wait(timeout: .now() + Self.finishSeconds)
    }

    /// - Returns: Whether there is room for the lines.
    private func handOver(_ state: inout State) -> Bool {
        let bytes = state.lines.take()
        guard !bytes.isEmpty else { return true }
        guard state.waitingBytes + bytes.count <= Self.waitingBytesMax else { return false }
        state.waitingBytes += bytes.count
        queue.async { [self] in
            write(bytes)
            self.state.withLock { $0.waitingBytes -= bytes.count }
        }
        return true
    }

    private static func append(_ record: ProxyRecord, to lines: inout LogLines) {
        lines.begin(at: record.time)
        lines.field("address", record.peerAddress.map { "\($0)" } ?? "")
        lines.field("bytes_received", record.bytesIn)
        lines.field("bytes_sent", record.bytesOut)
        lines.field("decision", record.decisionID?.description ?? "")
        lines.field("detail", record.detail)
        lines.field("direction", record.isInbound ? "inbound" : "outbound")
        lines.field("duration_ms", record.milliseconds)
        lines.field("kind", record.kind.rawValue)
        lines.field("listener", record.listener)
        lines.field("method", record.kind == .request ? record.methodName : "")
        lines.field("path", record.path)
        lines.field("peer", record.peer?.description ?? "")
        lines.field("reason", record.reason.rawValue)
        lines.field("response_code", record.status)
        lines.field("response_flags", record.reason.flags)
        lines.field("revision", record.revision)
        lines.field("shadow", record.shadowVerdict)
        lines.field("uid", record.uid)
        lines.end()
    }
}

extension ProxyRecord {
    /// What policies in shadow would have decided, if that is something else.
    fileprivate var shadowVerdict: String {
        guard let decision, decision.differsInShadow else { return "" }
        return decision.shadow.isAllowed ? "allowed" : "denied"
    }
}
