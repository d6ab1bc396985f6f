// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import PublicEndpoint
import Testing

@Suite struct PublicAnswerTests {
    private let now = Date(timeIntervalSince1970: 784_111_777)
    private let pages: PublicPages
    private let keys = PublicBody.bundle(Array("keys".utf8))

    init() throws {
        let url = try PublicURL(parsing: "https://id.example.org/td")
        var pages = PublicPages(below: url)
        pages.set(PublicBody.discovery(of: url), as: .discovery)
        pages.set(keys, as: .keys)
        pages.set(
            PublicBody.list([0x30, 0x00], nextUpdate: now.addingTimeInterval(15.5)),
            as: .list(authorityID: "a1")
        )
        self.pages = pages
    }

    @Test func `without a public URL a document is at its own path`() throws {
        var pages = PublicPages(below: nil)
        pages.set(keys, as: .bundle)
        func status(_ path: String) throws -> Int {
            try answer("GET \(path) HTTP/1.1\r\nHost: x\r\n\r\n", from: pages, now: now).status
        }
        #expect(try status("/bundle") == 200)
        #expect(try status("/td/bundle") == 404)
        #expect(try status("/keys") == 404)
    }

    private func answer(
        _ request: String,
        from pages: PublicPages?,
        now: Date?
    ) throws -> PublicAnswer {
        var reader = RequestReader()
        let asked = reader.received(Array(request.utf8))
        return PublicAnswer(to: try #require(asked), from: pages, now: now)
    }

    private func get(_ target: String, _ more: String = "") throws -> PublicAnswer {
        let request = "GET \(target) HTTP/1.1\r\nHost: any.example\r\n\(more)\r\n"
        return try answer(request, from: pages, now: now)
    }

    private func head(_ answer: PublicAnswer) -> String {
        String(decoding: answer.head, as: UTF8.self)
    }

    @Test func `a document is answered with everything that caches need`() throws {
        let answer = try get("/td/keys")
        #expect(answer.status == 200)
        #expect(answer.document == "keys")
        #expect(answer.body == keys.bytes)
        #expect(
            head(answer) == """
                HTTP/1.1 200 OK\r
                cache-control: max-age=60\r
                etag: \(keys.entityTag)\r
                content-type: application/json\r
                content-length: 4\r
                date: Sun, 06 Nov 1994 08:49:37 GMT\r
                x-content-type-options: nosniff\r
                connection: close\r
                \r

                """
        )
    }

    @Test func `HEAD is answered as GET without the body`() throws {
        let whole = try get("/td/keys")
        let request = "HEAD /td/keys HTTP/1.1\r\nHost: x\r\n\r\n"
        let answer = try answer(request, from: pages, now: now)
        #expect(answer.head == whole.head)
        #expect(answer.body.isEmpty)
    }

    @Test func `an equal If-None-Match is answered with 304`() throws {
        let answer = try get("/td/keys", "If-None-Match: \(keys.entityTag)\r\n")
        #expect(answer.status == 304)
        #expect(answer.document == "keys")
        #expect(answer.body.isEmpty)
        #expect(head(answer).contains("etag: \(keys.entityTag)\r\n"))
        #expect(!head(answer).contains("content-length"))
    }

    @Test(arguments: ["*", "W/TAG", "TAG, \"x\"", "\"x\"", "TAG\r\nIf-None-Match: TAG"])
    func `any other form of it is answered in full`(form: String) throws {
        let value = form.replacing("TAG", with: keys.entityTag)
        #expect(try get("/td/keys", "If-None-Match: \(value)\r\n").status == 200)
    }

    @Test func `a list is kept no longer than until its next update`() throws {
        #expect(head(try get("/td/crl/a1.crl")).contains("cache-control: max-age=15\r\n"))
        func kept(_ now: Date?) throws -> String {
            let request = "GET /td/crl/a1.crl HTTP/1.1\r\nHost: x\r\n\r\n"
            return head(try answer(request, from: pages, now: now))
        }
        #expect(try kept(now.addingTimeInterval(-600)).contains("max-age=60\r\n"))
        #expect(try kept(now.addingTimeInterval(16)).contains("max-age=0\r\n"))
    }

