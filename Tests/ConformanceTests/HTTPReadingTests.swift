// SPDX-License-Identifier: Apache-2.0

import Foundation
import HTTPCodec
import HTTPSemantics
import TestPrograms
import Testing

/// What is let through is read by nginx and HAProxy as it was read here (docs/decisions/0007).
///
/// Each case of `HTTPReading/cases.txt` goes through both, and what arrives behind them is compared
/// with what the relay reads. Where the two differ, or one of them differs from us, we refuse.
@Suite(.timeLimit(.minutes(2))) struct HTTPReadingTests {
    /// One request as somebody has read it.
    struct Reading: Hashable {
        var method: String
        /// With escapes resolved: a path that is let through has one form without them.
        var path: String
        var query: String
        var host: String
        var body: [UInt8]
    }

    /// What a program has made of a case.
    struct Verdict: Equatable {
        var requests: [Reading] = []
        /// Whether it refused what came after them.
        var isRefused = false
    }

    /// Requests that one of the two never serves, whatever their form; the other reads them as we
    /// do.
    static let unserved = [
        "options-star": "nginx", "trace": "nginx",
    ]

    @Test func `whenever two programs differ, we refuse`() async throws {
        let cases = try await Self.read()
        #expect(cases.count >= 150)
        var (differing, accepted, ownRefusals) = (0, 0, 0)
        for one in cases {
            let own = Self.own(one.bytes)
            if one.nginx.requests != one.haproxy.requests { differing += 1 }
            if own.isRefused { ownRefusals += 1 }
            accepted += own.requests.count
            for (name, other) in [("nginx", one.nginx), ("haproxy", one.haproxy)] {
                if Self.unserved[one.name] == name {
                    #expect(other.requests.isEmpty, "\(one.name): \(name) serves it after all")
                    continue
                }
                // What comes after a refusal is read by nobody behind us.
                let compared =
                    own.isRefused
                    ? Array(other.requests.prefix(own.requests.count)) : other.requests
                #expect(compared == own.requests, "\(one.name): \(name) reads it otherwise")
            }
        }
        // A corpus that all read alike, or that we refuse whole, would prove nothing.
        #expect(differing >= 60, "\(differing)")
        #expect(accepted >= 60, "\(accepted)")
        #expect(ownRefusals >= 150, "\(ownRefusals)")
    }

    // MARK: - Our reading

    private static func own(_ bytes: [UInt8]) -> Verdict {
        var (relay, head, verdict) = (RequestRelay(), RequestHead(), Verdict())
        var used = 0
        var pending: Reading?
        var body: [UInt8] = []
        while true {
            switch relay.next(bytes.span, from: used, using: &head) {
            case .needInput, .closed: return verdict
            case .refused:
                verdict.isRefused = true
                return verdict
            case .head(let count):
                pending = reading(head, Array(bytes[used..<(used + count)]))
                used += count
            case .body(let count):
                body += bytes[used..<(used + count)]
                used += count
            case .complete:
                if var request = pending.take() {
                    let isChunked = relay.traits.framing == .chunked
                    request.body = isChunked ? content(body) : body
                    verdict.requests.append(request)
                }
                body = []
                guard relay.answerEnded(keepsConnection: true) else { return verdict }
            }
        }
    }

    private static func reading(_ head: RequestHead, _ bytes: [UInt8]) -> Reading {
        func text(_ range: ByteRange) -> String {
            String(decoding: bytes[range.range], as: UTF8.self)
        }
        let request = head.request
        return Reading(
            method: text(request.methodName),
            path: decoded(text(request.path)),
            query: request.query.map(text) ?? "",
            host: text(request.authority.host).lowercased(),
            body: []
        )
    }

    /// The content of chunks that were let through.
    private static func content(_ bytes: [UInt8]) -> [UInt8] {
        var (body, used, content) = (ChunkedBody(), 0, [UInt8]())
        while !body.hasEnded {
            switch body.next(bytes.span, from: used) {
            case .framing(let count), .end(let count): used += count
            case .content(let count):
                content += bytes[used..<(used + count)]
                used += count
            case .needInput, .refused: return content
            }
        }
        return content
    }

    // MARK: - Theirs

    private struct Case {
        var name: String
        var bytes: [UInt8]
        var nginx: Verdict
        var haproxy: Verdict
    }

    private struct Line: Decodable {
        struct Request: Decodable {
            var method: String
            var path: String
            var query: String
            var host: String
            var body: String
        }

        struct Proxy: Decodable {
            var requests: [Request]
        }

        var name: String
        var bytes: String
        var nginx: Proxy
        var haproxy: Proxy
    }

    private static func read() async throws -> [Case] {
        let folder = Installation.repository.appending(path: "Tests/ConformanceTests/HTTPReading")
        // Short: a socket's path has at most 107 bytes.
        let work = "/tmp/sgr-\(UInt32.random(in: 0...UInt32.max))"
        try FileManager.default.createDirectory(atPath: work, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(atPath: work) }
        let program = try Program(
            try Installation.tool("python3"),
            [
                folder.appending(path: "read.py").path, folder.appending(path: "cases.txt").path,
                work,
            ],
            directory: work
        )
        let result = try await program.result()
        try #require(result.isSuccess, "\(result.errors)")
        return try result.output.split(separator: "\n").map { text in
            let line = try JSONDecoder().decode(Line.self, from: Data(text.utf8))
            return Case(
                name: line.name,
                bytes: bytes(hex: line.bytes),
                nginx: verdict(line.nginx),
                haproxy: verdict(line.haproxy)
            )
        }
    }

    private static func verdict(_ proxy: Line.Proxy) -> Verdict {
        let requests = proxy.requests.map { request in
            Reading(
                method: request.method,
                // HAProxy tells no path for `*`.
                path: request.path.isEmpty && request.method == "OPTIONS"
                    ? "*" : decoded(request.path),
                query: request.query,
                host: withoutPort(request.host.lowercased()),
                body: bytes(hex: request.body)
            )
        }
        return Verdict(requests: requests)
    }

    private static func withoutPort(_ host: String) -> String {
        guard let colon = host.lastIndex(of: ":"), !host.hasSuffix("]") else { return host }
        return String(host[..<colon])
    }

    /// The characters of a text that was read byte by byte, with escapes resolved.
    private static func decoded(_ text: String) -> String {
        var bytes: [UInt8] = []
        var rest = text.unicodeScalars[...]
        while let scalar = rest.popFirst() {
            let digits = String(String.UnicodeScalarView(rest.prefix(2)))
            if scalar == "%", digits.unicodeScalars.count == 2, let byte = UInt8(digits, radix: 16)
            {
                bytes.append(byte)
                rest = rest.dropFirst(2)
            } else {
                bytes.append(UInt8(truncatingIfNeeded: scalar.value))
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func bytes(hex: String) -> [UInt8] {
        let digits = Array(hex.utf8)
        return stride(from: 0, to: digits.count - 1, by: 2).map { place in
            let pair = String(decoding: digits[place..<(place + 2)], as: UTF8.self)
            return UInt8(pair, radix: 16) ?? 0
        }
    }
}
