// SPDX-License-Identifier: Apache-2.0

package import HTTPSemantics

/// How the heads of a connection's requests change on their way to a server, prepared once.
///
/// Everything is passed on byte for byte, but for what docs/decisions/0007 lists: fields of the
/// connection and of the identity, an `x-request-id` that is no ID, the form of the target, and the
/// version, which is the proxy's own. A head that is already so is one piece.
package struct RequestRewrite: Sendable {
    /// Bytes that a head can grow by, beside the line of the identity: an `x-request-id`, a
    /// `connection`.
    package static let growthBytesMax = 128

    /// The line of the peer's identity; empty if there is none.
    private let identity: [UInt8]

    /// - Parameter identity: Who is asking, where the server is to know it; nil where it is told
    ///   by other means, so that the fields are only removed.
    package init(identity: ForwardedClientCert?) {
        self.identity = identity?.line ?? []
    }

    private static let always = FieldSet.ofConnection
        .union([.clientCertificate, .decision, .forwardedClientCert])

    /// Writes the head that goes to the server.
    ///
    /// - Parameters:
    ///   - head: The client's.
    ///   - bytes: What it was read from.
    ///   - requestID: For a request without an ID that can be kept.
    ///   - sink: What it is appended to; at most `growthBytesMax` and the identity longer.
    /// - Returns: Where the client's own ID stands; nil if `requestID` was written.
    @discardableResult
    package func write<Sink: ByteSink & ~Copyable>(
        _ head: borrowing RequestHead,
        _ bytes: Span<UInt8>,
        requestID: RequestID,
        into sink: inout Sink
    ) -> ByteRange? {
        var removed = Self.always
        if !head.wantsWebSocket { removed.insert(.upgrade) }
        if !head.expectsContinue { removed.insert(.expect) }
        var pieces = Pieces(from: Int(head.request.methodName.lower))
        if head.isAbsolute {
            let path = Int(head.request.path.lower)
            pieces.skip(from: Int(head.request.methodName.upper) + 1, to: path, bytes, &sink)
        }
        if head.isVersion10 {
            pieces.skip(from: head.minorVersion, to: head.minorVersion + 1, bytes, &sink)
            sink.append(text: "1")
        }
        var ownID: ByteRange?
        let count = head.request.fields.count
        for place in 0..<count {
            let field = head.request.fields[place]
            if field.known == .requestID, RequestID.isWellFormed(bytes, field.value) {
                ownID = field.value
                continue
            }
            guard removed.contains(field.known) || field.known == .requestID else { continue }
            let next =
                place + 1 < count
                ? Int(head.request.fields[place + 1].name.lower) : head.fieldsEnd
            pieces.skip(from: Int(field.name.lower), to: next, bytes, &sink)
        }
        pieces.finish(at: head.fieldsEnd, bytes, &sink)
        if !identity.isEmpty { sink.append(identity.span) }
        if ownID == nil {
            sink.append(text: "x-request-id: ")
            let text = requestID.text
            sink.append(text.span)
            sink.append(text: "\r\n")
        }
        if head.wantsWebSocket { ConnectionLine.append(.upgrades, into: &sink) }
        sink.append(text: "\r\n")
        return ownID
    }
}

/// Known fields as one number.
struct FieldSet: Sendable {
    /// What speaks of one connection only and is never passed on (RFC 9110 section 7.6.1);
    /// `upgrade` and `transfer-encoding` are as the case may be.
    static let ofConnection = FieldSet([
        .connection, .http2Settings, .keepAlive, .proxyAuthenticate, .proxyAuthorization,
        .proxyConnection, .te, .trailer,
    ])

    private var bits: UInt64

    private init(_ fields: [KnownHeader]) {
        bits = fields.reduce(0) { $0 | 1 << UInt64($1.rawValue) }
    }

    func union(_ fields: [KnownHeader]) -> FieldSet {
        var result = self
        result.bits |= FieldSet(fields).bits
        return result
    }

    mutating func insert(_ field: KnownHeader) { bits |= 1 << UInt64(field.rawValue) }

    func contains(_ field: KnownHeader) -> Bool { bits >> UInt64(field.rawValue) & 1 == 1 }
}

/// The parts of a head that are passed on as they are: long runs between what is left out.
struct Pieces {
    private var pending: Int

    init(from start: Int) {
        pending = start
    }

    /// Appends what stands before `start`, and goes on at `end`.
    mutating func skip<Sink: ByteSink & ~Copyable>(
        from start: Int,
        to end: Int,
        _ bytes: Span<UInt8>,
        _ sink: inout Sink
    ) {
        finish(at: start, bytes, &sink)
        pending = end
    }

    /// Appends what stands before `end`.
    mutating func finish<Sink: ByteSink & ~Copyable>(
        at end: Int,
        _ bytes: Span<UInt8>,
        _ sink: inout Sink
    ) {
        if pending < end { sink.append(bytes.extracting(pending..<end)) }
        pending = end
    }
}
