// SPDX-License-Identifier: Apache-2.0

package import SPIFFE

/// A request that is refused, as OAuth says it (RFC 6749 section 5.2).
package struct EndpointRefusal: Error, Hashable, Sendable {
    /// The words of RFC 6749 and RFC 8693, and one more for what passes.
    package enum Word: String, CaseIterable, Hashable, Sendable {
        case invalidClient = "invalid_client"
        case invalidRequest = "invalid_request"
        case invalidTarget = "invalid_target"
        case temporarilyUnavailable = "temporarily_unavailable"
        case unsupportedGrantType = "unsupported_grant_type"
    }

    /// What stands behind `temporarily_unavailable`, for metrics: one word of OAuth means them all.
    package enum Cause: String, CaseIterable, Hashable, Sendable {
        /// What the server sent is not what it was asked for.
        case badAnswer
        /// More is asked for than is given.
        case limited
        /// The agent does not know enough yet to judge.
        case notReady
        /// Something has changed meanwhile.
        case overtaken
        /// No server was reached.
        case serverAway
        /// The server answered that it cannot now.
        case serverRefused
    }

    package let status: Int
    package let word: Word
    /// What broke which rule; nothing of a token.
    package let description: String
    /// In how many seconds the same may succeed.
    package let retryAfter: Int?
    /// Nil of what does not pass by itself.
    package let cause: Cause?

    /// Takes the parts as they are; the status is 400 unless said otherwise.
    package init(
        _ word: Word,
        _ description: String,
        status: Int = 400,
        retryAfter: Int? = nil,
        cause: Cause? = nil
    ) {
        self.status = status
        self.word = word
        self.description = description
        self.retryAfter = retryAfter
        self.cause = cause
    }

    /// The name in metrics, one of few.
    package var label: String { cause?.rawValue ?? word.rawValue }

    /// A refusal of the request itself (RFC 6749 5.2), whatever is asked again by it.
    package static func invalidRequest(_ description: String) -> Self {
        Self(.invalidRequest, description)
    }
}

/// The answer to one request, after which its connection is closed.
package struct EndpointAnswer: Hashable, Sendable {
    package let status: Int
    /// A JSON object; empty if there is nothing to say.
    package let body: [UInt8]
    private let fields: [String]

    /// An answer with an object.
    package init(_ status: Int, _ members: [String: JSONValue]) {
        self.init(status, JSONValue.object(members).encoded, [])
    }

    /// A refusal (RFC 6749 section 5.2).
    package init(_ refusal: EndpointRefusal) {
        let members: [String: JSONValue] = [
            "error": .string(refusal.word.rawValue),
            "error_description": .string(Self.described(refusal.description)),
        ]
        self.init(
            refusal.status,
            JSONValue.object(members).encoded,
            refusal.retryAfter.map { ["retry-after: \($0)"] } ?? []
        )
    }

    /// A refusal that is HTTP's own.
    package init(refusedWith status: Int) {
        self.init(status, [], status == 405 ? ["allow: POST"] : [])
    }

    private init(_ status: Int, _ body: [UInt8], _ fields: [String]) {
        self.status = status
        self.body = body
        self.fields = fields
    }

    /// Most bytes of a description: a sentence and a hop of two IDs.
    package static let descriptionBytesMax = 6 * 1024

    /// What may stand in a description (RFC 6749 section 5.2): no quotation mark, no backslash.
    private static func described(_ text: String) -> String {
        let bytes = text.utf8.prefix(descriptionBytesMax).map { byte in
            switch byte {
            case 0x22: UInt8(ascii: "'")
            case 0x20...0x5B, 0x5D...0x7E: byte
            default: UInt8(ascii: "?")
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Status line, fields and body.
    package var bytes: [UInt8] {
        var lines = ["HTTP/1.1 \(status) \(Self.reason(status))"]
        // RFC 6749 section 5.1 names both.
        lines += ["cache-control: no-store", "pragma: no-cache"]
        if !body.isEmpty { lines.append("content-type: application/json") }
        lines += ["content-length: \(body.count)"] + fields
        lines += ["x-content-type-options: nosniff", "connection: close", "", ""]
        return Array(lines.joined(separator: "\r\n").utf8) + body
    }

    private static func reason(_ status: Int) -> String {
        switch status {
        case 200: "OK"
        case 400: "Bad Request"
        case 404: "Not Found"
        case 405: "Method Not Allowed"
        case 411: "Length Required"
        case 413: "Content Too Large"
        case 414: "URI Too Long"
        case 417: "Expectation Failed"
        case 429: "Too Many Requests"
        case 431: "Request Header Fields Too Large"
        case 501: "Not Implemented"
        case 503: "Service Unavailable"
        case 505: "HTTP Version Not Supported"
        default: "Refused"
        }
    }
}
