// SPDX-License-Identifier: Apache-2.0

import NIOCore
import TestPrograms

/// A client of the Workload API that speaks HTTP/2 by hand: of each message it takes one byte, and the
/// rest when it has seen enough.
struct SlowReader: Sendable {
    struct Ended: Error {}

    private enum Kind {
        static let data: UInt8 = 0
        static let headers: UInt8 = 1
        static let reset: UInt8 = 3
        static let settings: UInt8 = 4
        static let windowUpdate: UInt8 = 8
    }

    /// Ends a stream, and answers settings.
    private static let endOrAnswer: UInt8 = 1
    private static let endOfHeaders: UInt8 = 4

    /// Frames as they come.
    private struct Frames {
        private var pending: [UInt8] = []
        /// Bytes of messages, by stream.
        private(set) var taken: [UInt32: Int] = [:]
        private(set) var ended: Set<UInt32> = []
        private(set) var settings = 0

        mutating func take(_ bytes: ByteBuffer) {
            pending += bytes.readableBytesView
            while pending.count >= 9 {
                let length = pending[..<3].reduce(0) { $0 << 8 | Int($1) }
                guard pending.count >= 9 + length else { return }
                let stream = pending[5..<9].reduce(0) { $0 << 8 | UInt32($1) }
                let (kind, flags) = (pending[3], pending[4])
                pending.removeFirst(9 + length)
                let isLast = flags & SlowReader.endOrAnswer != 0
                switch kind {
                case Kind.data: taken[stream, default: 0] += length
                case Kind.settings where !isLast: settings += 1
                default: break
                }
                if kind == Kind.reset || kind <= Kind.headers && isLast { ended.insert(stream) }
            }
        }
    }

    let path: String
    let streams: Int

    private var ids: [UInt32] { (0..<streams).map { UInt32($0) * 2 + 1 } }

    /// Opens the streams and reads them to their ends.
    ///
    /// - Parameters:
    ///   - socket: The agent's.
    ///   - count: How many messages are waited for, of which a byte each is taken.
    ///   - act: What happens then, before the rest is taken.
    /// - Returns: How many bytes of messages came on each stream.
    /// - Throws: `Ended` if the connection ends before the streams do.
    func read(
        at socket: String,
        untilTaking count: Int,
        _ act: @Sendable @escaping () -> Void
    ) async throws -> [Int] {
        try await UnixClient.connect(to: socket).executeThenClose { inbound, outbound in
            try await outbound.write(ByteBuffer(bytes: opening))
            var frames = Frames()
            var (answered, isReading) = (0, false)
            for try await part in inbound {
                frames.take(part)
                for _ in answered..<frames.settings {
                    let answer = Self.frame(Kind.settings, Self.endOrAnswer)
                    try await outbound.write(ByteBuffer(bytes: answer))
                }
                answered = frames.settings
                if !isReading, frames.taken.count == count {
                    isReading = true
                    act()
                    try await outbound.write(ByteBuffer(bytes: windows))
                }
                if frames.ended.count == streams { return ids.map { frames.taken[$0] ?? 0 } }
            }
            throw Ended()
        }
    }

    /// The beginning of a connection on which a stream takes one byte, and the requests.
    private var opening: [UInt8] {
        // SETTINGS_INITIAL_WINDOW_SIZE.
        let settings = Self.frame(Kind.settings, [0, 4, 0, 0, 0, 1])
        let headers = [
            (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "agent"),
            ("content-type", "application/grpc"), ("te", "trailers"),
            ("workload.spiffe.io", "true"),
        ]
        // Literals without indexing, nothing of them compressed (RFC 7541 section 6.2.2).
        let block = headers.flatMap { name, value in
            [0, UInt8(name.utf8.count)] + name.utf8 + [UInt8(value.utf8.count)] + value.utf8
        }
        let requests = ids.flatMap { id in
            Self.frame(Kind.headers, Self.endOfHeaders, id, block)
                + Self.frame(Kind.data, Self.endOrAnswer, id, [0, 0, 0, 0, 0])
        }
        return Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + settings + requests
    }

    /// Room for everything, on each stream and the connection.
    private var windows: [UInt8] {
        ([0] + ids).flatMap { Self.frame(Kind.windowUpdate, 0, $0, [0, 16, 0, 0]) }
    }

    private static func frame(_ kind: UInt8, _ payload: [UInt8]) -> [UInt8] {
        frame(kind, 0, 0, payload)
    }

    private static func frame(
        _ kind: UInt8,
        _ flags: UInt8,
        _ stream: UInt32 = 0,
        _ payload: [UInt8] = []
    ) -> [UInt8] {
        let (length, id) = (payload.count, [24, 16, 8, 0].map { UInt8(stream >> $0 & 255) })
        return [UInt8(length >> 16), UInt8(length >> 8 & 255), UInt8(length & 255), kind, flags]
            + id + payload
    }
}
