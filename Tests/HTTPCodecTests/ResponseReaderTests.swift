// SPDX-License-Identifier: Apache-2.0

import HTTPCodec
import HTTPSemantics
import Testing

struct ResponseReaderTests {
    /// Reads a response in one piece, and expects the same of it byte by byte.
    private static func read(
        _ text: String,
        sourceLocation: SourceLocation = #_sourceLocation
    ) -> FetchedResponse? {
        let bytes = Array(text.utf8)
        var reader = ResponseReader()
        let whole = reader.received(bytes)
        var slow = ResponseReader()
        var answers: [FetchedResponse] = []
        for byte in bytes {
            if let answer = slow.received(CollectionOfOne(byte)) { answers.append(answer) }
        }
        #expect(answers == [whole].compactMap(\.self), sourceLocation: sourceLocation)
        return whole ?? reader.connectionEnded()
    }

    private static func malformed(_ defect: FetchFailure.ResponseDefect) -> FetchedResponse {
        .failed(.responseMalformed(defect))
    }

    @Test(
        arguments: [
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            "HTTP/1.1 200\r\nContent-Type: text/html\r\ncontent-length: 2\r\n\r\n{}more",
            "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
        ]
    )
    func `the content of a 200 is its length's or its chunks'`(text: String) {
        #expect(Self.read(text) == .content(Array("{}".utf8)))
    }

    @Test func `no content is content`() {
        #expect(Self.read("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") == .content([]))
    }

    @Test(arguments: [301, 302, 303, 307, 308])
    func `F-9 a redirect leads where its only Location says`(status: Int) {
        let head = "HTTP/1.1 \(status) Moved\r\n"
        #expect(
            Self.read(head + "LOCATION:  /x \r\n\r\n")
                == .redirect(location: Array("/x".utf8))
        )
        #expect(Self.read(head + "Content-Length: 0\r\n\r\n") == Self.malformed(.location))
        #expect(
            Self.read(head + "Location: /x\r\nLocation: /x\r\n\r\n") == Self.malformed(.location)
        )
    }

    @Test(arguments: [201, 204, 206, 300, 304, 305, 400, 403, 404, 500, 503])
    func `another status is of no use, whatever comes with it`(status: Int) {
        #expect(
            Self.read("HTTP/1.1 \(status) X\r\nLocation: /x\r\n\r\n")
                == .failed(.statusUnexpected(status))
        )
    }

    @Test(
        arguments: [
            ("HTTP/1.1 200 OK\r\n\r\n{}", .lengthMissing),
            ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}", .lengthMissing),
            (
                "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
                .contentEncoding
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-encoding: identity\r\nContent-Length: 2\r\n\r\n{}",
                .contentEncoding
            ),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", .interim),
            ("HTTP/1.1 103 Hints\r\n\r\n", .interim),
            ("HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n", .refused(.upgradeUnasked)),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
                .refused(.framingTwice)
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n",
                .refused(.contentLengthRepeated)
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                .refused(.transferEncoding)
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\n",
                .refused(.chunkExtension)
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n",
                .refused(.trailers)
            ),
            ("HTTP/2 200\r\n\r\n", .refused(.statusLine)), ("<html>", .refused(.statusLine)),
            ("", .brokenOff), ("HTTP/1.1 200 OK\r\nContent-Le", .brokenOff),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}", .brokenOff),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", .brokenOff),
        ] as [(String, FetchFailure.ResponseDefect)]
    )
    func `what is not whole and plain is malformed`(
        text: String,
        defect: FetchFailure.ResponseDefect
    ) {
        #expect(Self.read(text) == Self.malformed(defect))
    }

    @Test func `a head has 16 KiB at most`() {
        let start = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: "
        let room = ResponseReader.headBytesMax - start.utf8.count - 4
        let most = start + String(repeating: "x", count: room) + "\r\n\r\n"
        #expect(Self.read(most) == .content([]))
        let more = start + String(repeating: "x", count: room + 1) + "\r\n\r\n"
        #expect(Self.read(more) == Self.malformed(.refused(.headBytesMax)))
        let fields = String(repeating: "X: y\r\n", count: ResponseReader.fieldsMax + 1)
        #expect(
            Self.read("HTTP/1.1 200 OK\r\n" + fields + "\r\n")
                == Self.malformed(.refused(.fieldsMax))
        )
    }

    @Test func `a body has 256 KiB at most, and a longer one is not waited for`() {
        let most = ResponseReader.bodyBytesMax
        let content = [UInt8](repeating: UInt8(ascii: "x"), count: most)
        var reader = ResponseReader()
        let length = "HTTP/1.1 200 OK\r\nContent-Length: \(most)\r\n\r\n"
        #expect(reader.received(Array(length.utf8)) == nil)
        #expect(reader.received(content) == .content(content))
        #expect(
            Self.read("HTTP/1.1 200 OK\r\nContent-Length: \(most + 1)\r\n\r\n")
                == .failed(.bodyTooLarge)
        )
        for (count, last) in [
            (most, FetchedResponse.content(content)), (most + 1, .failed(.bodyTooLarge)),
        ] {
            var reader = ResponseReader()
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            #expect(reader.received(Array(head.utf8)) == nil)
            let size = Array("\(String(count, radix: 16))\r\n".utf8)
            let end = Array("\r\n0\r\n\r\n".utf8)
            let body = [UInt8](repeating: UInt8(ascii: "x"), count: count)
            #expect(reader.received(size + body + end) == last)
        }
    }

    @Test func `nothing is told twice`() {
        var reader = ResponseReader()
        let text = "HTTP/1.1 404 No\r\n\r\n"
        #expect(reader.received(Array(text.utf8)) == .failed(.statusUnexpected(404)))
        #expect(reader.received(Array(text.utf8)) == nil)
        #expect(reader.connectionEnded() == nil)
    }
}
