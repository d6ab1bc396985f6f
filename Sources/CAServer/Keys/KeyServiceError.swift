// SPDX-License-Identifier: Apache-2.0

internal import SPIFFE

/// The calls of a key service, by their names in metrics and messages.
package enum KeyServiceCall: String, Hashable, Sendable, CaseIterable {
    case destroy = "Destroy"
    case generate = "Generate"
    case list = "List"
    case sign = "Sign"
}

/// A call of a key service that did not succeed; what the service wrote itself is cut and cleaned.
package enum KeyServiceError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The answer is none that the call can have.
    case answerMalformed(call: KeyServiceCall, reason: String)
    /// The service has no such key; `keyID` is the SHA-256 of its SubjectPublicKeyInfo.
    case keyMissing(owner: String, keyID: String)
    /// A key that was made is not what was asked for.
    case keyUnusable(reason: String)
    /// The service does not do what was asked.
    case refused(call: KeyServiceCall, owner: String, code: String, reason: String)
    /// A signature is not the key's over what was to be signed.
    case signatureInvalid(keyID: String)
    case timedOut(call: KeyServiceCall, after: Duration)
    /// Keys that were to be destroyed are still there, so many that no more are made.
    case tooManyKeys(owner: String, count: Int)
    /// Nobody answers at the socket, or somebody else does.
    case unavailable(socket: String, reason: String)

    package var description: String {
        switch self {
        case .answerMalformed(let call, let reason):
            "the key service's answer to \(call.rawValue) cannot be used: \(reason)"
        case .keyMissing(let owner, let keyID):
            "the key service has no key \(keyID) of the owner \(owner)"
        case .keyUnusable(let reason): "the key service's key cannot be used: \(reason)"
        case .refused(let call, let owner, let code, let reason):
            "the key service refused \(call.rawValue) for the owner \(owner) (\(code)): \(reason)"
        case .signatureInvalid(let keyID):
            "a signature by the key service does not verify with the key \(keyID)"
        case .timedOut(let call, let limit):
            "the key service has not answered \(call.rawValue) within \(limit)"
        case .tooManyKeys(let owner, let count):
            "the key service has \(count) keys of the owner \(owner), so no more are made: see why "
                + "it destroys none of those that are of no more use (Destroy)"
        case .unavailable(let socket, let reason):
            "the key service at \(socket) is not available: \(reason); see that it runs, that "
                + "serviceSocket names its socket, and that its user is root, the server's or one "
                + "of serviceUIDs"
        }
    }

    /// Whether the service was out of reach, rather than of another opinion.
    package var isAbsence: Bool {
        switch self {
        case .timedOut, .unavailable: true
        case .answerMalformed, .keyMissing, .keyUnusable, .refused, .signatureInvalid,
            .tooManyKeys:
            false
        }
    }

    /// The word in metrics.
    var result: String {
        switch self {
        case .answerMalformed: "answerMalformed"
        case .keyMissing: "keyMissing"
        case .keyUnusable: "keyUnusable"
        case .refused: "refused"
        case .signatureInvalid: "signatureInvalid"
        case .timedOut: "timedOut"
        case .tooManyKeys: "tooManyKeys"
        case .unavailable: "unavailable"
        }
    }
}

/// What became of a call, for metrics and health.
package struct KeyServiceReport: Sendable {
    package let call: KeyServiceCall
    package let duration: Duration
    /// nil: it succeeded.
    package let error: KeyServiceError?
    /// `ok`, or the error's name.
    package var result: String { error?.result ?? "ok" }
}
