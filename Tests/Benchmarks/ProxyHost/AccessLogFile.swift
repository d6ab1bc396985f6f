// SPDX-License-Identifier: Apache-2.0

internal import Dispatch
internal import Glibc
internal import HTTPSemantics
internal import MTLSProxy
internal import SPIFFE
internal import Synchronization

/// Takes the engine's records every so often and writes a line of JSON for each.
final class AccessLogFile: Sendable {
    /// Often enough for the records of one worker at 50,000 requests a second.
    private static let pause = DispatchTimeInterval.milliseconds(50)

    private let engine: ProxyEngine
    private let descriptor: Int32
    private let queue = DispatchQueue(label: "access-log")
    private let timer: Mutex<(any DispatchSourceTimer)?> = Mutex(nil)

    init(path: String, engine: ProxyEngine) throws {
        self.engine = engine
        descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw AccessLogError.cannotOpen(path, errno) }
    }

    func start() {
        timer.withLock { slot in
            let source = DispatchSource.makeTimerSource(queue: queue)
            source.schedule(deadline: .now() + Self.pause, repeating: Self.pause)
            source.setEventHandler { [self] in write() }
            source.activate()
            slot = source
        }
    }

    /// Writes what is left.
    func finish() {
        timer.withLock { $0?.cancel() }
        queue.sync { write() }
    }

    private func write() {
        let records = engine.takeRecords().records
        guard !records.isEmpty else { return }
        var text: [UInt8] = []
        text.reserveCapacity(records.count * 256)
        for record in records { Self.append(record, to: &text) }
        unsafe text.withUnsafeBytes { bytes in
            var done = 0
            while done < bytes.count {
                let rest = unsafe UnsafeRawBufferPointer(rebasing: bytes[done...])
                let written = unsafe Glibc.write(descriptor, rest.baseAddress, rest.count)
                // The lines that are missing then are noticed by signet-bench.
                guard written > 0 else { return }
                done += written
            }
        }
    }

    private static func append(_ record: ProxyRecord, to text: inout [UInt8]) {
        func add(_ name: StaticString, _ value: some CustomStringConvertible) {
            text.append(contentsOf: "\(name)\(value)".utf8)
        }
        add("{\"time\":", record.time)
        add(",\"listener\":\"", record.listener)
        add("\",\"method\":\"", record.method.name ?? "")
        add("\",\"path\":\"", "")
        for byte in record.path.utf8 { Self.append(escaping: byte, to: &text) }
        add("\",\"status\":", record.status)
        add(",\"flags\":\"", record.reason.rawValue)
        add("\",\"received\":", record.bytesIn)
        add(",\"sent\":", record.bytesOut)
        add(",\"duration\":", record.milliseconds)
        add(",\"peer\":\"", record.peer?.description ?? "")
        add("\",\"from\":\"", record.peerAddress?.description ?? "")
        text.append(contentsOf: "\"}\n".utf8)
    }
}

extension AccessLogFile {
    /// A byte as it stands in a string of JSON.
    private static func append(escaping byte: UInt8, to text: inout [UInt8]) {
        if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") || byte < 0x20 {
            text.append(contentsOf: "\\u00".utf8)
            let digits = Array("0123456789abcdef".utf8)
            text.append(digits[Int(byte >> 4)])
            text.append(digits[Int(byte & 15)])
        } else {
            text.append(byte)
        }
    }
}

/// Why there is no access log.
enum AccessLogError: Error {
    case cannotOpen(String, Int32)
}
