// SPDX-License-Identifier: Apache-2.0

import HTTPCodec
import HTTPSemantics
import Testing

/// The server's side of a connection.
@Suite struct ResponseRelayTests {
    private static let get = RelayScript.traits("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    private static let head = RelayScript.traits("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    private static let old = RelayScript.traits(
        "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"
    )
    private static let webSocket = RelayScript.traits(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    )

    private func run(
        _ text: String,
        to request: RequestTraits = get,
        isWritten: Bool = true,
        ends: Bool = false
    ) -> (steps: [String], output: String, relay: ResponseRelay) {
        let (outcome, relay) = RelayScript.response(
            Array(text.utf8),
            to: request,
            isWritten: isWritten,
            ends: ends
        )
        return (outcome.steps, String(decoding: outcome.output, as: UTF8.self), relay)
    }

    struct Row: Sendable, CustomTestStringConvertible {
        var answer: String
        var request = ResponseRelayTests.get
        var steps: [String]
        var isReusable = true
        var client = ClientConnection.stays

        var testDescription: String { answer.debugDescription }
    }

    static let rows = [
        Row(
            answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            steps: ["head 200", "body", "complete 2"]
        ),
        Row(
            answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            steps: ["head 200", "body", "complete 2"]
        ),
        Row(
            answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
            steps: ["head 200", "body", "complete 2"],
            isReusable: false
        ),
        Row(
            answer: "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            steps: ["head 200", "body", "complete 2"],
            isReusable: false
        ),
        Row(
            answer: "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi",
            steps: ["head 200", "body", "complete 2"]
        ),
        Row(answer: "HTTP/1.1 204 No Content\r\n\r\n", steps: ["head 204", "complete 0"]),
        Row(
            answer: "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            steps: ["head 304", "complete 0"]
        ),
        Row(
            answer: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            request: head,
            steps: ["head 200", "complete 0"]
        ),
        Row(
            answer: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: a\r\n\r\n"
                + "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            steps: ["interim 100", "interim 103", "head 200", "complete 0"]
        ),
        Row(
            answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n\r\n",
            steps: ["head 200", "body", "complete 2"],
            isReusable: false
        ),
        Row(
            answer: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            request: old,
            steps: ["head 200", "body", "complete 2"],
            client: .staysTold
        ),
        Row(
            answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            request: old,
            steps: ["head 200", "body", "complete 2"],
            client: .ends
        ),
        Row(
            answer: "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n",
            request: webSocket,
            steps: ["head 403", "complete 0"]
        ),
    ]

    @Test(arguments: rows)
    func `an answer ends where it says, and says what becomes of both connections`(row: Row) {
        let (steps, _, relay) = run(row.answer, to: row.request)
        #expect(steps == row.steps)
        #expect(relay.isServerReusable == row.isReusable)
        #expect(relay.clientConnection == row.client)
    }

    @Test(arguments: [
        ("DELETE", "Content-Length: 2"), ("GET", "Transfer-Encoding: chunked"),
        ("HEAD", "Content-Length: 2"), ("QUERY", "Content-Length: 2"),
    ])
    func `a body that may be left unread takes the connection with it`(
        method: String,
        framing: String
    ) {
        let traits = RelayScript.traits("\(method) / HTTP/1.1\r\nHost: a\r\n\(framing)\r\n\r\n")
        let relay = run("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", to: traits).relay
        #expect(!relay.isServerReusable)
        #expect(relay.clientConnection == .stays)
    }

    @Test func `an answer before the request was written ends both connections`() {
        let answer = "HTTP/1.1 413 Large\r\nContent-Length: 0\r\n\r\n"
        let (steps, output, relay) = run(answer, isWritten: false)
        #expect(steps == ["head 413", "complete 0"])
        #expect(relay.isEarly && !relay.isServerReusable)
        #expect(output == "HTTP/1.1 413 Large\r\nContent-Length: 0\r\nconnection: close\r\n\r\n")
        // A word before the answer is no answer.
        var (asked, head) = (ResponseRelay(), ResponseHead())
        #expect(asked.begin(Self.get) == true)
        let interim = Array("HTTP/1.1 100 Continue\r\n\r\n".utf8)
        let step = asked.next(interim.span, from: 0, using: &head)
        #expect(step == .interim(bytes: interim.count))
        asked.requestWritten()
        let final = Array("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".utf8)
        #expect(asked.next(final.span, from: 0, using: &head) == .head(bytes: final.count))
        #expect(asked.next(final.span, from: final.count, using: &head) == .complete)
        #expect(!asked.isEarly && asked.isServerReusable)
    }

    @Test func `an answer without length ends with the connection`() {
        let text = "HTTP/1.1 200 OK\r\nX: y\r\n\r\nhello"
        let (steps, output, relay) = run(text, ends: true)
        #expect(steps == ["head 200", "body", "end complete"])
        #expect(output == "HTTP/1.1 200 OK\r\nX: y\r\nconnection: close\r\n\r\nhello")
        #expect(!relay.isServerReusable)
    }

    @Test(arguments: [
        ("", "end unanswered"), ("H", "end truncated"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", "end truncated"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
            "end truncated"
        ),
        ("HTTP/1.1 100 Continue\r\n\r\n", "end truncated"),
    ])
    func `an answer that breaks off is not whole`(answer: String, end: String) {
        #expect(run(answer, ends: true).steps.last == end)
    }

    @Test func `a server changes the protocol only when asked, and to what was asked for`() {
        let agrees =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n"
        let (steps, output, relay) = run("\(agrees)\r\nxyz", to: Self.webSocket, ends: true)
        #expect(steps == ["upgraded 101", "body", "end tunnel"])
        #expect(
            output == "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n"
                + "connection: upgrade\r\n\r\nxyz"
        )
        #expect(!relay.isServerReusable)
        #expect(run("\(agrees)\r\n").steps == ["refused upgradeUnasked"])
        let other = "HTTP/1.1 101 S\r\nUpgrade: h2c\r\n\r\n"
        #expect(run(other, to: Self.webSocket).steps == ["refused upgradeUnasked"])
        let both = "\(agrees)Upgrade: h2c\r\n\r\n"
        #expect(run(both, to: Self.webSocket).steps == ["refused upgradeUnasked"])
    }

