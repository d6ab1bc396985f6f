// SPDX-License-Identifier: Apache-2.0

/// Where a message's body ends (RFC 9112 section 6.3).
package enum BodyFraming: Hashable, Sendable {
    case none
    case length(UInt64)
    case chunked
    /// A response without length: it ends with the connection.
    case untilClose
}
