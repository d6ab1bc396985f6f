// SPDX-License-Identifier: Apache-2.0

import Authorization
import Foundation
import HTTPSemantics
import MTLSProxy
import SPIFFE
import Synchronization
import Telemetry
import Testing

/// What becomes of lines when whoever reads the log is slow, or there are many.
@Suite(.timeLimit(.minutes(1)))
struct AccessLogTests {
    /// Takes lines when it is let.
    private final class Pipe: Sendable {
        let text = Mutex<[UInt8]>([])
        let isOpen = DispatchSemaphore(value: 0)

        func write(_ bytes: [UInt8]) {
            isOpen.wait()
            isOpen.signal()
            text.withLock { $0 += bytes }
        }

        var lines: [Substring] {
            String(decoding: text.withLock { $0 }, as: UTF8.self)
                .split(separator: "\n", omittingEmptySubsequences: false)
        }
    }

    private func records(_ count: Int) throws -> [ProxyRecord] {
        let peer = try SPIFFEID("spiffe://example.org/\(String(repeating: "x", count: 200))")
        let address = IPAddress(ipv4: 0x7F00_0001)
        let policies = try CompiledPolicySet([])
        let record = ProxyRecord(
            policies.decide(
                policies.access(of: peer, in: peer.trustDomain, at: address, port: 80)
            ),
            id: DecisionID(instance: 1, revision: 1, worker: 0, count: 1),
            kind: .request,
            time: 1_767_225_600,
            listener: "web",
            peer: peer,
            address: address,
            revision: 1
        )
        return Array(repeating: record, count: count)
    }

    /// A line in JSON, numbers as numbers.
    private struct Line: Decodable {
        struct Fields: Decodable {
            var address: String
            var bytesReceived: UInt64
            var bytesSent: UInt64
            var decision: String
            var durationMs: UInt64
            var reason: String
            var responseCode: Int
            var responseFlags: String
            var revision: UInt64
            var uid: UInt32?
        }
        var message: String
        var metadata: Fields
    }

    private static func decode(_ line: Substring) throws -> Line {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return try decoder.decode(Line.self, from: Data(line.utf8))
    }

    /// What a log of these records has, line by line.
    private func lines(of records: [ProxyRecord], _ format: LogFormat) -> [Substring] {
        let text = Mutex<[UInt8]>([])
        let log = AccessLog(format) { bytes in text.withLock { $0 += bytes } }
        #expect(log.tell(records) == 0)
        log.finish()
        return String(decoding: text.withLock { $0 }, as: UTF8.self).split(separator: "\n")
    }

    @Test func `numbers are numbers in JSON, and one that is not there is null`() throws {
        var record = try #require(try records(1).first)
        (record.status, record.bytesIn, record.milliseconds) = (200, 1 << 40, 7)
        var known = record
        known.uid = 1000
        let read = try lines(of: [record, known], .json).map(Self.decode)
        #expect(read.map(\.message) == ["access", "access"])
        let first = try #require(read.first?.metadata)
        #expect(first.responseCode == 200 && first.bytesReceived == 1 << 40)
        #expect(first.durationMs == 7 && first.revision == 1 && first.bytesSent == 0)
        #expect(first.address == "127.0.0.1" && first.decision.count == 26)
        #expect(read.map(\.metadata.uid) == [nil, 1000])
        let text = lines(of: [record, known], .text)
        #expect(text[0].hasSuffix(" uid=\"\"") && text[1].hasSuffix(" uid=1000"))
        #expect(text[0].contains(" response_code=200 "))
    }

    @Test func `each reason has the flags that its documentation says`() throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
        let page = try String(
            contentsOf: root.appending(path: "docs/operations.md"),
            encoding: .utf8
        )
        let record = try #require(try records(1).first)
        for reason in ProxyReason.allCases {
            var told = record
            told.reason = reason
            let line = try #require(lines(of: [told], .json).first)
            let fields = try Self.decode(line).metadata
            #expect(fields.reason == reason.rawValue)
            let row = "\n| `\(reason.rawValue)` | `\(fields.responseFlags)` | "
            #expect(page.contains(row), "docs/operations.md: no row for \(row)")
        }
    }

    @Test(arguments: LogFormat.allCases)
    func `a reader that hangs holds nobody up, and lines that have no room are counted`(
        _ format: LogFormat
    ) throws {
        let pipe = Pipe()
        let log = AccessLog(format) { pipe.write($0) }
        let batch = try records(10_000)
        var (told, dropped) = (0, 0)
        while dropped == 0, told < 1_000_000 {
            dropped += log.tell(batch)
            told += batch.count
        }
        // It is dropped, and what came before waits.
        #expect(dropped > 0 && dropped < told)
        pipe.isOpen.signal()
        log.finish()
        // Only whole lines, and all that were not counted as dropped.
        let lines = pipe.lines
        #expect(lines.last == "")
        #expect(lines.count - 1 == told - dropped)
        #expect(Set(lines.dropLast()).count == 1)
        // There is room again.
        #expect(log.tell(try records(3)) == 0)
        log.finish()
        #expect(pipe.lines.count - 1 == told - dropped + 3)
    }

    @Test func `the end of the process does not wait for a reader that hangs`() throws {
        let pipe = Pipe()
        let log = AccessLog(.text) { pipe.write($0) }
        #expect(log.tell(try records(1)) == 0)
        log.finish()
        #expect(pipe.text.withLock { $0 }.isEmpty)
        pipe.isOpen.signal()
        log.finish()
        #expect(pipe.lines.count == 2)
    }
}
