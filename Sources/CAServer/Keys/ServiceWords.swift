// SPDX-License-Identifier: Apache-2.0

internal import GRPCCore
internal import GRPCPeer

/// What a process at a socket says of its troubles, as it may stand in a log.
enum ServiceWords {
    /// How much of its own words is repeated.
    static let bytesMax = 200

    /// Cut, and without what moves a cursor, ends a line or turns the direction of what follows.
    static func cleaned(_ text: String) -> String {
        let kept = text.unicodeScalars.filter { scalar in
            switch scalar.properties.generalCategory {
            case .control, .format, .lineSeparator, .paragraphSeparator: false
            default: true
            }
        }
        var result = String(String.UnicodeScalarView(kept))
        while result.utf8.count > bytesMax { result.removeLast() }
        return result.isEmpty ? "it did not say why" : result
    }

    /// Why a call has reached nobody, or nobody who may be there.
    static func reason(of error: RPCError, _ refusal: HandshakeFailure) -> String {
        if let refusal = refusal.explained(error) as? SocketOwnerError { return "\(refusal)" }
        var innermost: any Error = error
        while let cause = (innermost as? RPCError)?.cause { innermost = cause }
        return ConnectionReason.text(of: innermost) ?? cleaned(error.message)
    }
}
