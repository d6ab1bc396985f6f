// SPDX-License-Identifier: Apache-2.0

import HTTPCodec
import HTTPSemantics
import TestSeeds
import Testing

/// Heads that were changed at random: what is let through must also look plain to a reader that
/// knows nothing but lines and colons.
@Suite struct MutatedHeadTests {
    private static let heads = [
        "GET /a/b?c=d HTTP/1.1\r\nHost: a.example\r\nX-A: b\r\n\r\n",
        "POST /p/%20 HTTP/1.1\r\nHost: a:81\r\nContent-Length: 12\r\nConnection: te\r\n\r\n",
        "PUT /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: [::1]\r\nExpect: 100-continue\r\n\r\n",
        "GET http://a.example/ HTTP/1.0\r\nHost: A.EXAMPLE\r\nConnection: keep-alive\r\n\r\n",
    ]
    /// What attacks are made of.
    private static let pieces = [
        "\r", "\n", "\r\n", " ", "\t", ":", "\u{0}", "\u{B}", "_", ",", ";", "%2e", "%2f", "%00",
        "//",
        "/../", "\\", "#", "chunked", "Content-Length: 1\r\n", "Transfer-Encoding: chunked\r\n",
        "Host: b\r\n", "+", "0", "\r\n\r\n", "HTTP/1.1", "x", "\u{E9}", "Connection: host\r\n",
    ]

    private func mutated(using generator: inout SeededGenerator) -> [UInt8] {
        var bytes = Array((Self.heads.randomElement(using: &generator) ?? "").utf8)
        for _ in 0..<Int.random(in: 1...3, using: &generator) {
            let place = Int.random(in: 0...bytes.count, using: &generator)
            switch Int.random(in: 0..<4, using: &generator) {
            case 0 where place < bytes.count: bytes.remove(at: place)
            case 1 where place < bytes.count:
                bytes[place] = UInt8.random(in: 0...255, using: &generator)
            case 2: bytes.insert(contentsOf: bytes[..<place].suffix(9), at: place)
            default:
                let piece = Self.pieces.randomElement(using: &generator) ?? ""
                bytes.insert(contentsOf: Array(piece.utf8), at: place)
            }
        }
        return bytes
    }

    /// Why a head that was let through is not plain after all; nil if it is.
    private func doubt(_ head: [UInt8]) -> String? {
        var text = String(decoding: head, as: UTF8.self).unicodeScalars[...]
        if text.starts(with: "\r\n".unicodeScalars) { text = text.dropFirst(2) }
        let plain = text.filter { $0 != "\r" && $0 != "\n" }
        guard plain.allSatisfy({ $0 >= " " && $0 != "\u{7F}" || $0 == "\t" }) else {
            return "a control character"
        }
        let lines = String(text).split(omittingEmptySubsequences: false) { $0 == "\r\n" }
        guard lines.count >= 3, lines.suffix(2).allSatisfy(\.isEmpty),
            !lines.dropLast(2).contains(where: { $0.contains("\r") || $0.contains("\n") })
        else { return "a line end of its own" }
        var values: [String: [String]] = [:]
        for line in lines.dropFirst().dropLast(2) {
            guard let colon = line.firstIndex(of: ":"), colon > line.startIndex else {
                return "a line without a name"
            }
            let name = line[..<colon].lowercased()
            guard !name.contains(" "), !name.contains("\t"), !name.contains("_") else {
                return "a name that is none"
            }
            values[name, default: []].append(String(line[line.index(after: colon)...]))
        }
        guard values["host"]?.count == 1 else { return "not one host" }
        let framing = (values["content-length"] ?? []) + (values["transfer-encoding"] ?? [])
        guard framing.count <= 1 else { return "two framings" }
        let words = lines[0].split(separator: " ", omittingEmptySubsequences: false)
        guard words.count == 3 else { return "a request line of \(words.count) words" }
        let path = words[1].split(separator: "?", omittingEmptySubsequences: false)[0].lowercased()
        let below = path.hasPrefix("http://") ? String(path.dropFirst(7)) : path
        let bad = ["//", "/./", "/../", "%2e", "%2f", "%5c", "%00", "\\", "#", ";", "%3f"]
        return bad.first { below.contains($0) }.map { "\($0) in a path" }
    }

    @Test(arguments: 0..<8 as Range<UInt64>)
    func `what is let through has one reading, however it arrives`(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var accepted = 0
        for _ in 0..<4000 {
            let bytes = mutated(using: &generator)
            let shown = String(decoding: bytes, as: UTF8.self).debugDescription
            var whole = RequestHead()
            var wholeEnd = HeadEnd()
            let step = whole.read(bytes.span, end: &wholeEnd)
            // In two parts, cut anywhere: only a refusal may come earlier.
            var (parts, end) = (RequestHead(), HeadEnd())
            let cut = Int.random(in: 0...bytes.count, using: &generator)
            let early = parts.read(bytes.span.extracting(..<cut), end: &end)
            let late = early == .needInput ? parts.read(bytes.span, end: &end) : early
            #expect(late == step, "seed \(seed), cut \(cut): \(shown)")
            guard case .head(let count) = step else { continue }
            accepted += 1
            let problem = doubt(Array(bytes[..<count]))
            #expect(problem == nil, "seed \(seed): \(problem ?? "") in \(shown)")
        }
        // A test of refusals alone would prove nothing about what is let through.
        #expect(accepted > 200)
    }
}
