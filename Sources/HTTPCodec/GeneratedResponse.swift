// SPDX-License-Identifier: Apache-2.0

package import HTTPSemantics

/// The status of an answer that the proxy gives itself.
package enum GeneratedStatus: UInt8, CaseIterable, Hashable, Sendable {
    case badRequest
    case forbidden
    case notFound
    case methodNotAllowed
    case requestTimeout
    case contentTooLarge
    case targetTooLong
    case expectationFailed
    case tooManyRequests
    case headTooLarge
    case internalError
    case badGateway
    case serviceUnavailable
    case gatewayTimeout
    case versionNotSupported

    /// The status that tells a client why its request is refused.
    package init(_ refusal: HTTPRefusal) {
        let code = refusal.status
        self = Self.allCases.first { $0.code == code } ?? .badRequest
    }

    /// The number that stands in the answer.
    package var code: Int {
        switch self {
        case .badRequest: 400
        case .forbidden: 403
        case .notFound: 404
        case .methodNotAllowed: 405
        case .requestTimeout: 408
        case .contentTooLarge: 413
        case .targetTooLong: 414
        case .expectationFailed: 417
        case .tooManyRequests: 429
        case .headTooLarge: 431
        case .internalError: 500
        case .badGateway: 502
        case .serviceUnavailable: 503
        case .gatewayTimeout: 504
        case .versionNotSupported: 505
        }
    }

    /// Its name (RFC 9110 section 15, RFC 6585).
    var name: String {
        switch self {
        case .badRequest: "Bad Request"
        case .forbidden: "Forbidden"
        case .notFound: "Not Found"
        case .methodNotAllowed: "Method Not Allowed"
        case .requestTimeout: "Request Timeout"
        case .contentTooLarge: "Content Too Large"
        case .targetTooLong: "URI Too Long"
        case .expectationFailed: "Expectation Failed"
        case .tooManyRequests: "Too Many Requests"
        case .headTooLarge: "Request Header Fields Too Large"
        case .internalError: "Internal Server Error"
        case .badGateway: "Bad Gateway"
        case .serviceUnavailable: "Service Unavailable"
        case .gatewayTimeout: "Gateway Timeout"
        case .versionNotSupported: "HTTP Version Not Supported"
        }
    }

    /// What a client is told; the reason is for those who run the proxy.
    var sentence: String {
        switch self {
        case .badRequest: "The request cannot be passed on."
        case .forbidden: "The request is not allowed."
        case .notFound: "There is nothing here for this request."
        case .methodNotAllowed: "The method is not served here."
        case .requestTimeout: "The request did not come in time."
        case .contentTooLarge: "The content of the request is too large."
        case .targetTooLong: "The target of the request is too long."
        case .expectationFailed: "What the request expects cannot be done."
        case .tooManyRequests: "There are too many requests."
        case .headTooLarge: "The fields of the request are too large."
        case .internalError: "The request could not be passed on."
        case .badGateway: "The service gave no answer that can be passed on."
        case .serviceUnavailable: "The service is not available."
        case .gatewayTimeout: "The service did not answer in time."
        case .versionNotSupported: "The version of HTTP is not served here."
        }
    }
}

/// The answers that the proxy gives itself, prepared once per worker.
///
/// They hold a sentence, the word of a rule and a decision's ID, never a byte of what was sent:
/// nobody can make the proxy say something to a browser.
package struct GeneratedResponses: Sendable {
    /// All that is ever said, in one piece of memory.
    private let texts: [UInt8]
    /// Everything up to the length; by the raw value of the status.
    private let heads: [ByteRange]
    private let sentences: [ByteRange]
    /// The line with the word of each refusal, by its raw value.
    private let rules: [ByteRange]

    private static let decisionField = "x-signet-decision: "
    private static let decisionWord = "decision "
    private static let ruleWord = "rule "

    package init() {
        var texts: [UInt8] = []
        func keep(_ text: String) -> ByteRange {
            let start = texts.count
            texts += text.utf8
            return ByteRange(start..<texts.count)
        }
        heads = GeneratedStatus.allCases.map { status in
            // RFC 9110 section 15.5.6 wants the methods that are.
            let allow =
                status == .methodNotAllowed
                ? "allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n" : ""
            return keep(
                """
                HTTP/1.1 \(status.code) \(status.name)\r
                content-type: text/plain; charset=utf-8\r
                \(allow)content-length:\u{20}
                """
            )
        }
        sentences = GeneratedStatus.allCases.map { keep("\($0.sentence)\n") }
        rules = HTTPRefusal.allCases.map { keep("\(Self.ruleWord)\($0.reason)\n") }
        self.texts = texts
    }

    /// Writes a whole answer.
    ///
    /// - Parameters:
    ///   - status: What went wrong.
    ///   - request: What it answers; `RequestTraits.unknown` if no head was read.
    ///   - refusal: The rule that the client's own bytes break; nil where the reason is not for
    ///     clients.
    ///   - decision: The decision that it follows from, if there was one.
    ///   - connection: What becomes of the client's connection.
    ///   - sink: What it is appended to.
    package func write<Sink: ByteSink & ~Copyable>(
        _ status: GeneratedStatus,
        to request: RequestTraits,
        refusal: HTTPRefusal? = nil,
        decision: DecisionID? = nil,
        connection: ClientConnection,
        into sink: inout Sink
    ) {
        let place = Int(status.rawValue)
        let rulePlace = refusal.map { Int($0.rawValue) }
        var count = sentences[place].count
        if let rulePlace { count += rules[rulePlace].count }
        if decision != nil { count += Self.decisionWord.utf8.count + DecisionID.length + 1 }
        sink.append(texts.span.extracting(heads[place].range))
        Self.append(count, into: &sink)
        if let decision {
            sink.append(text: Self.decisionField)
            Self.append(decision, into: &sink)
            sink.append(text: "\r\n")
        }
        ConnectionLine.append(connection, into: &sink)
        sink.append(text: "\r\n")
        guard request.method != .head else { return }
        sink.append(texts.span.extracting(sentences[place].range))
        if let rulePlace { sink.append(texts.span.extracting(rules[rulePlace].range)) }
        if let decision {
            sink.append(text: Self.decisionWord)
            Self.append(decision, into: &sink)
            sink.append(text: "\n")
        }
    }

    private static func append<Sink: ByteSink & ~Copyable>(
        _ decision: DecisionID,
        into sink: inout Sink
    ) {
        let text = decision.text
        sink.append(text.span)
    }

    /// Appends the length of a short body and the line's end.
    private static func append<Sink: ByteSink & ~Copyable>(_ count: Int, into sink: inout Sink) {
        let line = InlineArray<5, UInt8> { place in
            switch place {
            case 0: 0x30 + UInt8(truncatingIfNeeded: count / 100 % 10)
            case 1: 0x30 + UInt8(truncatingIfNeeded: count / 10 % 10)
            case 2: 0x30 + UInt8(truncatingIfNeeded: count % 10)
            case 3: Octet.carriageReturn
            default: Octet.lineFeed
            }
        }
        // A leading zero has two readings.
        sink.append(line.span.extracting((count < 100 ? 1 : 0)...))
    }
}
