// SPDX-License-Identifier: Apache-2.0

package import HTTPSemantics

/// What came of asking a server once.
package enum FetchedResponse: Hashable, Sendable {
    /// The whole content of a 200.
    case content([UInt8])
    /// Where else to ask: the value of the only field `Location`.
    case redirect(location: [UInt8])
    case failed(FetchFailure)
}

/// Why a server's answer is of no use.
package enum FetchFailure: Hashable, Sendable, CustomStringConvertible {
    case bodyTooLarge
    case responseMalformed(ResponseDefect)
    case statusUnexpected(Int)

    /// How it is not as it must be.
    package enum ResponseDefect: Hashable, Sendable {
        /// The connection ended before it.
        case brokenOff
        /// It is encoded, which nobody asked for.
        case contentEncoding
        /// It is no answer yet, and nobody waits for one in between.
        case interim
        /// It ends with the connection: what broke off could not be told from what is whole.
        case lengthMissing
        /// It leads elsewhere and does not say where, or says it twice.
        case location
        case refused(HTTPRefusal)
    }

    package var description: String {
        switch self {
        case .bodyTooLarge: "the body has more than \(ResponseReader.bodyBytesMax) bytes"
        case .responseMalformed(.brokenOff): "the connection ended before the response did"
        case .responseMalformed(.contentEncoding): "the body has a Content-Encoding"
        case .responseMalformed(.interim): "the response is an interim one"
        case .responseMalformed(.lengthMissing): "the response has neither length nor chunks"
        case .responseMalformed(.location): "the redirect has no Location, or several"
        case .responseMalformed(.refused(let refusal)): "the response: \(refusal.reason)"
        case .statusUnexpected(let status): "the status is \(status)"
        }
    }
}

/// Reads the one answer to a GET on a connection of its own, within limits
/// (docs/decisions/0021-federation.md).
///
/// The deadline is the caller's.
package struct ResponseReader: Sendable {
    /// Largest head in bytes.
    package static let headBytesMax = 16 * 1024
    /// Most fields of a head.
    package static let fieldsMax = 100
    /// Largest body in bytes: twice the longest bundle that is taken.
    package static let bodyBytesMax = 256 * 1024

    private enum State: Sendable {
        case head
        case body(BodyReader)
        case done
    }

    private var state = State.head
    private var head = ResponseHead(
        limits: HeadLimits(
            headBytesMax: headBytesMax,
            targetBytesMax: HTTPSURL.bytesMax,
            fieldsMax: fieldsMax
        )
    )
    private var end = HeadEnd()
    /// What has arrived and is not read yet.
    private var bytes: [UInt8] = []
    private var content: [UInt8] = []

    package init() {}

    /// More bytes have arrived.
    ///
    /// - Parameter more: All of them are kept until they are read, so a caller reads a part at a
    ///   time.
    /// - Returns: What came of it, once; nil while the answer is not whole, and after it.
    package mutating func received(_ more: some Collection<UInt8>) -> FetchedResponse? {
        if case .done = state { return nil }
        bytes += more
        let response = readHead() ?? readBody()
        if response != nil { finish() }
        return response
    }

    /// The server has ended the connection.
    ///
    /// - Returns: What came of it; nil if that was told already.
    package mutating func connectionEnded() -> FetchedResponse? {
        if case .done = state { return nil }
        finish()
        return .failed(.responseMalformed(.brokenOff))
    }

    private mutating func finish() {
        state = .done
        (bytes, content) = ([], [])
    }

    private mutating func readHead() -> FetchedResponse? {
        guard case .head = state else { return nil }
        // A span of a property would keep its siblings from being changed.
        let input = bytes
        switch head.read(input.span, end: &end, answering: .get) {
        case .needInput: return nil
        case .refused(let refusal): return .failed(.responseMalformed(.refused(refusal)))
        case .head(let count):
            if let response = response(input) { return response }
            bytes.removeFirst(count)
            state = .body(BodyReader(head.framing, dropsFraming: true))
            return nil
        }
    }

    /// What a head already decides.
    private func response(_ input: [UInt8]) -> FetchedResponse? {
        switch head.status {
        case 200: break
        case 301, 302, 303, 307, 308:
            let locations = head.fields.filter {
                input.span.holdsLowercased(Self.location, at: $0.name)
            }
            guard locations.count == 1 else { return .failed(.responseMalformed(.location)) }
            return .redirect(location: input.span.bytes(locations[0].value))
        case 100..<200: return .failed(.responseMalformed(.interim))
        default: return .failed(.statusUnexpected(head.status))
        }
        let isEncoded = head.fields.contains {
            input.span.holdsLowercased(Self.contentEncoding, at: $0.name)
        }
        guard !isEncoded else { return .failed(.responseMalformed(.contentEncoding)) }
        switch head.framing {
        case .untilClose: return .failed(.responseMalformed(.lengthMissing))
        case .length(let count) where count > Self.bodyBytesMax: return .failed(.bodyTooLarge)
        case .chunked, .length, .none: return nil
        }
    }

    private mutating func readBody() -> FetchedResponse? {
        guard case .body(var body) = state else { return nil }
        let input = bytes
        var index = 0
        while true {
            switch body.next(input.span, from: index) {
            case .needInput:
                bytes.removeFirst(index)
                state = .body(body)
                return nil
            case .framing(let count): index += count
            case .bytes(let count, _):
                guard content.count + count <= Self.bodyBytesMax else {
                    return .failed(.bodyTooLarge)
                }
                content += input[index..<(index + count)]
                index += count
            case .end: return .content(content)
            case .refused(let refusal): return .failed(.responseMalformed(.refused(refusal)))
            }
        }
    }

    private static let contentEncoding = Array("content-encoding".utf8)
    private static let location = Array("location".utf8)
}
