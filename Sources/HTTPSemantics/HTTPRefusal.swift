// SPDX-License-Identifier: Apache-2.0

/// Why a message is refused: it breaks a rule, passes a limit, or can be read in two ways.
///
/// What two programs on its way could read differently is refused, never repaired
/// (docs/decisions/0007).
package enum HTTPRefusal: UInt8, CaseIterable, Error, Hashable, Sendable {
    // The line that begins a request (RFC 9112 section 3).
    case requestLine
    case method
    case target
    case version
    // The target (RFC 9110 section 4, RFC 3986 section 3).
    case authority
    case hostMissing
    case hostRepeated
    case hostDiffers
    case pathByte
    case pathDotSegment
    case pathEmptySegment
    case pathEscape
    case pathParameter
    case queryByte
    // Fields (RFC 9112 section 5).
    case lineEnding
    case lineFolding
    case fieldName
    case fieldNameSpace
    case fieldRepeated
    case fieldOverride
    case fieldValue
    case connectionOption
    case expectation
    case connect
    // Framing (RFC 9112 section 6).
    case contentLength
    case contentLengthRepeated
    case transferEncoding
    case framingTwice
    case chunkSize
    case chunkExtension
    case chunkEnd
    case trailers
    // The line that begins a response.
    case statusLine
    case answerUnasked
    case upgradeUnasked
    case bodyForbidden
    // Limits.
    case bodyBytesMax
    case headBytesMax
    case targetBytesMax
    case fieldsMax
    case interimMax

    /// The status of the answer to a client; a server's message that is refused is a 502.
    package var status: Int {
        switch self {
        case .bodyBytesMax: 413
        case .headBytesMax, .fieldsMax: 431
        case .targetBytesMax: 414
        case .version: 505
        case .connect: 405
        case .expectation: 417
        default: 400
        }
    }

    /// The word for logs, metrics and answers.
    package var reason: String { "\(self)" }
}
