// SPDX-License-Identifier: Apache-2.0

internal import HTTPCodec
internal import HTTPSemantics

/// A request of a workload: which of the two, and its form.
package struct EndpointRequest: Hashable, Sendable {
    /// Where it goes; the raw value is its path.
    package enum Place: String, CaseIterable, Hashable, Sendable {
        case introspect = "/introspect"
        case token = "/token"

        /// The name in metrics.
        package var label: String { String(rawValue.dropFirst()) }
    }

    package let place: Place
    package let body: [UInt8]
}

/// What has come of the bytes of a connection.
package enum EndpointStep: Hashable, Sendable {
    /// The client waits for this word before it sends the body (RFC 9110 section 10.1.1).
    case goOn
    case needsMore
    case refused(EndpointAnswer)
    case request(EndpointRequest)
}

/// Reads the one request of a connection: POST with a form of a length that it says.
package struct EndpointReader: Sendable {
    /// Largest head in bytes: what is asked for stands in the body.
    package static let headBytesMax = 8 * 1024
    /// Largest body in bytes: a token of the longest kind, each of its bytes escaped, and a name.
    package static let bodyBytesMax = 24 * 1024
    /// Longest target in bytes; those that are served have some ten.
    package static let targetBytesMax = 256
    /// Most fields of a head.
    package static let fieldsMax = 64
    /// The field that has to be there: who talks a service into fetching a URL cannot set it.
    package static let field = "Signet-Workload"

    private enum State {
        case head
        case body(EndpointRequest.Place, from: Int, count: Int)
        case over
    }

    private var state = State.head
    private var head = RequestHead(
        limits: HeadLimits(
            headBytesMax: headBytesMax,
            targetBytesMax: targetBytesMax,
            fieldsMax: fieldsMax
        )
    )
    private var end = HeadEnd()
    private var bytes: [UInt8] = []

    /// Nothing has come yet.
    package init() {}

    /// More bytes have arrived.
    ///
    /// - Parameter more: What is beyond the largest request is dropped.
    /// - Returns: What is to be done; after a request or a refusal nothing more comes.
    package mutating func received(_ more: some Collection<UInt8>) -> EndpointStep {
        bytes += more.prefix(Self.headBytesMax + Self.bodyBytesMax - bytes.count)
        var isNew = false
        if case .head = state {
            // A span of a property would keep its siblings from being changed.
            let bytes = bytes
            switch head.read(bytes.span, end: &end) {
            case .needInput: return .needsMore
            case .refused(let refusal):
                state = .over
                return .refused(EndpointAnswer(refusedWith: refusal.status))
            case .head(let count):
                do throws(HeadRefusal) {
                    let (place, length) = try judged()
                    state = .body(place, from: count, count: length)
                    isNew = true
                } catch {
                    state = .over
                    return .refused(error.answer)
                }
            }
        }
        guard case .body(let place, let start, let count) = state else { return .needsMore }
        guard bytes.count - start >= count else {
            return isNew && head.expectsContinue ? .goOn : .needsMore
        }
        state = .over
        return .request(
            EndpointRequest(place: place, body: Array(bytes[start..<(start + count)]))
        )
    }

    /// A head that is not taken.
    private struct HeadRefusal: Error {
        let answer: EndpointAnswer

        init(_ status: Int) { answer = EndpointAnswer(refusedWith: status) }

        init(_ sentence: String) { answer = EndpointAnswer(.invalidRequest(sentence)) }
    }

    /// What the head asks for, and how long its body is.
    private func judged() throws(HeadRefusal) -> (EndpointRequest.Place, Int) {
        let (request, span) = (head.request, bytes.span)
        // A path has one answer: no query, and nothing before it.
        guard request.query == nil, request.path.lower == request.methodName.upper + 1,
            let place = EndpointRequest.Place.allCases.first(where: {
                span.holds(Array($0.rawValue.utf8), at: request.path)
            })
        else { throw HeadRefusal(404) }
        guard request.method == .post else { throw HeadRefusal(405) }
        let length: Int
        switch head.framing {
        case .none: length = 0
        case .length(let count):
            guard count <= UInt64(Self.bodyBytesMax) else { throw HeadRefusal(413) }
            length = Int(count)
        case .chunked, .untilClose: throw HeadRefusal(411)
        }
        let fields = request.fields
        let marks = fields.filter { span.holdsLowercased(Self.lowercased, at: $0.name) }
        guard marks.count == 1, span.holds(Array("true".utf8), at: marks[0].value) else {
            throw HeadRefusal("write the field \(Self.field): true, once")
        }
        guard !fields.contains(where: { $0.known == .authorization }) else {
            throw HeadRefusal("the kernel says who asks: leave Authorization out")
        }
        guard !fields.contains(where: { $0.known == .upgrade }) else {
            throw HeadRefusal("this connection changes to no other protocol: leave Upgrade out")
        }
        let types = fields.filter { $0.known == .contentType }
        guard types.count == 1, Self.isForm(span.bytes(types[0].value)) else {
            throw HeadRefusal("write the field Content-Type: \(Self.form), once")
        }
        return (place, length)
    }

    private static let lowercased = Array("signet-workload".utf8)
    private static let form = "application/x-www-form-urlencoded"

    /// Whether a media type is that of forms; it has no parameters that change its meaning.
    private static func isForm(_ value: [UInt8]) -> Bool {
        let type = value.prefix { $0 != UInt8(ascii: ";") && $0 != UInt8(ascii: " ") }
        return String(decoding: type, as: UTF8.self).lowercased() == form
    }
}
