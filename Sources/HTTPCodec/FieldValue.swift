// SPDX-License-Identifier: Apache-2.0

internal import HTTPSemantics

/// The values of the fields that decide about framing and connection.
enum FieldValue {
    /// Reads Content-Length: digits alone, one number, no list (RFC 9112 section 6.2).
    static func length(_ input: Span<UInt8>, _ value: ByteRange) throws(HTTPRefusal) -> UInt64 {
        // 18 digits are less than 2^63: nothing overflows, here or behind us.
        guard !value.isEmpty, value.count <= 18 else { throw .contentLength }
        var length: UInt64 = 0
        for index in value.range {
            guard Octet.isDigit(input[index]) else { throw .contentLength }
            length = length * 10 + UInt64(input[index] &- UInt8(ascii: "0"))
        }
        // Some read a leading zero as base eight.
        guard value.count == 1 || input[Int(value.lower)] != UInt8(ascii: "0") else {
            throw .contentLength
        }
        return length
    }

    private static let chunked: [UInt8] = Array("chunked".utf8)
    private static let goOn: [UInt8] = Array("100-continue".utf8)
    private static let close: [UInt8] = Array("close".utf8)
    private static let keepAlive: [UInt8] = Array("keep-alive".utf8)
    private static let upgrade: [UInt8] = Array("upgrade".utf8)
    private static let webSocket: [UInt8] = Array("websocket".utf8)

    /// Whether it is the one transfer coding that we and everybody know; a list is not.
    static func isChunked(_ input: Span<UInt8>, _ value: ByteRange) -> Bool {
        input.holdsLowercased(chunked, at: value)
    }

    static func isContinue(_ input: Span<UInt8>, _ value: ByteRange) -> Bool {
        input.holdsLowercased(goOn, at: value)
    }

    /// Whether it is the one protocol that a connection may change to (RFC 6455 section 4.1).
    static func isWebSocket(_ input: Span<UInt8>, _ value: ByteRange) -> Bool {
        input.holdsLowercased(webSocket, at: value)
    }

    /// What a Connection field asks for.
    struct ConnectionOptions {
        var close = false
        var keepAlive = false
        var upgrade = false
    }

    /// Reads the options of a Connection field (RFC 9110 section 7.6.1).
    ///
    /// A field that it names ends here, so who names one that says who is asking, or where the
    /// message ends, takes it from those behind us.
    static func connectionOptions(
        _ input: Span<UInt8>,
        _ value: ByteRange
    ) throws(HTTPRefusal) -> ConnectionOptions {
        var options = ConnectionOptions()
        var start = Int(value.lower)
        let end = Int(value.upper)
        while start <= end {
            var stop = start
            while stop < end, input[stop] != UInt8(ascii: ",") { stop += 1 }
            let option = trimmed(input, start..<stop)
            start = stop + 1
            guard !option.isEmpty else { continue }
            for index in option.range where !Octet.isToken(input[index]) {
                throw .connectionOption
            }
            if input.holdsLowercased(close, at: option) {
                options.close = true
            } else if input.holdsLowercased(keepAlive, at: option) {
                options.keepAlive = true
            } else if input.holdsLowercased(upgrade, at: option) {
                options.upgrade = true
            } else {
                let named = KnownHeader(input, option)
                guard named == .te || named == .proxyConnection || named == .http2Settings else {
                    throw .connectionOption
                }
            }
        }
        return options
    }

    private static func trimmed(_ input: Span<UInt8>, _ range: Range<Int>) -> ByteRange {
        var (lower, upper) = (range.lowerBound, range.upperBound)
        while lower < upper, isWhiteSpace(input[lower]) { lower += 1 }
        while upper > lower, isWhiteSpace(input[upper - 1]) { upper -= 1 }
        return ByteRange(lower..<upper)
    }

    private static func isWhiteSpace(_ byte: UInt8) -> Bool {
        byte == Octet.space || byte == Octet.horizontalTab
    }
}
