// SPDX-License-Identifier: Apache-2.0

import HTTPCodec
import HTTPSemantics
import Testing

/// What a server answers is read as strictly as what a client asks.
@Suite struct ResponseHeadTests {
    private func read(_ text: String, _ method: HTTPMethod = .get) -> (HeadStep, ResponseHead) {
        let bytes = Array(text.utf8)
        var head = ResponseHead()
        var end = HeadEnd()
        return (head.read(bytes.span, end: &end, answering: method), head)
    }

    @Test(arguments: [
        ("200 OK\r\nContent-Length: 5", HTTPMethod.get, BodyFraming.length(5)),
        ("200 OK\r\nContent-Length: 5", .head, .none), ("200\r\nContent-Length: 0", .get, .none),
        ("200 \r\nTransfer-Encoding: chunked", .get, .chunked), ("204 No Content", .get, .none),
        ("200", .get, .untilClose),
        ("304 Not Modified\r\nContent-Length: 5", .get, .none), ("200 OK", .get, .untilClose),
        ("100 Continue", .post, .none),
    ])
    func `where the body ends depends on status, method and fields`(
        head: String,
        method: HTTPMethod,
        framing: BodyFraming
    ) {
        let text = "HTTP/1.1 \(head)\r\n\r\n"
        let (step, read) = read(text, method)
        #expect(step == .head(bytes: text.utf8.count))
        #expect(read.framing == framing)
        #expect(read.isKeptAlive == (framing != .untilClose))
        #expect(read.isInterim == head.hasPrefix("100"))
    }

    @Test func `an answer in HTTP 1.0 ends its connection unless it says otherwise`() {
        #expect(!read("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n").1.isKeptAlive)
        let kept = "HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n"
        #expect(read(kept).1.isKeptAlive)
        #expect(
            !read("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").1
                .isKeptAlive
        )
    }

    @Test(arguments: [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
            HTTPRefusal.framingTwice
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5", .contentLengthRepeated),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked", .transferEncoding),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked", .transferEncoding),
        ("HTTP/1.1 99 x\r\nA: b", .statusLine), ("HTTP/1.1 600 x\r\nA: b", .statusLine),
        ("HTTP/1.1 2000 x\r\nA: b", .lineEnding), ("HTTP/2.0 200 OK\r\nA: b", .statusLine),
        ("HTTP/1.1 200 a\u{0}b\r\nA: b", .lineEnding),
        ("HTTP/1.1 200 OK\r\nA : b", .fieldNameSpace),
        ("SSH-2.0-x", .statusLine),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 5", .bodyForbidden),
        ("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked", .bodyForbidden),
        ("HTTP/1.1 100 Continue\r\nContent-Length: 5", .bodyForbidden),
        ("HTTP/1.1 200 OK\r\nTrailer: X\r\nTransfer-Encoding: chunked", .trailers),
    ])
    func `an answer with two readings is refused`(head: String, refusal: HTTPRefusal) {
        #expect(read(head + "\r\n\r\n").0 == .refused(refusal))
    }

    @Test func `answers are read one after the other with the same value`() {
        var (head, end) = (ResponseHead(), HeadEnd())
        let first = Array("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: b\r\n\r\n".utf8)
        for count in 1..<first.count {
            #expect(
                head.read(first.span.extracting(..<count), end: &end, answering: .get) == .needInput
            )
        }
        #expect(head.read(first.span, end: &end, answering: .get) == .head(bytes: first.count))
        let second = Array("HTTP/1.1 404 No\r\n\r\n".utf8)
        #expect(head.read(second.span, end: &end, answering: .head) == .head(bytes: second.count))
        #expect(head.status == 404)
        #expect(head.fields.isEmpty)
        #expect(head.framing == .none)
    }
}
