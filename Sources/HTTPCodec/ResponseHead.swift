// SPDX-License-Identifier: Apache-2.0

package import HTTPSemantics

/// The head of an HTTP/1 response, read strictly (RFC 9112 section 4).
///
/// A server whose answer has two readings is as dangerous as a client: what one side takes for the
/// next answer, the other takes for a body.
package struct ResponseHead: Sendable {
    package private(set) var status = 0
    package private(set) var fields: [HeaderField] = []
    package private(set) var framing = BodyFraming.none
    /// Whether the server takes another request on this connection.
    package private(set) var isKeptAlive = true
    /// Whether it is not the answer yet but a word before it (RFC 9110 section 15.2); 101 is none.
    package var isInterim: Bool { (100..<200).contains(status) && status != 101 }

    /// Where the lines end and the empty one begins.
    var fieldsEnd: Int { bytes - 2 }
    /// HTTP/1.0: the connection ends unless the server says otherwise.
    package private(set) var isVersion10 = false

    private let limits: HeadLimits
    private var bytes = 0
    private var isWebSocket = false

    package init(limits: HeadLimits = .defaults) {
        self.limits = limits
        fields.reserveCapacity(limits.fieldsMax)
    }

    /// Reads the head at the beginning of `input`.
    ///
    /// - Parameters:
    ///   - input: Everything that has arrived of it, from its first byte on.
    ///   - end: What the connection remembers of a head that was not whole before.
    ///   - method: Of the request that it answers, which decides whether there is a body.
    ///   - askedForWebSocket: Whether that request did, so that 101 is an answer to it.
    /// - Returns: What came of it. After `.refused` the connection is over.
    package mutating func read(
        _ input: Span<UInt8>,
        end: inout HeadEnd,
        answering method: HTTPMethod,
        askedForWebSocket: Bool = false
    ) -> HeadStep {
        guard input.count > 0 else { return .needInput }
        guard input[0] == UInt8(ascii: "H") else { return .refused(.statusLine) }
        guard let length = end.find(input, from: 0) else {
            return input.count < limits.headBytesMax ? .needInput : .refused(.headBytesMax)
        }
        guard length <= limits.headBytesMax else { return .refused(.headBytesMax) }
        do throws(HTTPRefusal) {
            try parse(input, length - 2, answering: method)
            // Nor to another protocol than the one that was asked for.
            guard status != 101 || askedForWebSocket && isWebSocket else {
                return .refused(.upgradeUnasked)
            }
            bytes = length
            return .head(bytes: length)
        } catch {
            return .refused(error)
        }
    }

    private static let http: [UInt8] = Array("HTTP/1.".utf8)

    private mutating func parse(
        _ input: Span<UInt8>,
        _ end: Int,
        answering method: HTTPMethod
    ) throws(HTTPRefusal) {
        fields.removeAll(keepingCapacity: true)
        (framing, isKeptAlive, isWebSocket) = (.none, false, false)
        var index = try statusLine(input, end)
        var length: UInt64?
        var (isChunked, close, keepAlive, hasUpgrade) = (false, false, false, false)
        while index < end {
            guard fields.count < limits.fieldsMax else { throw .fieldsMax }
            let (field, next) = try FieldLine.read(input, index..<end)
            fields.append(field)
            index = next
            switch field.known {
            case .contentLength:
                guard length == nil else { throw .contentLengthRepeated }
                length = try FieldValue.length(input, field.value)
            case .transferEncoding:
                guard !isChunked, FieldValue.isChunked(input, field.value), !isVersion10 else {
                    throw .transferEncoding
                }
                isChunked = true
            case .connection:
                let options = try FieldValue.connectionOptions(input, field.value)
                close = close || options.close
                keepAlive = keepAlive || options.keepAlive
            case .trailer: throw .trailers
            case .upgrade:
                // A second one would be another protocol for some.
                isWebSocket = !hasUpgrade && FieldValue.isWebSocket(input, field.value)
                hasUpgrade = true
            default: break
            }
        }
        guard length == nil || !isChunked else { throw .framingTwice }
        // RFC 9110 section 8.6 and RFC 9112 section 6.1: there is nothing that they could be of.
        guard status >= 200 && status != 204 || !isChunked && (length ?? 0) == 0 else {
            throw .bodyForbidden
        }
        if Self.hasNoBody(status, method) {
            framing = .none
        } else if isChunked {
            framing = .chunked
        } else if let length {
            framing = length == 0 ? .none : .length(length)
        } else {
            framing = .untilClose
        }
        isKeptAlive =
            framing != .untilClose && status != 101 && !close && (!isVersion10 || keepAlive)
    }

    private static func hasNoBody(_ status: Int, _ method: HTTPMethod) -> Bool {
        method == .head || status < 200 || status == 204 || status == 304
    }

    /// Reads `HTTP/1.1 200 reason`.
    ///
    /// - Returns: Where the next line begins.
    private mutating func statusLine(
        _ input: Span<UInt8>,
        _ end: Int
    ) throws(HTTPRefusal) -> Int {
        guard end >= 14, input.holds(Self.http, at: ByteRange(0..<7)), input[8] == Octet.space
        else {
            throw .statusLine
        }
        let minor = input[7]
        guard minor == UInt8(ascii: "1") || minor == UInt8(ascii: "0") else { throw .version }
        var status = 0
        for index in 9..<12 {
            guard Octet.isDigit(input[index]) else { throw .statusLine }
            status = status * 10 + Int(input[index] &- UInt8(ascii: "0"))
        }
        guard (100..<600).contains(status) else { throw .statusLine }
        self.status = status
        var index = 12
        if input[index] == Octet.space {
            index += 1
            while Octet.isFieldValue(input[index]) { index += 1 }
        }
        guard input[index] == Octet.carriageReturn, input[index + 1] == Octet.lineFeed else {
            throw .lineEnding
        }
        isVersion10 = minor == UInt8(ascii: "0")
        return index + 2
    }
}
