// SPDX-License-Identifier: Apache-2.0

/// The method of a request (RFC 9110 section 9), told by value; any other token is `other`, and its
/// bytes stay in the head.
package enum HTTPMethod: UInt8, CaseIterable, Hashable, Sendable {
    case get
    case head
    case post
    case put
    case delete
    case connect
    case options
    case trace
    case patch
    case other

    /// Reads a token that was checked to be one.
    ///
    /// Methods are case-sensitive.
    package init(_ head: Span<UInt8>, _ token: ByteRange) {
        guard token.count <= 8 else {
            self = .other
            return
        }
        // At most eight bytes are one number, so that no table is needed on the way of a request.
        var packed: UInt64 = 0
        for index in token.range { packed = packed << 8 | UInt64(head[index]) }
        switch packed {
        case 0x47_4554: self = .get
        case 0x4845_4144: self = .head
        case 0x504F_5354: self = .post
        case 0x50_5554: self = .put
        case 0x4445_4C45_5445: self = .delete
        case 0x43_4F4E_4E45_4354: self = .connect
        case 0x4F_5054_494F_4E53: self = .options
        case 0x54_5241_4345: self = .trace
        case 0x50_4154_4348: self = .patch
        default: self = .other
        }
    }

    /// Its name; nil for `other`.
    package var name: String? {
        switch self {
        case .get: "GET"
        case .head: "HEAD"
        case .post: "POST"
        case .put: "PUT"
        case .delete: "DELETE"
        case .connect: "CONNECT"
        case .options: "OPTIONS"
        case .trace: "TRACE"
        case .patch: "PATCH"
        case .other: nil
        }
    }
}
