// SPDX-License-Identifier: Apache-2.0

internal import HTTPCodec
internal import HTTPSemantics

/// A chunked body is the same however it arrives, and as somebody reads it who splits at line ends.
enum HTTPChunkedBodyProperty {
    static func check(_ input: [UInt8]) throws(PropertyBroken) -> Bool {
        let whole = read(input, piece: max(1, input.count))
        for piece in [1, 2, 3, 7] {
            try expect(read(input, piece: piece) == whole, "in pieces of \(piece)")
        }
        guard case .end = whole.last else { return false }
        var (rest, content) = (input[...], [UInt8]())
        while true {
            guard let end = rest.firstIndex(of: 0x0D),
                let size = Int(String(decoding: rest[..<end], as: UTF8.self), radix: 16)
            else { throw PropertyBroken("a size that is none") }
            rest = rest[(end + 2)...]
            guard size > 0 else { break }
            content += rest.prefix(size)
            rest = rest.dropFirst(size + 2)
        }
        try expect(content == whole.content, "another content")
        try expect(rest.startIndex + 2 == whole.used, "another end")
        return true
    }

    private struct Outcome: Equatable {
        var content: [UInt8] = []
        var last = ChunkStep.needInput
        var used = 0
    }

    private static func read(_ input: [UInt8], piece: Int) -> Outcome {
        var (body, outcome, arrived) = (ChunkedBody(), Outcome(), 0)
        while true {
            outcome.last = body.next(input.span.extracting(..<arrived), from: outcome.used)
            switch outcome.last {
            case .needInput:
                guard arrived < input.count else { return outcome }
                arrived = min(input.count, arrived + piece)
            case .framing(let count): outcome.used += count
            case .content(let count):
                outcome.content += input[outcome.used..<(outcome.used + count)]
                outcome.used += count
            case .end(let count):
                outcome.used += count
                return outcome
            case .refused: return outcome
            }
        }
    }
}

/// A path that is let through has one meaning: no decoder makes another one of it, and its spelling
/// is its own.
enum HTTPPathProperty {
    static func check(_ input: [UInt8]) throws(PropertyBroken) -> Bool {
        let range = ByteRange(0..<input.count)
        if Authority(input.span, range) != nil {
            try expect(
                input.allSatisfy { $0 > 0x20 && $0 < 0x7F && !"/?#@\\%,".utf8.contains($0) },
                "an authority with more in it"
            )
        }
        guard CanonicalPath.refusal(input.span, range) == nil else { return false }
        let spelling = CanonicalPath.spelling(input.span, range)
        let whole = ByteRange(0..<spelling.count)
        try expect(CanonicalPath.refusal(spelling.span, whole) == nil, "its spelling is refused")
        try expect(CanonicalPath.spelling(spelling.span, whole) == spelling, "spelled twice")
        // What anybody decodes, once or twice, has the same segments.
        let once = decoded(input)
        try expect(decoded(spelling) == once, "the spelling decodes to something else")
        try expect(decoded(once) == once, "decoded twice it differs")
        try expect(String(validating: once, as: UTF8.self) != nil, "no text")
        let segments = once.split(separator: 0x2F, omittingEmptySubsequences: false)
        for segment in segments.dropFirst().dropLast() {
            try expect(!segment.isEmpty, "an empty segment")
        }
        for segment in segments {
            try expect(segment != [0x2E] && segment != [0x2E, 0x2E], "a dot segment")
        }
        try expect(
            segments.count == input.split(separator: 0x2F, omittingEmptySubsequences: false).count,
            "more segments than it shows"
        )
        return true
    }

    private static func decoded(_ path: [UInt8]) -> [UInt8] {
        var (result, index) = ([UInt8](), 0)
        while index < path.count {
            let digits = path[min(index + 1, path.count)..<min(index + 3, path.count)]
            let text = String(decoding: digits, as: UTF8.self)
            if path[index] == 0x25, digits.count == 2, digits.allSatisfy({ $0 > 0x2F }),
                let byte = UInt8(text, radix: 16)
            {
                result.append(byte)
                index += 3
            } else {
                result.append(path[index])
                index += 1
            }
        }
        return result
    }
}
