// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials

/// The answer to one request, after which its connection is closed.
package struct PublicAnswer: Hashable, Sendable {
    /// The label of requests for what is not served.
    package static let noDocument = "none"

    package let status: Int
    /// What it was about, for metrics: a document's label, or `noDocument`.
    package let document: String
    /// Status line and fields with the empty line.
    package let head: [UInt8]
    /// The document's own bytes, which every answer shares; empty for HEAD.
    package let body: [UInt8]

    /// Answers a request.
    ///
    /// - Parameters:
    ///   - request: What was asked for.
    ///   - pages: What is served; nil until the bundle was first read.
    ///   - now: The wall clock; nil while it is not believed.
    package init(to request: PublicRequest, from pages: PublicPages?, now: Date?) {
        switch request {
        case .refused(let status): self.init(status, now: now)
        case .document(let path, let isHead, let entityTag):
            guard let pages else {
                self.init(503, now: now)
                return
            }
            guard let page = pages.page(at: path) else {
                self.init(404, now: now)
                return
            }
            let isKnown = entityTag.map { $0 == Array(page.body.entityTag.utf8) } ?? false
            self.init(page, isKnown: isKnown, isHead: isHead, now: now)
        }
    }

    private init(_ page: PublicPages.Page, isKnown: Bool, isHead: Bool, now: Date?) {
        status = isKnown ? 304 : 200
        document = page.document.label
        var fields = [
            "cache-control: max-age=\(page.body.secondsKept(now: now))",
            "etag: \(page.body.entityTag)",
        ]
        if !isKnown {
            fields += [
                "content-type: \(page.body.contentType)",
                "content-length: \(page.body.bytes.count)",
            ]
        }
        head = Self.head(status, fields, now)
        body = isKnown || isHead ? [] : page.body.bytes
    }

    private init(_ status: Int, now: Date?) {
        self.status = status
        document = Self.noDocument
        var fields = ["cache-control: no-store", "content-length: 0"]
        if status == 405 { fields.append("allow: GET, HEAD") }
        head = Self.head(status, fields, now)
        body = []
    }

    private static func head(_ status: Int, _ fields: [String], _ now: Date?) -> [UInt8] {
        var lines = ["HTTP/1.1 \(status) \(reason(status))"] + fields
        if let now { lines.append("date: \(HTTPDate(now))") }
        lines += ["x-content-type-options: nosniff", "connection: close", "", ""]
        return Array(lines.joined(separator: "\r\n").utf8)
    }

    private static func reason(_ status: Int) -> String {
        switch status {
        case 200: "OK"
        case 304: "Not Modified"
        case 400: "Bad Request"
        case 404: "Not Found"
        case 405: "Method Not Allowed"
        case 414: "URI Too Long"
        case 417: "Expectation Failed"
        case 431: "Request Header Fields Too Large"
        case 503: "Service Unavailable"
        case 505: "HTTP Version Not Supported"
        default: "Refused"
        }
    }
}
