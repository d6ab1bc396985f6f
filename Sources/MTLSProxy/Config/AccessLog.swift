// SPDX-License-Identifier: Apache-2.0

internal import Authorization
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

    private let lines: Mutex<LogLines>
    private let write: @Sendable ([UInt8]) -> Void

    /// A log without lines.
    ///
    /// - Parameters:
    ///   - format: How lines look.
    ///   - write: Takes whole lines; it may block, for nothing but the log waits for it.
    package init(_ format: LogFormat, write: @escaping @Sendable ([UInt8]) -> Void) {
        lines = Mutex(
            LogLines(format, level: .info, label: "signet-proxy", message: "access")
        )
        self.write = write
    }

    /// Writes the lines of those records that the access log is to tell of.
    package func tell(_ records: [ProxyRecord]) {
        lines.withLock { lines in
            for record in records where record.isForAccessLog {
                Self.append(record, to: &lines)
                if lines.bytes.count > Self.batchBytes { flush(&lines) }
            }
            flush(&lines)
        }
    }

    private func flush(_ lines: inout LogLines) {
        guard !lines.bytes.isEmpty else { return }
        write(lines.bytes)
        lines.clear()
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
        lines.field("uid", record.uid.map { "\($0)" } ?? "")
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
