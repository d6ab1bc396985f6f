// SPDX-License-Identifier: Apache-2.0

package import HTTPSemantics

/// The head of an HTTP/1 request, read strictly (RFC 9112, docs/decisions/0007).
///
/// One value serves all requests of all connections of a worker one after the other and keeps its
/// memory, so that a request that is read allocates nothing. It does no input or output: the bytes
/// of a head are given to it whole, or again with more.
package struct RequestHead: Sendable {
    /// The request; worth something after `.head` and with the same bytes only.
    package private(set) var request = CanonicalRequest()
    package private(set) var framing = BodyFraming.none
    /// Whether the client wants to send more on this connection.
    package private(set) var isKeptAlive = true
    /// Whether the client waits for `100 Continue` before it sends the body.
    package private(set) var expectsContinue = false
    /// Whether it asks for a WebSocket on the connection (RFC 9110 section 7.8, RFC 6455); every
    /// other protocol is not passed on, so that the server stays with this one.
    package private(set) var wantsWebSocket = false
    /// Whether there is a body that servers do not expect with this method, so that some leave it
    /// unread: the connection on which it was sent must not be used again.
    package var hasUnexpectedBody: Bool {
        guard framing != .none else { return false }
        switch request.method {
        case .get, .head, .delete, .options, .trace, .other: return true
        case .connect, .patch, .post, .put: return false
        }
    }
    /// Where the lines end and the empty one begins.
    var fieldsEnd: Int { bytes - 2 }
    /// Where the version's last digit stands.
    var minorVersion: Int { Int((request.query ?? request.path).upper) + 8 }
    /// Whether the target was in absolute form.
    var isAbsolute: Bool { seen.isAbsolute }
    private var bytes = 0

    /// HTTP/1.0: no chunks, and the connection ends unless it was asked to stay.
    package private(set) var isVersion10 = false

    private let limits: HeadLimits
    private var seen = SeenFields()

    /// What was seen of the fields that decide about framing and connection.
    private struct SeenFields {
        var host: ByteRange?
        var length: UInt64?
        var isChunked = false
        var close = false
        var keepAlive = false
        var upgradeOption = false
        var isWebSocket = false
        var isAbsolute = false
        /// One bit for each known field that may come only once.
        var singles: UInt32 = 0
    }

    package init(limits: HeadLimits = .defaults) {
        self.limits = limits
        request.fields.reserveCapacity(limits.fieldsMax)
    }

    /// Reads the head at the beginning of `input`.
    ///
    /// - Parameters:
    ///   - input: Everything that has arrived of it, from its first byte on.
    ///   - end: What the connection remembers of a head that was not whole before.
    /// - Returns: What came of it. After `.refused` the connection is over: where the next request
    ///   would begin is not known.
    package mutating func read(_ input: Span<UInt8>, end: inout HeadEnd) -> HeadStep {
        // One empty line before a request is a habit of old clients (RFC 9112 section 2.2).
        let start = Self.emptyLine(input)
        guard start < input.count else { return .needInput }
        // What does not begin like a method is another protocol: it is not waited for.
        guard Octet.isUppercaseLetter(input[start]) else { return .refused(.requestLine) }
        guard let length = end.find(input, from: start) else {
            guard input.count < limits.headBytesMax else { return .refused(excess(input, start)) }
            return .needInput
        }
        guard length <= limits.headBytesMax else { return .refused(excess(input, start)) }
        do throws(HTTPRefusal) {
            try parse(input, start..<(length - 2))
            bytes = length
            return .head(bytes: length)
        } catch {
            return .refused(error)
        }
    }

    private static func emptyLine(_ input: Span<UInt8>) -> Int {
        guard input.count > 0, input[0] == Octet.carriageReturn else { return 0 }
        guard input.count > 1 else { return 1 }
        return input[1] == Octet.lineFeed ? 2 : 0
    }

    /// Which limit a head without end is over.
    private func excess(_ input: Span<UInt8>, _ start: Int) -> HTTPRefusal {
        for index in start..<min(input.count, limits.targetBytesMax)
        where input[index] == Octet.lineFeed {
            return .headBytesMax
        }
        return .targetBytesMax
    }

    // MARK: - The lines

    /// Reads the lines of `head`, which ends after the CR LF of its last line.
    private mutating func parse(
        _ input: Span<UInt8>,
        _ head: Range<Int>
    ) throws(HTTPRefusal) {
        request.fields.removeAll(keepingCapacity: true)
        seen = SeenFields()
        framing = .none
        isKeptAlive = false
        expectsContinue = false
        wantsWebSocket = false
        var index = try requestLine(input, head)
        while index < head.upperBound {
            guard request.fields.count < limits.fieldsMax else { throw .fieldsMax }
            let (field, next) = try FieldLine.read(input, index..<head.upperBound)
            request.fields.append(field)
            try note(input, field)
            index = next
        }
        try settle(input)
    }

    /// - Returns: Where the next line begins.
    private mutating func requestLine(
        _ input: Span<UInt8>,
        _ head: Range<Int>
    ) throws(HTTPRefusal) -> Int {
        var index = head.lowerBound
        while index < head.upperBound, Self.isMethod(input[index]) { index += 1 }
        request.methodName = ByteRange(head.lowerBound..<index)
        guard input[index] == Octet.space, !request.methodName.isEmpty else { throw .method }
        request.method = HTTPMethod(input, request.methodName)
        index += 1
        let targetStart = index
        while index < head.upperBound, input[index] > Octet.space, input[index] != 0x7F {
            index += 1
        }
        let target = targetStart..<index
        guard !target.isEmpty else { throw .requestLine }
        guard target.count <= limits.targetBytesMax else { throw .targetBytesMax }
        guard input[index] == Octet.space else { throw .requestLine }
        isVersion10 = try Self.version(input, (index + 1)..<head.upperBound)
        try readTarget(input, target)
        return index + 11
    }

    /// Whether it may stand in a method here.
    ///
    /// Methods are case-sensitive, and servers that fold them would read another one; other bytes
    /// of a token are in no method that is registered, and not every server takes them.
    private static func isMethod(_ byte: UInt8) -> Bool {
        Octet.isUppercaseLetter(byte) || byte == UInt8(ascii: "-") || byte == UInt8(ascii: "_")
    }

    private static let http: [UInt8] = Array("HTTP/1.".utf8)

    /// Reads `HTTP/1.1` or `HTTP/1.0` and the line's end.
    ///
    /// - Returns: Whether it is 1.0.
    private static func version(
        _ input: Span<UInt8>,
        _ rest: Range<Int>
    ) throws(HTTPRefusal) -> Bool {
        let start = rest.lowerBound
        guard rest.count >= 10, input.holds(http, at: ByteRange(start..<(start + 7))) else {
            throw rest.count >= 5 && input[start] == UInt8(ascii: "H") ? .version : .requestLine
        }
        let minor = input[start + 7]
        guard minor == UInt8(ascii: "1") || minor == UInt8(ascii: "0") else { throw .version }
        guard input[start + 8] == Octet.carriageReturn, input[start + 9] == Octet.lineFeed else {
            throw .lineEnding
        }
        return minor == UInt8(ascii: "0")
    }

    // MARK: - The target

    private mutating func readTarget(
        _ input: Span<UInt8>,
        _ target: Range<Int>
    ) throws(HTTPRefusal) {
        var start = target.lowerBound
        // A tunnel is another kind of listener's: here there is no path to decide over.
        guard request.method != .connect else { throw .connect }
        if input[start] == UInt8(ascii: "*") {
            guard request.method == .options, target.count == 1 else { throw .target }
            request.path = ByteRange(target)
            request.query = nil
            return
        }
        if input[start] != UInt8(ascii: "/") {
            start = try absoluteForm(input, target)
        }
        var end = start
        while end < target.upperBound, input[end] != UInt8(ascii: "?") {
            guard input[end] != UInt8(ascii: "#") else { throw .pathByte }
            end += 1
        }
        request.path = ByteRange(start..<end)
        if let refusal = CanonicalPath.refusal(input, request.path) { throw refusal }
        guard end < target.upperBound else {
            request.query = nil
            return
        }
        let query = ByteRange((end + 1)..<target.upperBound)
        request.query = query
        if let refusal = CanonicalPath.queryRefusal(input, query) { throw refusal }
    }

    private static let scheme: [UInt8] = Array("http://".utf8)

    /// Reads `http://authority` of a target in absolute form (RFC 9112 section 3.2.2).
    ///
    /// - Returns: Where the path begins.
    private mutating func absoluteForm(
        _ input: Span<UInt8>,
        _ target: Range<Int>
    ) throws(HTTPRefusal) -> Int {
        let start = target.lowerBound + Self.scheme.count
        guard start < target.upperBound,
            input.holdsLowercased(Self.scheme, at: ByteRange(target.lowerBound..<start))
        else { throw .target }
        var end = start
        while end < target.upperBound, input[end] != UInt8(ascii: "/") { end += 1 }
        // Without a path there would be two readings of what is asked for.
        guard end < target.upperBound else { throw .target }
        guard let authority = Authority(input, ByteRange(start..<end)) else { throw .authority }
        request.authority = authority
        seen.isAbsolute = true
        seen.host = nil
        return end
    }
}

