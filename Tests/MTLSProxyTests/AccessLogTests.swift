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
            policies.decide(policies.access(of: peer, at: address, port: 80)),
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
