// SPDX-License-Identifier: Apache-2.0

internal import HTTPCodec
internal import HTTPSemantics

/// What somebody asks for: what is looked at of a request, and nothing else.
package enum PublicRequest: Hashable, Sendable {
    /// Without the body, for HEAD; with the value of the only `If-None-Match`.
    case document(path: [UInt8], isHead: Bool, entityTag: [UInt8]?)
    /// It is not looked at further: the status of the answer.
    case refused(status: Int)
}

/// Reads the one request of a connection.
package struct RequestReader: Sendable {
    /// Largest head in bytes: a document is asked for in some hundreds.
    package static let headBytesMax = 8 * 1024
    /// Longest target in bytes; the longest path that is served has some 300.
    package static let targetBytesMax = 2 * 1024
    /// Most fields of a head.
    package static let fieldsMax = 64

    private var head = RequestHead(
        limits: HeadLimits(
            headBytesMax: headBytesMax,
            targetBytesMax: targetBytesMax,
            fieldsMax: fieldsMax
        )
    )
    private var end = HeadEnd()
    private var bytes: [UInt8] = []

    package init() {}

    /// More bytes have arrived.
    ///
    /// - Parameter more: At most a head of them is kept.
    /// - Returns: The request; nil while its head is not whole. It is asked for once.
    package mutating func received(_ more: some Collection<UInt8>) -> PublicRequest? {
        bytes += more.prefix(Self.headBytesMax - bytes.count)
        // A span of a property would keep its siblings from being changed.
        let bytes = bytes
        switch head.read(bytes.span, end: &end) {
        case .needInput: return nil
        case .head: return request
        case .refused(let refusal): return .refused(status: Self.status(refusal))
        }
    }

    private var request: PublicRequest {
        let request = head.request
        guard request.method == .get || request.method == .head else {
            return .refused(status: 405)
        }
        // What follows the head could be read as a request by somebody before us.
        let isPlain =
            head.framing == .none && !request.fields.contains { $0.known == .upgrade }
        guard isPlain else { return .refused(status: 400) }
        // A path has one answer: no query, and nothing before it.
        guard request.query == nil, request.path.lower == request.methodName.upper + 1 else {
            return .refused(status: 404)
        }
        let span = bytes.span
        let tags = request.fields.filter { span.holdsLowercased(Self.ifNoneMatch, at: $0.name) }
        return .document(
            path: span.bytes(request.path),
            isHead: request.method == .head,
            entityTag: tags.count == 1 ? tags.first.map { span.bytes($0.value) } : nil
        )
    }

    private static let ifNoneMatch = Array("if-none-match".utf8)

    /// Paths are compared as they stand, so one of another form is one that is not served.
    private static func status(_ refusal: HTTPRefusal) -> Int {
        switch refusal {
        case .pathByte, .pathDotSegment, .pathEmptySegment, .pathEscape, .pathParameter,
            .queryByte, .target:
            404
        default: refusal.status
        }
    }
}
