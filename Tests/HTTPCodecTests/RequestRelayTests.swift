// SPDX-License-Identifier: Apache-2.0

import HTTPCodec
import HTTPSemantics
import Testing

/// The client's side of a connection.
@Suite struct RequestRelayTests {
    private static let id = "x-request-id: 00000000-0000-4000-8000-000000000000\r\n"

    private func run(_ text: String, limits: MessageLimits = .defaults) -> RelayScript.Outcome {
        RelayScript.requests(Array(text.utf8), limits: limits)
    }

    @Test(arguments: [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", ["head get none", "complete 0"]),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
            ["head post length(5)", "body", "complete 5"]
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            ["head post chunked", "body", "complete 2"]
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            ["head post none", "complete 0", "head get none", "complete 0"]
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\n",
            ["head get none", "complete 0", "closed"]
        ),
        ("GET / HTTP/1.0\r\nHost: a\r\n\r\nGET", ["head get none", "complete 0", "closed"]),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\nG/", ["head get none", "complete 0"]),
        (
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n/",
            [
                "head get none", "complete 0", "refused requestLine",
            ]
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1;x\r\n",
            ["head post chunked", "body", "refused chunkExtension"]
        ),
    ])
    func `requests come one after another`(input: String, steps: [String]) {
        #expect(run(input).steps == steps)
    }

    @Test func `what is passed on is what came`() {
        let body = "2\r\nhi\r\n0\r\n\r\n"
        let text = "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
        let outcome = run("\(text)\r\n\(body)")
        #expect(
            String(decoding: outcome.output, as: UTF8.self) == "\(text)\(Self.id)\r\n\(body)"
        )
    }

    @Test func `the next request waits for the answer`() {
        let first = Array("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n".utf8)
        let input = first + Array("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n".utf8)
        var (relay, head) = (RequestRelay(), RequestHead())
        #expect(relay.isIdle)
        #expect(relay.next(input.span, from: 0, using: &head) == .head(bytes: first.count))
        for _ in 0..<3 {
            #expect(relay.next(input.span, from: first.count, using: &head) == .complete)
        }
        #expect(!relay.isIdle && relay.isComplete)
        #expect(relay.answerEnded(keepsConnection: true) == true)
        #expect(
            relay.next(input.span, from: first.count, using: &head)
                == .head(bytes: input.count - first.count)
        )
        #expect(relay.requestCount == 2)
    }

    @Test func `an answer before the body is through ends the connection`() {
        let input = Array("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe".utf8)
        var (relay, head) = (RequestRelay(), RequestHead())
        #expect(relay.next(input.span, from: 0, using: &head) == .head(bytes: input.count - 2))
        #expect(relay.next(input.span, from: input.count - 2, using: &head) == .body(bytes: 2))
        #expect(relay.next(input.span, from: input.count, using: &head) == .needInput)
        #expect(relay.answerEnded(keepsConnection: true) == false)
        #expect(relay.next(input.span, from: 0, using: &head) == .closed)
    }

    @Test func `an answer that ends the connection is the last`() {
        let input = Array("GET / HTTP/1.1\r\nHost: a\r\n\r\n".utf8)
        var (relay, head) = (RequestRelay(), RequestHead())
        #expect(relay.next(input.span, from: 0, using: &head) == .head(bytes: input.count))
        #expect(relay.answerEnded(keepsConnection: false) == false)
        #expect(relay.next(input.span, from: 0, using: &head) == .closed)
        // Nothing brings it back.
        #expect(relay.answerEnded(keepsConnection: true) == false)
        #expect(relay.upgraded() == false)
        #expect(relay.inputEnded() == .idle)
    }

    @Test func `an answer to nothing ends the connection`() {
        var (relay, head) = (RequestRelay(), RequestHead())
        #expect(relay.answerEnded(keepsConnection: true) == false)
        let input = Array("GET / HTTP/1.1\r\nHost: a\r\n\r\n".utf8)
        #expect(relay.next(input.span, from: 0, using: &head) == .closed)
    }

    @Test func `a WebSocket is a tunnel once the server agrees, and not before`() {
        let asks = Array(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n".utf8
        )
        let input = asks + [0x81, 0x00]
        for agrees in [true, false] {
            var (relay, head) = (RequestRelay(), RequestHead())
            #expect(relay.upgraded() == false)
            #expect(relay.next(input.span, from: 0, using: &head) == .head(bytes: asks.count))
            #expect(relay.next(input.span, from: asks.count, using: &head) == .complete)
            if agrees {
                #expect(relay.upgraded() == true)
                #expect(relay.next(input.span, from: asks.count, using: &head) == .body(bytes: 2))
                #expect(relay.next(input.span, from: input.count, using: &head) == .needInput)
                #expect(relay.inputEnded() == .tunnel)
            } else {
                #expect(relay.answerEnded(keepsConnection: true) == true)
                #expect(
                    relay.next(input.span, from: asks.count, using: &head)
                        == .refused(.requestLine)
                )
            }
        }
        // Not without having asked.
        let plain = Array("GET / HTTP/1.1\r\nHost: a\r\n\r\n".utf8)
        var (relay, head) = (RequestRelay(), RequestHead())
        _ = relay.next(plain.span, from: 0, using: &head)
        #expect(relay.upgraded() == false)
        #expect(relay.next(plain.span, from: plain.count, using: &head) == .complete)
    }

    @Test(arguments: [
        ("", RequestEnd.idle), ("GET", .truncated),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", .answerOwed),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe", .truncated),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhe", .answerOwed), ("/", .idle),
    ])
    func `the end of a client's bytes means what came before`(input: String, end: RequestEnd) {
        let bytes = Array(input.utf8)
        var (relay, head) = (RequestRelay(), RequestHead())
        var used = 0
        reading: while true {
            switch relay.next(bytes.span, from: used, using: &head) {
            case .head(let count), .body(let count): used += count
            default: break reading
            }
        }
        #expect(relay.inputEnded() == end)
        // Whoever has hung up is sent one answer and no more.
        #expect(relay.answerEnded(keepsConnection: true) == false)
    }

    @Test func `a body over the limit is refused, by its length or by its bytes`() {
        let limits = MessageLimits(requestBodyBytesMax: 4)
        let head = "POST / HTTP/1.1\r\nHost: a\r\n"
        let long = run("\(head)Content-Length: 5\r\n\r\nhello", limits: limits)
        #expect(long.steps == ["refused bodyBytesMax"])
        let fits = run("\(head)Content-Length: 4\r\n\r\nhell", limits: limits)
        #expect(fits.steps == ["head post length(4)", "body", "complete 4"])
        let chunked = "\(head)Transfer-Encoding: chunked\r\n\r\n"
        #expect(
            run("\(chunked)3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", limits: limits).steps
                == ["head post chunked", "refused bodyBytesMax"]
        )
        #expect(
            run("\(chunked)3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n", limits: limits).steps
                == ["head post chunked", "body", "complete 4"]
        )
        #expect(HTTPRefusal.bodyBytesMax.status == 413)
    }
}
