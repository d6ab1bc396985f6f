// SPDX-License-Identifier: Apache-2.0

package import HTTPSemantics

/// What the next bytes of a server are.
package enum ResponseStep: Hashable, Sendable {
    /// Nothing can be said before more has arrived.
    case needInput
    /// These many bytes are a word before the answer (1xx), passed on rewritten.
    case interim(bytes: Int)
    /// These many bytes are the head of the answer, passed on rewritten.
    case head(bytes: Int)
    /// These many bytes are passed on as they are.
    case body(bytes: Int)
    /// These many bytes are not for the client.
    case skipped(bytes: Int)
    /// The answer is through. `isServerReusable` says what becomes of the server's connection.
    case complete
    /// These many bytes are the head of a 101, passed on rewritten; then bytes go both ways as
    /// they come (`RequestRelay.upgraded`).
    case upgraded(bytes: Int)
    /// The server's bytes cannot be understood: a 502 if no answer has begun; close both.
    case refused(HTTPRefusal)
    /// No more of this server is read.
    case closed
}

/// What the end of a server's bytes means.
package enum ResponseEnd: Hashable, Sendable {
    /// It was not asked: forget it.
    case idle
    /// It closed before a byte of an answer; a request that may be sent twice can go elsewhere.
    case unanswered
    /// The answer broke off: the client must see that it is not whole.
    case truncated
    /// The answer ends here and is whole; its client's connection ends too.
    case complete
    /// The other side of a tunnel is told that no more comes.
    case tunnel
}

/// What the answer tells the client of its connection.
package enum ClientConnection: Hashable, Sendable {
    /// It stays, as HTTP/1.1 takes for granted.
    case stays
    /// It stays, which HTTP/1.0 has to be told.
    case staysTold
    /// It ends with this answer.
    case ends
    /// It becomes a WebSocket.
    case upgrades
}

/// The server's side of a connection: one answer to each request that was begun
/// (docs/decisions/0007).
package struct ResponseRelay: Sendable {
    private enum State: Sendable {
        case idle
        case head
        case body(BodyReader)
        case tunnel
        case refused(HTTPRefusal)
        case closed
    }

    private var state = State.idle
    private var end = HeadEnd()
    private let limits: MessageLimits
    private var request = RequestTraits.unknown
    private var interimCount = 0
    private var isRequestWritten = false
    private var isLast = false
    private var hasBegun = false
    /// Whether the answer began before the whole request was written.
    package private(set) var isEarly = false
    /// Whether the server takes another request; settled by `complete`.
    package private(set) var isServerReusable = false
    /// What the client is told; settled by `head` and `upgraded`.
    package private(set) var clientConnection = ClientConnection.ends
    /// Whether the client knows no chunks, so that the answer ends with its connection.
    package var dropsChunks: Bool { request.isVersion10 }
    /// Content of the answer so far.
    package private(set) var bodyBytes: UInt64 = 0

    package init(limits: MessageLimits = .defaults) {
        self.limits = limits
    }

    /// The head of a request is about to be written on this connection.
    ///
    /// - Parameters:
    ///   - request: What its head says.
    ///   - isLast: Whether its client's connection ends with the answer whatever it wants.
    /// - Returns: Whether it can be: the answer before is through, and the server takes another.
    package mutating func begin(_ request: RequestTraits, isLast: Bool = false) -> Bool {
        guard case .idle = state else { return false }
        self.request = request
        self.isLast = isLast
        state = .head
        end = HeadEnd()
        (interimCount, bodyBytes) = (0, 0)
        (isRequestWritten, hasBegun, isEarly, isServerReusable) = (false, false, false, false)
        clientConnection = .ends
        return true
    }

    /// Every byte of the request was written to the server.
    package mutating func requestWritten() {
        isRequestWritten = true
    }

    /// The client's connection ends with this answer; without effect once its head was passed on.
    package mutating func makeLast() {
        isLast = true
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
        using head: inout ResponseHead
    ) -> ResponseStep {
        switch state {
        case .idle:
            // It would be taken for the answer to the next request.
            return input.count > start ? refuse(.answerUnasked) : .needInput
        case .head: return readHead(input.extracting(start...), &head)
        case .body(var reader):
            let step = reader.next(input, from: start)
            state = .body(reader)
            return bodyStep(step, hasMore: input.count > start)
        case .tunnel:
            guard input.count > start else { return .needInput }
            bodyBytes += UInt64(input.count - start)
            return .body(bytes: input.count - start)
        case .refused(let refusal): return .refused(refusal)
        case .closed: return .closed
        }
    }

    private mutating func readHead(
        _ input: Span<UInt8>,
        _ head: inout ResponseHead
    ) -> ResponseStep {
        guard input.count > 0 else { return .needInput }
        hasBegun = true
        isEarly = isEarly || !isRequestWritten
        let step = head.read(
            input,
            end: &end,
            answering: request.method,
            askedForWebSocket: request.wantsWebSocket
        )
        switch step {
        case .needInput: return .needInput
        case .refused(let refusal): return refuse(refusal)
        case .head(let count):
            end = HeadEnd()
            if head.isInterim { return interim(count) }
            guard head.status != 101 else {
                state = .tunnel
                clientConnection = .upgrades
                return .upgraded(bytes: count)
            }
            settle(head)
            return .head(bytes: count)
        }
    }

    private mutating func interim(_ count: Int) -> ResponseStep {
        interimCount += 1
        guard interimCount <= limits.interimMax else { return refuse(.interimMax) }
        // The server may well ask for the body before it was written.
        (hasBegun, isEarly) = (false, false)
        return request.isVersion10 ? .skipped(bytes: count) : .interim(bytes: count)
    }

    /// What the answer's head decides about both connections.
    private mutating func settle(_ head: borrowing ResponseHead) {
        var framing = head.framing
        if framing == .chunked, request.isVersion10 {
            // Without chunks only the end of the connection says where the answer ends.
            clientConnection = .ends
        } else if framing == .untilClose || isLast || isEarly || !request.isKeptAlive {
            clientConnection = .ends
        } else {
            clientConnection = request.isVersion10 ? .staysTold : .stays
        }
        isServerReusable = head.isKeptAlive && !isEarly && !request.hasUnexpectedBody
        if case .length(0) = framing { framing = .none }
        state = .body(BodyReader(framing, dropsFraming: request.isVersion10))
    }

    private mutating func bodyStep(_ step: BodyReader.Step, hasMore: Bool) -> ResponseStep {
        switch step {
        case .needInput: return .needInput
        case .bytes(let count, let content):
            bodyBytes += content
            return .body(bytes: count)
        case .framing(let count): return .skipped(bytes: count)
        case .end:
            // More than was asked for would be the answer to the next request.
            isServerReusable = isServerReusable && !hasMore
            state = isServerReusable ? .idle : .closed
            return .complete
        case .refused(let refusal): return refuse(refusal)
        }
    }

    private mutating func refuse(_ refusal: HTTPRefusal) -> ResponseStep {
        isServerReusable = false
        state = .refused(refusal)
        return .refused(refusal)
    }

    /// The server sends no more.
    ///
    /// Bytes that have arrived are given to `next` before.
    package mutating func inputEnded() -> ResponseEnd {
        isServerReusable = false
        let before = state
        if case .tunnel = before { return .tunnel }
        state = .closed
        switch before {
        case .head where !hasBegun && interimCount == 0: return .unanswered
        case .head: return .truncated
        case .body(let reader):
            return reader.endsWithConnection || reader.hasEnded ? .complete : .truncated
        case .refused: return .truncated
        case .idle, .tunnel, .closed: return .idle
        }
    }
}
