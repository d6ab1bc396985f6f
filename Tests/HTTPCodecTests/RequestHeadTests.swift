// SPDX-License-Identifier: Apache-2.0

import HTTPCodec
import HTTPSemantics
import Testing

/// One reading of a request, or none (RFC 9112, docs/decisions/0007).
@Suite struct RequestHeadTests {
    private func read(_ text: String, limits: HeadLimits = .defaults) -> (HeadStep, RequestHead) {
        let bytes = Array(text.utf8)
        var head = RequestHead(limits: limits)
        var end = HeadEnd()
        return (head.read(bytes.span, end: &end), head)
    }

    private func refusal(_ text: String, limits: HeadLimits = .defaults) -> HTTPRefusal? {
        guard case .refused(let refusal) = read(text, limits: limits).0 else { return nil }
        return refusal
    }

    /// What mesh and RFC want a refusal answered with, written down a second time: 400 unless
    /// docs/decisions/0007 says otherwise.
    private static func status(of refusal: HTTPRefusal) -> Int {
        switch refusal {
        case .bodyBytesMax: 413
        case .connect: 405
        case .expectation: 417
        case .fieldsMax, .headBytesMax: 431
        case .targetBytesMax: 414
        case .version: 505
        default: 400
        }
    }

    private func text(_ range: ByteRange, of head: String) -> String {
        String(decoding: Array(head.utf8)[range.range], as: UTF8.self)
    }

