// SPDX-License-Identifier: Apache-2.0

import HTTPCodec
import HTTPSemantics
import Testing

/// What a server behind the proxy is sent.
@Suite struct RequestRewriteTests {
    private static let id = RequestID(high: 0, low: 0)
    private static let idLine = "x-request-id: 00000000-0000-4000-8000-000000000000\r\n"
    private static let web = "spiffe://example.org/web"
    private static let identityLine =
        "x-forwarded-client-cert: By=spiffe://example.org/shop;Hash=00ff;URI=\(web)\r\n"

    private static func identity() throws -> ForwardedClientCert {
        try #require(
            ForwardedClientCert(by: "spiffe://example.org/shop", hash: [0, 0xFF], uri: web)
        )
    }

    private func rewritten(
        _ text: String,
        identity: ForwardedClientCert? = nil
    ) throws -> (text: String, ownID: ByteRange?) {
        let bytes = Array(text.utf8)
        var (head, end) = (RequestHead(), HeadEnd())
        try #require(head.read(bytes.span, end: &end) == .head(bytes: bytes.count))
        var output: [UInt8] = []
        let ownID = RequestRewrite(identity: identity)
            .write(head, bytes.span, requestID: Self.id, into: &output)
        #expect(
            output.count
                <= bytes.count + RequestRewrite.growthBytesMax + Self.identityLine.utf8.count
        )
        return (String(decoding: output, as: UTF8.self), ownID)
    }

    @Test func `a head without anything of the connection goes on byte for byte`() throws {
        let text = "GET /a?b HTTP/1.1\r\nHost:a\r\nX-Request-ID: r-1\r\nX-A:  b \r\n\r\n"
        let (output, ownID) = try rewritten(text)
        #expect(output == text)
        let range = try #require(ownID)
        #expect(Array(text.utf8)[range.range].elementsEqual("r-1".utf8))
    }

    @Test func `the peer is told, and nobody else says who is asking`() throws {
        let names = [
            "X-Forwarded-Client-Cert", "x-forwarded-client-cert", "Client-Cert",
            "Client-Cert-Chain", "L5d-Client-Id", "X-Forwarded-Tls-Client-Cert",
            "X-Forwarded-Tls-Client-Cert-Info", "Ssl-Client-Subject-DN", "X-SSL-Client-S-DN",
            "X-Amzn-Mtls-Clientcert-Leaf", "X-ARR-ClientCert", "X-Client-Cert",
            "X-Forwarded-Client-Cert-Chain", "X-Signet-Decision",
        ]
        let forged = names.map { "\($0): By=x;URI=spiffe://example.org/admin\r\n" }
        for place in [0, 1] {
            let fields = ["Host: a\r\n", "X-Client-Certainty: low\r\n", "X-B: c\r\n"]
            let lines = place == 0 ? forged + fields : fields + forged
            let text = "GET / HTTP/1.1\r\n\(lines.joined())\r\n"
            let kept = "GET / HTTP/1.1\r\nHost: a\r\nX-B: c\r\n"
            #expect(
                try rewritten(text, identity: Self.identity()).text
                    == kept + Self.identityLine + Self.idLine + "\r\n"
            )
            #expect(try rewritten(text).text == kept + Self.idLine + "\r\n")
        }
    }

    @Test func `fields like those of the identity are only fields`() throws {
        let fields =
            "X-Forwarded-For: a\r\nClient-Id: b\r\nSSL-Cli: c\r\nL5d-Dst: d\r\nCookie: e=f\r\n"
        let text = "GET / HTTP/1.1\r\nHost: a\r\nX-Request-ID: r\r\n\(fields)\r\n"
        #expect(try rewritten(text).text == text)
    }

    @Test(arguments: [
        "Connection: close", "Connection: keep-alive, te", "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive", "Proxy-Authorization: Basic x", "TE: trailers",
        "Upgrade: h2c", "Connection: Upgrade\r\nUpgrade: h2c", "HTTP2-Settings: AAM",
        "Proxy-Authenticate: Basic", "Upgrade: websocket", "X-Request-ID:",
        "X-Request-ID: a b", "x-request-id: \"><script>",
    ])
    func `what speaks of the client's connection ends here`(field: String) throws {
        let text = "GET / HTTP/1.1\r\nHost: a\r\n\(field)\r\nX-A: b\r\n\r\n"
        #expect(
            try rewritten(text).text
                == "GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n\(Self.idLine)\r\n"
        )
    }

    @Test(arguments: [
        "Content-Length: 3", "Transfer-Encoding: chunked", "Expect: 100-continue",
        "Authorization: x", "Cookie: a=b",
    ])
    func `what speaks of the message goes on`(field: String) throws {
        let text = "POST / HTTP/1.1\r\nHost: a\r\n\(field)\r\nX-Request-ID: r\r\n\r\n"
        #expect(try rewritten(text).text == text)
    }

    @Test func `a WebSocket is asked for`() throws {
        let text =
            "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n"
            + "Upgrade: websocket\r\nSec-WebSocket-Key: x\r\nX-Request-ID: r\r\n\r\n"
        #expect(
            try rewritten(text).text
                == "GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n"
                + "X-Request-ID: r\r\nconnection: upgrade\r\n\r\n"
        )
    }

    @Test(arguments: [
        ("\r\nGET / HTTP/1.1", "GET / HTTP/1.1"),
        ("GET http://A/x?y HTTP/1.1", "GET /x?y HTTP/1.1"),
        ("GET /x HTTP/1.0", "GET /x HTTP/1.1"), ("GET http://a/? HTTP/1.0", "GET /? HTTP/1.1"),
        ("OPTIONS * HTTP/1.0", "OPTIONS * HTTP/1.1"),
    ])
    func `a request line has the form that servers know`(line: String, sent: String) throws {
        let fields = "Host: a\r\nX-Request-ID: r\r\n\r\n"
        #expect(try rewritten("\(line)\r\n\(fields)").text == "\(sent)\r\n\(fields)")
    }

    @Test func `HTTP 1.0 expects nothing`() throws {
        let text = "POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nX-Request-ID: r\r\n\r\n"
        #expect(
            try rewritten(text).text == "POST / HTTP/1.1\r\nHost: a\r\nX-Request-ID: r\r\n\r\n"
        )
    }

    @Test func `a head that was rewritten is rewritten to itself but for the identity`() throws {
        let text =
            "GET http://a/b HTTP/1.0\r\nConnection: keep-alive\r\nHost: a\r\nExpect: 100-continue\r\n\r\n"
        let once = try rewritten(text).text
        #expect(try rewritten(once).text == once)
        let twice = try rewritten(
            rewritten(text, identity: Self.identity()).text,
            identity: Self.identity()
        ).text
        #expect(twice.ranges(of: "x-forwarded-client-cert").count == 1)
    }

    // MARK: - x-forwarded-client-cert

    @Test(arguments: [
        ("a", "a"), ("a,b", "\"a,b\""), ("a;b", "\"a;b\""), ("a=b", "\"a=b\""),
        ("a\"b", "\"a\\\"b\""), ("a b", "a b"), ("", ""),
    ])
    func `a value is quoted where its bytes mean something`(value: String, written: String) throws {
        let element = try #require(ForwardedClientCert(by: value, hash: [0xAB], uri: value))
        #expect(
            String(decoding: element.value, as: UTF8.self)
                == "By=\(written);Hash=ab;URI=\(written)"
        )
    }

    @Test(arguments: ["a\\", "a\r\nX: y", "a\u{0}", "é", "a\u{7F}"])
    func `an identity that would be read in two ways is not told`(value: String) {
        #expect(ForwardedClientCert(by: value, hash: [], uri: "a") == nil)
        #expect(ForwardedClientCert(by: "a", hash: [], uri: value) == nil)
    }
}
