// SPDX-License-Identifier: Apache-2.0

import HTTPCodec
import HTTPSemantics
import Testing

/// A chunked body has one reading (RFC 9112 section 7.1, docs/decisions/0007).
@Suite struct ChunkedBodyTests {
    /// Reads `text` in pieces of `size` bytes, as a connection would give it.
    private func read(
        _ text: String,
        piece size: Int
    ) -> (content: String, last: ChunkStep, used: Int) {
        let bytes = Array(text.utf8)
        var body = ChunkedBody()
        var content: [UInt8] = []
        var (start, arrived) = (0, 0)
        while true {
            let step = body.next(bytes.span.extracting(..<arrived), from: start)
            switch step {
            case .needInput:
                guard arrived < bytes.count else {
                    return (String(decoding: content, as: UTF8.self), step, start)
                }
                arrived = min(bytes.count, arrived + size)
            case .framing(let count): start += count
            case .content(let count):
                content += bytes[start..<(start + count)]
                start += count
            case .end(let count):
                return (String(decoding: content, as: UTF8.self), step, start + count)
            case .refused: return (String(decoding: content, as: UTF8.self), step, start)
            }
        }
    }

    @Test(arguments: [1, 2, 3, 7, 1000])
    func `content is the same in whatever pieces it comes`(piece: Int) {
        let body = "5\r\nhello\r\n00A\r\n, world..!\r\n0\r\n\r\n"
        let (content, last, used) = read(body + "GET /", piece: piece)
        #expect(content == "hello, world..!")
        #expect(last == .end(bytes: 2))
        #expect(used == body.utf8.count)
    }

    @Test(arguments: [
        ("5;a=b\r\nhello\r\n", HTTPRefusal.chunkExtension), ("5 \r\nhello\r\n", .chunkExtension),
        ("\r\n", .chunkSize), ("x\r\n", .chunkSize), ("-5\r\n", .chunkSize), ("+5\r\n", .chunkSize),
        ("0x5\r\n", .chunkSize), ("1000000000000000\r\n", .chunkSize),
        ("ffffffffffffffff\r\n", .chunkSize),
        ("5\nhello\n", .lineEnding), ("5\rxhello", .lineEnding), ("5\r\nhelloXX", .chunkEnd),
        ("5\r\nhello\n", .chunkEnd), ("5\r\nhello\rX", .chunkEnd), ("0\r\nX: y\r\n\r\n", .trailers),
        ("0\r\n\n", .trailers),
    ])
    func `h1 smuggling: a chunk with two readings is refused`(
        text: String,
        refusal: HTTPRefusal
    ) {
        for piece in [1, 1000] {
            #expect(read(text, piece: piece).last == .refused(refusal), "\(piece)")
        }
        #expect(refusal.status == 400)
    }

    @Test func `a size line that never ends is not waited for`() {
        let digits = String(repeating: "0", count: ChunkedBody.sizeLineBytesMax)
        #expect(read(digits, piece: 1).last == .refused(.chunkSize))
    }

    @Test func `a body that breaks off is not over`() {
        for count in 0..<15 {
            let text = String(
                decoding: Array("5\r\nhello\r\n0\r\n\r\n".utf8).prefix(count),
                as: UTF8.self
            )
            #expect(read(text, piece: 4).last == .needInput, "\(count)")
        }
    }
}