    @Test func `words before the answer have an end`() {
        let interim = "HTTP/1.1 102 Processing\r\n\r\n"
        let count = MessageLimits.interimMax
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        #expect(run(String(repeating: interim, count: count) + answer).steps.last == "complete 0")
        #expect(
            run(String(repeating: interim, count: count + 1) + answer).steps.last
                == "refused interimMax"
        )
    }

    @Test func `bytes that nobody asked for are no answer`() {
        var (relay, head) = (ResponseRelay(), ResponseHead())
        let bytes = Array("HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n".utf8)
        #expect(relay.next(bytes.span, from: bytes.count, using: &head) == .needInput)
        #expect(relay.next(bytes.span, from: 0, using: &head) == .refused(.answerUnasked))
        #expect(relay.begin(Self.get) == false)
        #expect(relay.next(bytes.span, from: 0, using: &head) == .refused(.answerUnasked))
    }

    @Test func `one answer at a time`() {
        var (relay, head) = (ResponseRelay(), ResponseHead())
        #expect(relay.begin(Self.get) == true)
        #expect(relay.begin(Self.get) == false)
        relay.requestWritten()
        let bytes = Array("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx".utf8)
        #expect(relay.next(bytes.span, from: 0, using: &head) == .head(bytes: bytes.count - 1))
        #expect(relay.begin(Self.get) == false)
        #expect(relay.next(bytes.span, from: bytes.count - 1, using: &head) == .body(bytes: 1))
        #expect(relay.next(bytes.span, from: bytes.count, using: &head) == .complete)
        #expect(relay.begin(Self.get) == true)
        #expect(relay.inputEnded() == .unanswered)
        #expect(relay.begin(Self.get) == false)
        #expect(relay.inputEnded() == .idle)
    }

    @Test func `a connection that is drained is told with the next answer`() {
        let answer = Array("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".utf8)
        var (relay, head) = (ResponseRelay(), ResponseHead())
        #expect(relay.begin(Self.get) == true)
        relay.requestWritten()
        relay.makeLast()
        #expect(relay.next(answer.span, from: 0, using: &head) == .head(bytes: answer.count))
        #expect(relay.clientConnection == .ends)
        #expect(relay.next(answer.span, from: answer.count, using: &head) == .complete)
        // The server is not to blame.
        #expect(relay.isServerReusable)
        #expect(relay.begin(Self.get, isLast: true) == true)
        relay.requestWritten()
        #expect(relay.next(answer.span, from: 0, using: &head) == .head(bytes: answer.count))
        #expect(relay.clientConnection == .ends)
    }

    // MARK: - What the client is sent

    @Test(arguments: [
        "Connection: close", "Keep-Alive: timeout=5", "Upgrade: h2c", "Proxy-Connection: close",
        "Proxy-Authenticate: Basic", "TE: x", "X-Signet-Decision: forged",
    ])
    func `what speaks of the server's connection ends here`(field: String) {
        let answer = "HTTP/1.1 200 OK\r\n\(field)\r\nContent-Length: 0\r\nX-A: b\r\n\r\n"
        #expect(run(answer).output == "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-A: b\r\n\r\n")
    }

    @Test func `an old client is sent what it can read`() {
        let chunked =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n"
        #expect(
            run(chunked, to: Self.old).output == "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhi!"
        )
        let plain = "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi"
        #expect(
            run(plain, to: Self.old).output
                == "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nconnection: keep-alive\r\n\r\nhi"
        )
    }

    @Test func `the decision of a proxy behind this one is passed on`() {
        let bytes = Array(
            "HTTP/1.1 403 No\r\nX-Signet-Decision: a\r\nContent-Length: 0\r\n\r\n".utf8
        )
        var (relay, head, output) = (ResponseRelay(), ResponseHead(), [UInt8]())
        #expect(relay.begin(Self.get) == true)
        relay.requestWritten()
        #expect(relay.next(bytes.span, from: 0, using: &head) == .head(bytes: bytes.count))
        ResponseRewrite(removesDecision: false).write(head, bytes.span, for: relay, into: &output)
        #expect(output == bytes)
    }
}
