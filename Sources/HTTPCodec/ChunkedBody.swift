// SPDX-License-Identifier: Apache-2.0

package import HTTPSemantics

/// What the next bytes of a chunked body are.
package enum ChunkStep: Hashable, Sendable {
    /// Nothing can be said before more has arrived.
    case needInput
    /// These many bytes are sizes and line ends.
    case framing(bytes: Int)
    /// These many bytes are content.
    case content(bytes: Int)
    /// The body is over after these many bytes, which are framing.
    case end(bytes: Int)
    case refused(HTTPRefusal)
}

/// A chunked body, read strictly (RFC 9112 section 7.1, docs/decisions/0007).
///
/// Extensions and trailers are refused: programs skip them in different ways, and nobody needs them
/// between services. What is accepted can be passed on as it is. A size line is looked at only when
/// it is whole, so a caller keeps at most `sizeLineBytesMax` bytes for it.
package struct ChunkedBody: Sendable {
    /// Longest size line with its end, which is all that a caller has to keep of it.
    package static let sizeLineBytesMax = sizeDigitsMax + 2
    /// Most digits of a chunk's size: it stays below 2^60, which overflows nowhere.
    static let sizeDigitsMax = 15

    private enum State: Sendable {
        case size
        case content(left: UInt64)
        case contentEnd
        case lastLine
        case ended
    }

    private var state = State.size

    package init() {}

    /// Whether the last chunk and its empty line were read.
    package var hasEnded: Bool {
        if case .ended = state { return true }
        return false
    }

    /// Says what the bytes from `start` on are; the caller goes on behind them.
    ///
    /// - Precondition: The body has not ended.
    package mutating func next(_ input: Span<UInt8>, from start: Int) -> ChunkStep {
        let available = input.count - start
        switch state {
        case .size: return size(input, start)
        case .content(let left):
            guard available > 0 else { return .needInput }
            let count = Int(min(left, UInt64(available)))
            state = UInt64(count) == left ? .contentEnd : .content(left: left - UInt64(count))
            return .content(bytes: count)
        case .contentEnd:
            switch Self.lineEnd(input, start) {
            case nil: return .needInput
            case false?: return .refused(.chunkEnd)
            case true?:
                state = .size
                return .framing(bytes: 2)
            }
        case .lastLine:
            switch Self.lineEnd(input, start) {
            case nil: return .needInput
            case false?: return .refused(.trailers)
            case true?:
                state = .ended
                return .end(bytes: 2)
            }
        case .ended: return .end(bytes: 0)
        }
    }

    private mutating func size(_ input: Span<UInt8>, _ start: Int) -> ChunkStep {
        var index = start
        var size: UInt64 = 0
        while index < input.count, let digit = Octet.hexDigit(input[index]) {
            guard index - start < Self.sizeDigitsMax else { return .refused(.chunkSize) }
            size = size << 4 | UInt64(digit)
            index += 1
        }
        guard index < input.count else { return .needInput }
        guard index > start else { return .refused(.chunkSize) }
        let byte = input[index]
        guard byte == Octet.carriageReturn else {
            let isExtension =
                byte == UInt8(ascii: ";") || byte == Octet.space || byte == Octet.horizontalTab
            return .refused(
                isExtension ? .chunkExtension : byte == Octet.lineFeed ? .lineEnding : .chunkSize
            )
        }
        switch Self.lineEnd(input, index) {
        case nil: return .needInput
        case false?: return .refused(.lineEnding)
        case true?:
            state = size == 0 ? .lastLine : .content(left: size)
            return .framing(bytes: index - start + 2)
        }
    }

    /// Whether CR LF stands at `start`; nil if that is not known yet.
    private static func lineEnd(_ input: Span<UInt8>, _ start: Int) -> Bool? {
        guard start < input.count else { return nil }
        guard input[start] == Octet.carriageReturn else { return false }
        guard start + 1 < input.count else { return nil }
        return input[start + 1] == Octet.lineFeed
    }
}
