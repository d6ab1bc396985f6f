// SPDX-License-Identifier: Apache-2.0

package import HTTPSemantics

/// What the next bytes of a client are.
package enum RequestStep: Hashable, Sendable {
    /// Nothing can be said before more has arrived.
    case needInput
    /// These many bytes are the head of a request: decide, and pass it on rewritten.
    case head(bytes: Int)
    /// These many bytes are passed on as they are.
    case body(bytes: Int)
    /// The request is through. What follows is the next one: it is not looked at before
    /// `answerEnded`, so that no answer can come in another's place.
    case complete
    /// The client's bytes cannot be understood any more: answer, if no answer has begun, and close.
    case refused(HTTPRefusal)
    /// No more of this client is read: its last answer is on the way.
    case closed
}

/// What the end of a client's bytes means.
package enum RequestEnd: Hashable, Sendable {
    /// Nothing was asked: close.
    case idle
    /// A request broke off: give it up, also towards the server.
    case truncated
    /// The request is whole and its answer is owed; then close.
    case answerOwed
    /// The other side of a tunnel is told that no more comes.
    case tunnel
}

/// The client's side of a connection: requests one after another, the next one held until the one
/// before is answered (RFC 9112 section 9.3.2).
///
/// It says what the bytes at hand are and copies none; whoever has the bytes goes on behind those
/// that a step has named. The head is read into a value that all connections of a worker share.
package struct RequestRelay: Sendable {
    private enum State: Sendable {
        case head
        case body(BodyReader)
        case complete
        case tunnel
        case refused(HTTPRefusal)
        case closed
    }

    private var state = State.head
    private var end = HeadEnd()
    private let limits: MessageLimits
    /// Whether a byte of the head that is waited for has come.
    private var hasBegun = false
    /// Of the request whose head was read last, until its answer has ended.
    package private(set) var traits = RequestTraits.unknown
    /// Content of that request so far.
    package private(set) var bodyBytes: UInt64 = 0
    /// Requests whose head was read.
    package private(set) var requestCount: UInt64 = 0

    package init(limits: MessageLimits = .defaults) {
        self.limits = limits
    }

    /// Whether the request is through, so that the connection can outlive its answer.
    package var isComplete: Bool {
        if case .complete = state { return true }
        return false
    }

    /// Whether it waits for the first byte of a request: nobody loses anything if it is closed.
    package var isIdle: Bool {
        if case .head = state { return !hasBegun }
        return false
    }

    /// Says what the bytes from `start` on are.
    ///
    /// - Parameters:
    ///   - input: What has arrived and was not yet named by a step, from `start` on.
    ///   - start: Where it begins.
    ///   - head: What heads are read into; its ranges count from `start`.
    /// - Returns: One step; after `needInput`, call it again with the same bytes and more.
    package mutating func next(
        _ input: Span<UInt8>,
        from start: Int,
        using head: inout RequestHead
    ) -> RequestStep {
        switch state {
        case .head: return readHead(input.extracting(start...), &head)
        case .body(var reader):
            let step = reader.next(input, from: start)
            state = .body(reader)
            return bodyStep(step)
        case .complete: return .complete
        case .tunnel:
            return input.count > start ? .body(bytes: input.count - start) : .needInput
        case .refused(let refusal): return .refused(refusal)
        case .closed: return .closed
        }
    }

    private mutating func readHead(
        _ input: Span<UInt8>,
        _ head: inout RequestHead
    ) -> RequestStep {
        guard input.count > 0 else { return .needInput }
        hasBegun = true
        switch head.read(input, end: &end) {
        case .needInput: return .needInput
        case .refused(let refusal): return refuse(refusal)
        case .head(let count):
            traits = RequestTraits(head)
            requestCount += 1
            bodyBytes = 0
            (end, hasBegun) = (HeadEnd(), false)
            switch traits.framing {
            case .none: state = .complete
            // Refused before a byte of it is asked for.
            case .length(let length) where length > limits.requestBodyBytesMax:
                return refuse(.bodyBytesMax)
            default: state = .body(BodyReader(traits.framing))
            }
            return .head(bytes: count)
        }
    }

    private mutating func bodyStep(_ step: BodyReader.Step) -> RequestStep {
        switch step {
        case .needInput: return .needInput
        case .bytes(let count, let content):
            bodyBytes += content
            guard bodyBytes <= limits.requestBodyBytesMax else { return refuse(.bodyBytesMax) }
            return .body(bytes: count)
        case .end:
            state = .complete
            return .complete
        case .refused(let refusal): return refuse(refusal)
        // Servers are spoken to in HTTP/1.1, so that chunks are always passed on.
        case .framing(let count): return .body(bytes: count)
        }
    }

    private mutating func refuse(_ refusal: HTTPRefusal) -> RequestStep {
        state = .refused(refusal)
        return .refused(refusal)
    }

    /// The last byte of the answer was sent.
    ///
    /// - Parameter keepsConnection: Whether the answer has let the client hope for another one
    ///   (`ResponseRelay.clientConnection`).
    /// - Returns: Whether the next request is read now; else the connection is to be closed.
    @discardableResult
    package mutating func answerEnded(keepsConnection: Bool) -> Bool {
        // A body that is not through would be read as the next request.
        guard case .complete = state, keepsConnection, traits.isKeptAlive else {
            state = .closed
            return false
        }
        state = .head
        // Whatever comes is not that one.
        traits = .unknown
        return true
    }

    /// The server has changed to the protocol that was asked for: everything is passed on.
    ///
    /// - Returns: Whether that can be; nothing changes if the request at hand did not ask for it.
    package mutating func upgraded() -> Bool {
        guard case .complete = state, traits.wantsWebSocket else { return false }
        state = .tunnel
        return true
    }

    /// The client sends no more.
    package mutating func inputEnded() -> RequestEnd {
        switch state {
        case .head:
            let result = hasBegun ? RequestEnd.truncated : .idle
            state = .closed
            return result
        case .body(let reader) where !reader.hasEnded:
            state = .closed
            return .truncated
        case .body, .complete:
            traits.isKeptAlive = false
            state = .complete
            return .answerOwed
        case .tunnel: return .tunnel
        case .refused, .closed: return .idle
        }
    }
}