    @Test func `without a believed clock there is no date, and lists are not kept`() throws {
        let request = "GET /td/crl/a1.crl HTTP/1.1\r\nHost: x\r\n\r\n"
        let text = head(try answer(request, from: pages, now: nil))
        #expect(text.contains("max-age=0\r\n"))
        #expect(!text.contains("date:"))
    }

    @Test func `before the bundle was read the answer is 503`() throws {
        let request = "GET /td/keys HTTP/1.1\r\nHost: x\r\n\r\n"
        let answer = try answer(request, from: nil, now: now)
        #expect(answer.status == 503)
        #expect(head(answer).contains("cache-control: no-store\r\n"))
    }

    @Test(arguments: [
        "/keys", "/td", "/td/", "/td/keys/", "/td/Keys", "/td/keys?x", "/td/keys?", "/td//keys",
        "/td/./keys", "/td/x/../keys", "/td/%6beys", "/td/keys;x", "/td/keys%00",
        "http://any.example/td/keys", "https://any.example/td/keys", "/td/authorize",
        "/td/bundle", "/td/crl/a2.crl", "/td/crl.pem",
    ])
    func `what differs from a path in any way is 404`(target: String) throws {
        let answer = try get(target)
        #expect(answer.status == 404)
        #expect(answer.document == PublicAnswer.noDocument)
        #expect(head(answer).contains("cache-control: no-store\r\n"))
        #expect(head(answer).contains("x-content-type-options: nosniff\r\n"))
    }

    struct Refused: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let request: String
        let status: Int
    }

    @Test(arguments: [
        Refused(
            testDescription: "another method",
            request: "POST /td/keys HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
            status: 405
        ),
        Refused(
            testDescription: "OPTIONS",
            request: "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
            status: 405
        ),
        Refused(
            testDescription: "CONNECT",
            request: "CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
            status: 405
        ),
        Refused(
            testDescription: "a body",
            request: "GET /td/keys HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody",
            status: 400
        ),
        Refused(
            testDescription: "a chunked body",
            request: "GET /td/keys HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
            status: 400
        ),
        Refused(
            testDescription: "an upgrade",
            request: "GET /td/keys HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\n\r\n",
            status: 400
        ),
        Refused(testDescription: "no HTTP", request: "\u{16}\u{03}\u{01}", status: 400),
        Refused(
            testDescription: "another version",
            request: "GET / HTTP/2.0\r\nHost: x\r\n\r\n",
            status: 505
        ),
        Refused(
            testDescription: "a long target",
            request: "GET /\(String(repeating: "a", count: 2048)) HTTP/1.1\r\nHost: x\r\n\r\n",
            status: 414
        ),
        Refused(
            testDescription: "many fields",
            request: "GET / HTTP/1.1\r\nHost: x\r\n"
                + (0..<64).map { "a\($0): b\r\n" }.joined() + "\r\n",
            status: 431
        ),
        Refused(
            testDescription: "an endless head",
            request: "GET / HTTP/1.1\r\nHost: x\r\nA: \(String(repeating: "b", count: 9000))",
            status: 431
        ),
    ])
    func `what is no plain GET is refused`(_ refused: Refused) throws {
        let answer = try answer(refused.request, from: pages, now: now)
        #expect(answer.status == refused.status)
        #expect(answer.body.isEmpty)
        #expect(head(answer).contains("cache-control: no-store\r\n"))
        #expect(head(answer).contains("allow: GET, HEAD\r\n") == (refused.status == 405))
    }

    @Test func `a head is read however it arrives`() {
        var reader = RequestReader()
        let request = Array("GET /td/keys HTTP/1.1\r\nHost: x\r\n\r\n".utf8)
        for byte in request.dropLast() { #expect(reader.received([byte]) == nil) }
        #expect(
            reader.received(request.suffix(1))
                == .document(path: Array("/td/keys".utf8), isHead: false, entityTag: nil)
        )
    }
}