// MARK: - What the fields say

extension RequestHead {
    private mutating func note(
        _ input: Span<UInt8>,
        _ field: HeaderField
    ) throws(HTTPRefusal) {
        if field.known.isSingle {
            let bit: UInt32 = 1 << UInt32(field.known.rawValue)
            guard seen.singles & bit == 0 else { throw Self.repeated(field.known) }
            seen.singles |= bit
        }
        switch field.known {
        case .host: seen.host = field.value
        case .contentLength:
            seen.length = try FieldValue.length(input, field.value)
        case .transferEncoding:
            guard FieldValue.isChunked(input, field.value), !isVersion10 else {
                throw .transferEncoding
            }
            seen.isChunked = true
        case .connection:
            let options = try FieldValue.connectionOptions(input, field.value)
            seen.close = seen.close || options.close
            seen.keepAlive = seen.keepAlive || options.keepAlive
            seen.upgradeOption = seen.upgradeOption || options.upgrade
        case .upgrade: seen.isWebSocket = FieldValue.isWebSocket(input, field.value)
        case .expect:
            guard FieldValue.isContinue(input, field.value) else { throw .expectation }
            expectsContinue = !isVersion10
        case .trailer: throw .trailers
        // They tell some servers another path or method than the one that was decided over.
        case .methodOverride, .urlOverride: throw .fieldOverride
        case .authorization, .clientCertificate, .contentType, .cookie, .decision,
            .http2Settings, .keepAlive, .proxyAuthenticate, .proxyAuthorization, .proxyConnection,
            .requestID, .te,
            .forwardedClientCert, .other:
            break
        }
    }

    private static func repeated(_ field: KnownHeader) -> HTTPRefusal {
        switch field {
        case .host: .hostRepeated
        case .contentLength: .contentLengthRepeated
        case .transferEncoding: .transferEncoding
        default: .fieldRepeated
        }
    }

    private mutating func settle(_ input: Span<UInt8>) throws(HTTPRefusal) {
        guard let host = seen.host else { throw .hostMissing }
        guard let named = Authority(input, host) else { throw .authority }
        if seen.isAbsolute {
            // Who reads the target and who reads Host must come to the same place.
            guard input.areEqualLowercased(named.host, request.authority.host),
                named.port == request.authority.port
            else { throw .hostDiffers }
        } else {
            request.authority = named
        }
        guard seen.length == nil || !seen.isChunked else { throw .framingTwice }
        if seen.isChunked {
            framing = .chunked
        } else if let length = seen.length, length > 0 {
            framing = .length(length)
        } else {
            framing = .none
        }
        guard request.method != .trace || framing == .none else { throw .contentLength }
        isKeptAlive = isVersion10 ? seen.keepAlive && !seen.close : !seen.close
        wantsWebSocket =
            seen.isWebSocket && seen.upgradeOption && !isVersion10 && framing == .none
            && request.method == .get
    }
}
