// SPDX-License-Identifier: Apache-2.0

package import GRPCCore

/// A refusal as every Signet API gives it: a class, the name of the broken rule, and a sentence
/// that says what to do.
package struct APIError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What a caller can do about the refusal; each maps to one gRPC status.
    package enum Kind: String, Hashable, Sendable, CaseIterable {
        /// The object changed since it was read, or exists already.
        case conflict
        /// The state of the system forbids it now; waiting alone does not help.
        case failedPrecondition
        /// A fault of the server; the detail is in its log under the reference in the message.
        case fault
        case invalidArgument
        case notFound
        /// A rate or size limit; try again later.
        case exhausted
        case permissionDenied
        case unauthenticated
        /// Not ready or shedding load; try again with backoff.
        case unavailable
        case unimplemented
    }

    /// The reason of a refusal that is due to the rate alone.
    package static let signingRate = "signingRate"

    /// The same if others of the node may have more signed, and one identity may not.
    package static let identityRate = "identityRate"

    /// Metadata key under which the reason travels beside the status.
    package static let reasonKey = "signet-reason"

    /// Metadata key of `retryAfter`, in milliseconds.
    package static let retryAfterKey = "signet-retry-after-milliseconds"

    package let kind: Kind
    /// Name of the rule, for programs: `tokenAlreadyUsed`.
    package let reason: String
    /// What, where and how to mend it, for people.
    package let message: String
    /// When the same request may succeed, if that is known.
    package let retryAfter: Duration?

    package init(
        _ kind: Kind,
        _ reason: String,
        _ message: String,
        retryAfter: Duration? = nil
    ) {
        self.kind = kind
        self.reason = reason
        self.message = message
        self.retryAfter = retryAfter
    }

    package var description: String { "\(message) [\(reason)]" }
}

extension APIError.Kind {
    var code: RPCError.Code {
        switch self {
        case .conflict: .aborted
        case .exhausted: .resourceExhausted
        case .failedPrecondition: .failedPrecondition
        case .fault: .internalError
        case .invalidArgument: .invalidArgument
        case .notFound: .notFound
        case .permissionDenied: .permissionDenied
        case .unauthenticated: .unauthenticated
        case .unavailable: .unavailable
        case .unimplemented: .unimplemented
        }
    }

    init(_ code: RPCError.Code) {
        self =
            switch code {
            case .aborted, .alreadyExists: .conflict
            case .resourceExhausted: .exhausted
            case .failedPrecondition, .outOfRange: .failedPrecondition
            case .invalidArgument: .invalidArgument
            case .notFound: .notFound
            case .permissionDenied: .permissionDenied
            case .unauthenticated: .unauthenticated
            case .unavailable, .cancelled, .deadlineExceeded: .unavailable
            case .unimplemented: .unimplemented
            default: .fault
            }
    }
}

extension APIError: RPCErrorConvertible {
    package var rpcErrorCode: RPCError.Code { kind.code }
    package var rpcErrorMessage: String { message }
    package var rpcErrorMetadata: Metadata {
        var metadata: Metadata = [Self.reasonKey: "\(reason)"]
        if let retryAfterMilliseconds {
            metadata.addString("\(retryAfterMilliseconds)", forKey: Self.retryAfterKey)
        }
        return metadata
    }

    /// `retryAfter` as messages have it.
    package var retryAfterMilliseconds: UInt32? {
        retryAfter.map { UInt32(clamping: Int64($0 / .milliseconds(1))) }
    }

    /// Reads back what the other end said; a status that no Signet server made has the reason
    /// `transport`.
    package init(_ error: RPCError) {
        let reason = error.metadata[stringValues: Self.reasonKey].first { _ in true }
        let wait = error.metadata[stringValues: Self.retryAfterKey].first { _ in true }
        self.init(
            Kind(error.code),
            reason ?? "transport",
            error.message,
            retryAfter: wait.flatMap { UInt32($0) }.map { .milliseconds(Int64($0)) }
        )
    }
}

extension WireError: RPCErrorConvertible {
    package var rpcErrorCode: RPCError.Code { APIError.Kind.invalidArgument.code }
    package var rpcErrorMessage: String { description }
    package var rpcErrorMetadata: Metadata { [APIError.reasonKey: "wire"] }
}
