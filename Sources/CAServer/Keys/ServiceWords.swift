// SPDX-License-Identifier: Apache-2.0

internal import GRPCCore
internal import GRPCPeer

/// What a process at a socket says of its troubles, as it may stand in a log.
enum ServiceWords {
    /// How much of its own words is repeated.
    static let bytesMax = 200

    /// Cut, and without control characters.
    static func cleaned(_ text: String) -> String {
        let kept = text.unicodeScalars.filter { $0.value >= 0x20 && $0.value != 0x7F }
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