    @Test func `a request is read where it stands`() throws {
        let head =
            "GET /a/b%20c?x=[1] HTTP/1.1\r\nHost: Shop.example:8080\r\nX-A:  one two \r\n\r\n"
        let (step, read) = read(head + "body")
        #expect(step == .head(bytes: head.utf8.count))
        let request = read.request
        #expect(request.method == .get)
        #expect(text(request.path, of: head) == "/a/b%20c")
        #expect(try text(#require(request.query), of: head) == "x=[1]")
        #expect(text(request.authority.host, of: head) == "Shop.example")
        #expect(request.authority.port == 8080)
        #expect(request.fields.map { text($0.name, of: head) } == ["Host", "X-A"])
        #expect(
            request.fields.map { text($0.value, of: head) } == ["Shop.example:8080", "one two"]
        )
        #expect(request.fields.map(\.known) == [.host, .other])
        #expect(read.framing == .none)
        #expect(read.isKeptAlive)
        #expect(!read.expectsContinue && !read.wantsWebSocket && !read.isVersion10)
    }

    @Test func `a head that comes byte by byte is the same head`() {
        let head = "\r\nPOST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"
        let bytes = Array(head.utf8)
        var (reader, end) = (RequestHead(), HeadEnd())
        for count in 1..<bytes.count {
            #expect(
                reader.read(bytes.span.extracting(..<count), end: &end) == .needInput,
                "\(count)"
            )
        }
        #expect(reader.read(bytes.span, end: &end) == .head(bytes: bytes.count))
        #expect(reader.framing == .length(3))
        // And the next one on the same connection with the same value.
        let next = Array("GET / HTTP/1.1\r\nHost: b\r\n\r\n".utf8)
        #expect(reader.read(next.span, end: &end) == .head(bytes: next.count))
        #expect(reader.framing == .none)
        #expect(reader.request.fields.count == 1)
    }

    @Test(arguments: HTTPMethod.allCases)
    func `every method is known by its name`(method: HTTPMethod) {
        let (step, head) = read("\(method.name ?? "QUERY") / HTTP/1.1\r\nHost: a:1\r\n\r\n")
        #expect(head.request.method == method)
        // A tunnel has no path to decide over.
        #expect((step == .refused(.connect)) == (method == .connect))
    }

    @Test(arguments: ["GET", "HEAD", "DELETE", "OPTIONS", "QUERY", "POST", "PUT", "PATCH"])
    func `a body that may be left unread is told`(method: String) {
        let isExpected = ["POST", "PUT", "PATCH"].contains(method)
        for field in ["Content-Length: 4", "Transfer-Encoding: chunked"] {
            let (_, head) = read("\(method) / HTTP/1.1\r\nHost: a\r\n\(field)\r\n\r\n")
            #expect(head.hasUnexpectedBody == !isExpected)
        }
        #expect(
            !read("\(method) / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").1
                .hasUnexpectedBody
        )
    }

    @Test(arguments: [
        ("Connection: close", false), ("Connection: Keep-Alive", true),
        ("Connection: te, close", false),
        ("X: y", true),
    ])
    func `a connection is kept unless it is said otherwise`(field: String, isKept: Bool) {
        let (_, head) = read("GET / HTTP/1.1\r\nHost: a\r\n\(field)\r\n\r\n")
        #expect(head.isKeptAlive == isKept)
        let (_, old) = read("GET / HTTP/1.0\r\nHost: a\r\n\(field)\r\n\r\n")
        #expect(old.isKeptAlive == (field == "Connection: Keep-Alive"))
        #expect(old.isVersion10)
    }

    @Test(arguments: [
        ("Connection: Upgrade\r\nUpgrade: WebSocket", true), ("Upgrade: websocket", false),
        ("Connection: upgrade", false), ("Connection: Upgrade\r\nUpgrade: h2c", false),
        ("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM", false),
        ("Connection: Upgrade\r\nUpgrade: websocket, h2c", false),
        ("Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3", false),
    ])
    func `a connection can become a WebSocket and nothing else`(fields: String, wants: Bool) {
        let text = "GET / HTTP/1.1\r\nHost: a\r\n\(fields)\r\n\r\n"
        let (step, head) = read(text)
        #expect(step == .head(bytes: text.utf8.count))
        #expect(head.wantsWebSocket == wants)
        #expect(!read("POST / HTTP/1.1\r\nHost: a\r\n\(fields)\r\n\r\n").1.wantsWebSocket)
    }

    @Test func `an absolute target and Host agree`() {
        let head = "GET http://A.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n"
        let (step, read) = read(head)
        #expect(step == .head(bytes: head.utf8.count))
        #expect(text(read.request.path, of: head) == "/x")
        let other = "GET http://a.example/x HTTP/1.1\r\nHost: b.example\r\n\r\n"
        #expect(refusal(other) == .hostDiffers)
        let port = "GET http://a.example/x HTTP/1.1\r\nHost: a.example:81\r\n\r\n"
        #expect(refusal(port) == .hostDiffers)
    }

    // MARK: - mesh: ways to smuggle a request

    @Test(arguments: [
        ("Content-Length: 4\r\nTransfer-Encoding: chunked", HTTPRefusal.framingTwice),
        ("Transfer-Encoding: chunked\r\nContent-Length: 4", .framingTwice),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", .transferEncoding),
        ("Transfer-Encoding: identity", .transferEncoding),
        ("Transfer-Encoding: chunked, identity", .transferEncoding),
        ("Transfer-Encoding: gzip, chunked", .transferEncoding),
        ("Transfer-Encoding: xchunked", .transferEncoding),
        ("Transfer-Encoding: \"chunked\"", .transferEncoding),
        ("Transfer-Encoding:\u{0B}chunked", .fieldValue),
        ("Transfer-Encoding : chunked", .fieldNameSpace),
        ("Transfer_Encoding: chunked", .fieldName),
        ("Content-Length: 4\r\nContent-Length: 4", .contentLengthRepeated),
        ("Content-Length: 4\r\nContent-Length: 5", .contentLengthRepeated),
        ("Content-Length: 4, 4", .contentLength), ("Content-Length: +4", .contentLength),
        ("Content-Length: -4", .contentLength), ("Content-Length: 0x4", .contentLength),
        ("Content-Length: 4 4", .contentLength), ("Content-Length: 04", .contentLength),
        ("Content-Length: ", .contentLength),
        ("Content-Length: 9999999999999999999", .contentLength),
        ("X: a\nTransfer-Encoding: chunked", .lineEnding), ("X: a\rY: b", .lineEnding),
        ("X: a\r\n Transfer-Encoding: chunked", .lineFolding), ("X: a\r\n\tb", .lineFolding),
        ("X:\ta", .fieldValue), ("X: a\t", .fieldValue), ("Content-Length: \t4", .fieldValue),
        ("X: a\u{0}b", .fieldValue), ("X\u{0}: a", .fieldName), (": a", .fieldName),
        ("no colon", .fieldNameSpace), ("nocolon", .fieldName), ("X(y): a", .fieldName),
        ("Trailer: X", .trailers), ("Host: b", .hostRepeated),
        ("Connection: host", .connectionOption),
        ("Connection: x-forwarded-client-cert", .connectionOption),
        ("Connection: close, authorization", .connectionOption),
        ("Connection: @", .connectionOption), ("Expect: 200-ok", .expectation),
        ("X.Forwarded.Client.Cert: URI=a", .fieldName), ("X+Request+ID: a", .fieldName),
        ("X-Original-URL: /admin", .fieldOverride), ("x-rewrite-url: /admin", .fieldOverride),
        ("X-HTTP-Method-Override: DELETE", .fieldOverride), ("X-HTTP-Method: PUT", .fieldOverride),
        ("X-Method-Override: PUT", .fieldOverride),
        ("Authorization: a\r\nAuthorization: b", .fieldRepeated),
        ("Content-Type: a\r\ncontent-type: a", .fieldRepeated),
        ("Expect: 100-continue\r\nExpect: 100-continue", .fieldRepeated),
        ("X-Request-ID: a\r\nX-Request-ID: b", .fieldRepeated),
    ])
    func `h1 smuggling: a field with two readings is refused`(
        field: String,
        refusal expected: HTTPRefusal
    ) {
        #expect(refusal("POST / HTTP/1.1\r\nHost: a\r\n\(field)\r\n\r\n") == expected)
        #expect(Self.status(of: expected) == expected.status)
    }

    @Test(arguments: [
        ("GET / HTTP/1.1\nHost: a\n\r\n\r\n", HTTPRefusal.lineEnding),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", .requestLine),
        ("GET /\r\nHost: a\r\n\r\n", .requestLine),
        ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", .requestLine),
        ("get / HTTP/1.1\r\nHost: a\r\n\r\n", .requestLine),
        ("GeT / HTTP/1.1\r\nHost: a\r\n\r\n", .method),
        ("G$T / HTTP/1.1\r\nHost: a\r\n\r\n", .method),
        ("H2 / HTTP/1.1\r\nHost: a\r\n\r\n", .method),
        ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", .method),
        (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", .requestLine),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", .requestLine),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", .version),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", .version),
        ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", .version),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", .requestLine),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", .lineEnding),
        ("GET / HTTP/1.1\r\n\r\n", .hostMissing),
        ("GET / HTTP/1.0\r\n\r\n", .hostMissing), ("GET / HTTP/1.1\r\nHost: \r\n\r\n", .authority),
        ("GET / HTTP/1.1\r\nHost: a.\r\n\r\n", .authority),
        ("GET / HTTP/1.1\r\nHost: a..b\r\n\r\n", .authority),
        ("GET / HTTP/1.1\r\nHost: [:::]\r\n\r\n", .authority),
        ("GET / HTTP/1.1\r\nHost: [..1]\r\n\r\n", .authority),
        ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", .authority),
        ("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", .authority),
        ("GET / HTTP/1.1\r\nHost: a:0\r\n\r\n", .authority),
        ("GET / HTTP/1.1\r\nHost: a:080\r\n\r\n", .authority),
        ("GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", .authority),
        ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", .authority),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", .target),
        ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", .target),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", .target),
        ("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", .target),
        ("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", .authority),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", .connect),
        ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", .transferEncoding),
        ("TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", .contentLength),
        ("\u{16}\u{3}\u{1}", .requestLine),
    ])
    func `h1 smuggling: a request line with two readings is refused`(
        head: String,
        refusal expected: HTTPRefusal
    ) {
        #expect(refusal(head) == expected)
        #expect(Self.status(of: expected) == expected.status)
    }

    // MARK: - Paths

    @Test(arguments: [
        ("//a", HTTPRefusal.pathEmptySegment), ("/a//b", .pathEmptySegment),
        ("/a/;x/b", .pathParameter),
        ("/.", .pathDotSegment), ("/a/./b", .pathDotSegment), ("/a/..", .pathDotSegment),
        ("/a/../b", .pathDotSegment), ("/a/..;/b", .pathParameter),
        ("/a/.;x=1/b", .pathParameter), ("/admin;x/b", .pathParameter),
        ("/a/%2e%2e/b", .pathEscape), ("/a/.%2e/b", .pathEscape), ("/a%2fb", .pathEscape),
        ("/a%2Fb", .pathEscape), ("/a%5cb", .pathEscape), ("/a\\b", .pathByte),
        ("/%61dmin", .pathEscape),
        ("/a%00", .pathEscape), ("/a%0d%0ab", .pathEscape), ("/a%", .pathEscape),
        ("/a%2", .pathEscape),
        ("/a%zz", .pathEscape), ("/a%252e", .pathEscape), ("/a%3bb", .pathEscape),
        ("/%c0%ae", .pathEscape), ("/%e0%80%ae", .pathEscape), ("/%f0%80%80%ae", .pathEscape),
        ("/a%3Fb", .pathEscape), ("/a%23b", .pathEscape), ("/%E9", .pathEscape),
        ("/%80", .pathEscape),
        ("/%ED%A0%80", .pathEscape), ("/%C3/a", .pathEscape), ("/%C3a", .pathEscape),
        ("/%F4%90%80%80", .pathEscape),
        ("/a#b", .pathByte), ("/a\"b", .pathByte), ("/\u{E9}", .pathByte),
        ("/a?b#c", .queryByte), ("/a?%", .queryByte), ("/a?b\\c", .queryByte),
    ])
    func `path confusion: a path with two readings is refused`(
        target: String,
        refusal expected: HTTPRefusal
    ) {
        #expect(refusal("GET \(target) HTTP/1.1\r\nHost: a\r\n\r\n") == expected)
        #expect(Self.status(of: expected) == expected.status)
    }

    @Test(arguments: [
        "/", "/a/", "/a/b.c", "/...", "/.well-known/x", "/..a", "/a%20b", "/a%3Ab%40c", "/100%25",
        "/%C3%A9", "/%e2%82%ac", "/%F0%9F%98%80", "/a:b@c!$&'()*+,=~", "/?",
        "/a?b=%2f&c=[]{}|^`\"?",
    ])
    func `an ordinary path is let through`(target: String) {
        let head = "GET \(target) HTTP/1.1\r\nHost: a\r\n\r\n"
        #expect(read(head).0 == .head(bytes: head.utf8.count))
    }

    @Test(arguments: [
        ("/v1/users:delete", "/v1/users%3Adelete"), ("/v1/users:delete", "/v1/users%3adelete"),
        ("/%C3%A9", "/%c3%A9"), ("/a%20b", "/a%20b"), ("/*", "/%2a"), ("/a%25", "/a%25"),
    ])
    func `two spellings of a path are compared in one`(one: String, other: String) {
        func spelling(_ path: String) -> String {
            let bytes = Array(path.utf8)
            return String(
                decoding: CanonicalPath.spelling(bytes.span, ByteRange(0..<bytes.count)),
                as: UTF8.self
            )
        }
        #expect(spelling(other) == one)
        #expect(spelling(one) == one)
    }

    // MARK: - Limits

    @Test func `what is over a limit is refused by its name, also before it ends`() {
        let limits = HeadLimits(headBytesMax: 200, targetBytesMax: 20, fieldsMax: 3)
        let long = String(repeating: "a", count: 300)
        #expect(refusal("GET /\(long)", limits: limits) == .targetBytesMax)
        #expect(
            refusal("GET /\(long.prefix(30)) HTTP/1.1\r\nHost: a\r\n\r\n", limits: limits)
                == .targetBytesMax
        )
        #expect(refusal("GET / HTTP/1.1\r\nHost: \(long)", limits: limits) == .headBytesMax)
        #expect(refusal("GET / HTTP/1.1\r\nHost: \(long)\r\n\r\n", limits: limits) == .headBytesMax)
        let fields = "A: 1\r\nB: 2\r\nC: 3\r\n"
        #expect(refusal("GET / HTTP/1.1\r\nHost: a\r\n\(fields)\r\n", limits: limits) == .fieldsMax)
        #expect(HTTPRefusal.fieldsMax.status == 431)
        #expect(HTTPRefusal.targetBytesMax.status == 414)
    }
}
