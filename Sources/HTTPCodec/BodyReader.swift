// SPDX-License-Identifier: Apache-2.0

internal import HTTPSemantics

/// Where the body of one message ends, for both directions.
struct BodyReader: Sendable {
    enum Step: Equatable {
        case needInput
        /// These many bytes are passed on as they are; `content` of them are content.
        case bytes(Int, content: UInt64)
        /// These many bytes frame the content and are not passed on.
        case framing(Int)
        case end
        case refused(HTTPRefusal)
    }

    private enum State: Sendable {
        case ended
        case length(left: UInt64)
        case chunked(ChunkedBody)
        case untilClose
    }

    private var state: State
    /// Whether the receiver knows no chunks.
    private let dropsFraming: Bool

    init(_ framing: BodyFraming, dropsFraming: Bool = false) {
        self.dropsFraming = dropsFraming
        state =
            switch framing {
            case .none, .length(0): .ended
            case .length(let count): .length(left: count)
            case .chunked: .chunked(ChunkedBody())
            case .untilClose: .untilClose
            }
    }

    var hasEnded: Bool {
        if case .ended = state { return true }
        return false
    }

    /// Whether the end of the connection is the end of the body.
    var endsWithConnection: Bool {
        if case .untilClose = state { return true }
        return false
    }

    /// Says what the bytes from `start` on are.
    mutating func next(_ input: Span<UInt8>, from start: Int) -> Step {
        let available = input.count - start
        switch state {
        case .ended: return .end
        case .length(let left):
            guard available > 0 else { return .needInput }
            let count = min(left, UInt64(available))
            state = count == left ? .ended : .length(left: left - count)
            return .bytes(Int(count), content: count)
        case .untilClose:
            guard available > 0 else { return .needInput }
            return .bytes(available, content: UInt64(available))
        case .chunked(var body):
            let step =
                dropsFraming
                ? nextContent(input, start, &body) : nextChunks(input, start, &body)
            state = body.hasEnded ? .ended : .chunked(body)
            return step
        }
    }

    /// As many whole steps as there are, in one piece: small chunks cost no call each.
    private func nextChunks(
        _ input: Span<UInt8>,
        _ start: Int,
        _ body: inout ChunkedBody
    ) -> Step {
        var index = start
        var content: UInt64 = 0
        while true {
            switch body.next(input, from: index) {
            case .framing(let count): index += count
            case .content(let count):
                index += count
                content += UInt64(count)
            case .end(let count): return .bytes(index + count - start, content: content)
            case .needInput:
                return index == start ? .needInput : .bytes(index - start, content: content)
            case .refused(let refusal):
                // What came before is passed on first; the next call finds the same again.
                return index == start ? .refused(refusal) : .bytes(index - start, content: content)
            }
        }
    }

    private func nextContent(
        _ input: Span<UInt8>,
        _ start: Int,
        _ body: inout ChunkedBody
    ) -> Step {
        switch body.next(input, from: start) {
        case .needInput: .needInput
        case .framing(let count), .end(let count): .framing(count)
        case .content(let count): .bytes(count, content: UInt64(count))
        case .refused(let refusal): .refused(refusal)
        }
    }
}
