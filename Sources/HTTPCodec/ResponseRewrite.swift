// SPDX-License-Identifier: Apache-2.0

internal import HTTPSemantics

/// How the head of an answer changes on its way to the client.
///
/// Everything is passed on byte for byte but for the fields of the connection and the version.
package struct ResponseRewrite: Sendable {
    private let removed: FieldSet

    /// - Parameter removesDecision: Whether the server is no proxy of ours, so that its
    ///   `x-signet-decision` would name a decision that nobody made.
    package init(removesDecision: Bool) {
        removed = removesDecision ? .ofConnection.union([.decision]) : .ofConnection
    }

    /// Writes the head that goes to the client.
    ///
    /// - Parameters:
    ///   - head: The server's; of the answer, a 1xx or a 101.
    ///   - bytes: What it was read from.
    ///   - relay: What has read it, which knows the client.
    ///   - sink: What it is appended to; at most `RequestRewrite.growthBytesMax` longer.
    package func write<Sink: ByteSink & ~Copyable>(
        _ head: borrowing ResponseHead,
        _ bytes: Span<UInt8>,
        for relay: borrowing ResponseRelay,
        into sink: inout Sink
    ) {
        var removed = removed
        if head.status != 101 { removed.insert(.upgrade) }
        if relay.dropsChunks { removed.insert(.transferEncoding) }
        var pieces = Pieces(from: 0)
        if head.isVersion10 {
            pieces.skip(from: Self.minorVersion, to: Self.minorVersion + 1, bytes, &sink)
            sink.append(text: "1")
        }
        for place in head.fields.indices where removed.contains(head.fields[place].known) {
            let next =
                place + 1 < head.fields.count
                ? Int(head.fields[place + 1].name.lower) : head.fieldsEnd
            pieces.skip(from: Int(head.fields[place].name.lower), to: next, bytes, &sink)
        }
        pieces.finish(at: head.fieldsEnd, bytes, &sink)
        if !head.isInterim { ConnectionLine.append(relay.clientConnection, into: &sink) }
        sink.append(text: "\r\n")
    }

    /// Where the version's last digit stands.
    private static let minorVersion = 7
}

/// The line that tells what becomes of a connection.
enum ConnectionLine {
    static func append<Sink: ByteSink & ~Copyable>(
        _ connection: ClientConnection,
        into sink: inout Sink
    ) {
        switch connection {
        case .stays: break
        case .staysTold: sink.append(text: "connection: keep-alive\r\n")
        case .ends: sink.append(text: "connection: close\r\n")
        case .upgrades: sink.append(text: "connection: upgrade\r\n")
        }
    }
}
