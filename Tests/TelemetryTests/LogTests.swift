// SPDX-License-Identifier: Apache-2.0

import Foundation
import Logging
import Synchronization
import Telemetry
import Testing

struct LogTests {
    private final class Lines: Sendable {
        private let lines = Mutex<[String]>([])
        var all: [String] { lines.withLock { $0 } }
        func write(_ line: String) { lines.withLock { $0.append(line) } }
    }

    private func logger(_ format: LogFormat, _ lines: Lines) -> Logger {
        Logger(label: "test") { label in
            LineLogHandler(label: label, format: format, level: .info, write: lines.write)
        }
    }

    /// A line without its time, after checking the time.
    private func rest(of line: String, after prefix: String = "") throws -> String {
        let body = line.dropFirst(prefix.count)
        let time = body.prefix(24)
        let parsed = try Date(
            String(time),
            strategy: Date.ISO8601FormatStyle(includingFractionalSeconds: true)
        )
        #expect(abs(parsed.timeIntervalSinceNow) < 60)
        return String(body.dropFirst(24))
    }

    @Test func `a text line has level, logger, message and sorted metadata`() throws {
        let lines = Lines()
        var logger = logger(.text, lines)
        logger[metadataKey: "b"] = "2"
        logger.info("hello there", metadata: ["a": "one two", "c": ""])
        let line = try #require(lines.all.first)
        #expect(try rest(of: line) == " INFO test: hello there a=\"one two\" b=2 c=\"\"\n")
    }

    @Test(arguments: LogFormat.allCases)
    func `lines that are made many at a time look like those of a logger`(
        _ format: LogFormat
    ) throws {
        let values = [
            "plain", "", "two words", "a=b", "quo\"te", "back\\slash", "line\nfeed", "\u{7f}",
            "\u{9b}",
            "gr\u{fc}n", String(repeating: "x", count: LineLogHandler.valueBytesMax),
            String(repeating: "x", count: LineLogHandler.valueBytesMax + 1), "200",
        ]
        let lines = Lines()
        var many = LogLines(format, level: .info, label: "test", message: "access")
        for value in values {
            logger(format, lines).info("access", metadata: ["a": "\(value)", "b": "seven"])
            many.begin(at: Date().timeIntervalSince1970)
            many.field("a", value)
            many.field("b", "seven")
            many.end()
        }
        let prefix = format == .json ? "{\"time\":\"" : ""
        let made = String(decoding: many.bytes, as: UTF8.self).split(separator: "\n")
        #expect(made.count == values.count)
        for (one, other) in zip(made, lines.all) {
            let rests = try [String(one) + "\n", other].map { try rest(of: $0, after: prefix) }
            #expect(rests[0] == rests[1])
        }
        #expect(many.take().count { $0 == UInt8(ascii: "\n") } == values.count)
        #expect(many.bytes.isEmpty)
    }

    @Test(arguments: [
        (LogFormat.json, #""metadata":{"a":7,"b":-1,"c":18446744073709551615,"d":null}}"#),
        (LogFormat.text, #" a=7 b=-1 c=18446744073709551615 d="""#),
    ])
    func `a number is one in JSON, and without one there is nothing`(
        _ format: LogFormat,
        _ fields: String
    ) {
        var lines = LogLines(format, level: .info, label: "l", message: "m")
        lines.begin(at: 0)
        lines.field("a", 7)
        lines.field("b", -1)
        lines.field("c", UInt64.max)
        lines.field("d", UInt32?.none)
        lines.end()
        #expect(String(decoding: lines.bytes, as: UTF8.self).hasSuffix(fields + "\n"))
    }

    @Test func `the time of a line is that of the event, to the millisecond`() {
        var lines = LogLines(.text, level: .info, label: "l", message: "m")
        for time in [0, 0.0625, 1_767_225_599.5, 1_767_225_600, -1, 1e300, .infinity, .nan] {
            lines.begin(at: time)
            lines.end()
        }
        let times = String(decoding: lines.bytes, as: UTF8.self).split(separator: "\n")
            .map { $0.prefix(24) }
        #expect(
            times == [
                "1970-01-01T00:00:00.000Z", "1970-01-01T00:00:00.062Z", "2025-12-31T23:59:59.500Z",
                "2026-01-01T00:00:00.000Z", "1970-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z",
                "9999-12-31T23:59:59.999Z", "1970-01-01T00:00:00.000Z",
            ]
        )
    }

    @Test func `lines below the level are not written`() {
        let lines = Lines()
        logger(.text, lines).debug("quiet")
        #expect(lines.all.isEmpty)
    }

    @Test(arguments: LogFormat.allCases)
    func `nothing a peer sends starts a second line or moves a cursor`(_ format: LogFormat) {
        let lines = Lines()
        let evil = "x\n2026 ERROR forged\r\u{1b}[2J\u{0}\u{9b}\u{2028}end"
        logger(format, lines).error("\(evil)", metadata: ["\(evil)": "\(evil)"])
        #expect(lines.all.count == 1)
        let line = lines.all.joined()
        #expect(line.unicodeScalars.filter { $0 == "\n" }.count == 1)
        #expect(line.hasSuffix("\n"))
        let controls = line.unicodeScalars.dropLast().filter {
            $0.value < 0x20 || (0x7f...0x9f).contains($0.value) || $0 == "\u{2028}"
        }
        #expect(controls.isEmpty)
    }

    @Test func `a text value cannot pass for another key`() throws {
        let lines = Lines()
        logger(.text, lines).info("m", metadata: ["a": "1 b=2", "c": "d=3", "e": "\""])
        let line = try #require(lines.all.first)
        #expect(try rest(of: line) == " INFO test: m a=\"1 b=2\" c=\"d=3\" e=\"\\\"\"\n")
    }

    @Test func `a JSON line is one object`() throws {
        struct Line: Decodable, Equatable {
            struct Metadata: Decodable, Equatable {
                let list: [String]
                let map: [String: String]
                let number: String
                let text: String
            }
            let time: String
            let level: String
            let logger: String
            let message: String
            let metadata: Metadata
        }
        let lines = Lines()
        logger(.json, lines).warning(
            "say \"hi\"\n",
            metadata: [
                "list": ["a", "b"], "map": ["k": "v\\"], "number": .stringConvertible(7),
                "text": "\u{1F512}",
            ]
        )
        let line = try #require(lines.all.first)
        let decoded = try JSONDecoder().decode(Line.self, from: Data(line.utf8))
        #expect(decoded.level == "warning")
        #expect(decoded.logger == "test")
        #expect(decoded.message == "say \"hi\"\n")
        #expect(
            decoded.metadata
                == .init(list: ["a", "b"], map: ["k": "v\\"], number: "7", text: "\u{1F512}")
        )
        #expect(try rest(of: line, after: "{\"time\":\"").hasPrefix("\",\"level\":\"warning\","))
    }

    @Test(arguments: LogFormat.allCases)
    func `a long value is cut`(_ format: LogFormat) {
        let lines = Lines()
        let long = String(repeating: "é", count: LineLogHandler.valueBytesMax)
        logger(format, lines).info("\(long)", metadata: ["key": "\(long)"])
        let line = lines.all.joined()
        #expect(line.utf8.count < 2 * LineLogHandler.valueBytesMax + 200)
        #expect(line.utf8.count > 2 * LineLogHandler.valueBytesMax)
    }
}
