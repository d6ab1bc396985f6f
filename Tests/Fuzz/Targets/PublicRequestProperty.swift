// SPDX-License-Identifier: Apache-2.0

internal import PublicEndpoint

/// A stranger's request is read alike in one piece and byte by byte, names what stands in its first
/// line, and has one answer.
enum PublicRequestProperty {
    static func check(_ input: [UInt8]) throws(PropertyBroken) -> Bool {
        var whole = RequestReader()
        let request = whole.received(input)
        try expect(bytewise(input) == request, "in pieces it is another request")
        guard let request else { return false }
        let pages = try pages()
        let answer = PublicAnswer(to: request, from: pages, now: nil)
        try expectOneAnswer(answer)
        switch request {
        case .refused(let status):
            try expect(answer.status == status && status >= 400, "\(status) is no refusal")
            return false
        case .document(let path, let isHead, _):
            let line = Array((isHead ? "HEAD " : "GET ").utf8) + path + Array(" HTTP/1.".utf8)
            // A server may be sent an empty line before (RFC 9112 section 2.2).
            try expect(input.drop { $0 == 13 || $0 == 10 }.starts(with: line), "another path")
            try expect(!isHead || answer.body.isEmpty, "HEAD has a body")
            let isServed = path == Array("/td/keys".utf8)
            try expect([200, 304].contains(answer.status) == isServed, "another document")
            return true
        }
    }

    private static func bytewise(_ input: [UInt8]) -> PublicRequest? {
        var reader = RequestReader()
        for byte in input {
            if let request = reader.received(CollectionOfOne(byte)) { return request }
        }
        return nil
    }

    private static func pages() throws(PropertyBroken) -> PublicPages {
        try expectSuccess("the URL is one") {
            var pages = PublicPages(below: try PublicURL(parsing: "https://id.example.org/td"))
            pages.set(.bundle([0x7B, 0x7D]), as: .keys)
            return pages
        }
    }

    /// Nothing of a request stands in the head of its answer.
    private static func expectOneAnswer(_ answer: PublicAnswer) throws(PropertyBroken) {
        let head = String(decoding: answer.head, as: UTF8.self)
        try expect(head.hasPrefix("HTTP/1.1 \(answer.status) "), "no status line")
        try expect(!head.hasPrefix("HTTP/1.1 \(answer.status) Refused"), "a status without name")
        let parts = head.split(separator: "\r\n\r\n", omittingEmptySubsequences: false)
        try expect(parts.count == 2 && parts[1].isEmpty, "not one head")
        try expect(answer.body.isEmpty || answer.status == 200, "a refusal with a body")
    }
}
