// SPDX-License-Identifier: Apache-2.0

/// Where the bytes of a head go: the buffer of whoever sends it.
///
/// A head is appended in a few long pieces, so that one call for each, which is not inlined across
/// modules, costs less than looking at the bytes.
package protocol ByteSink: ~Copyable {
    /// Appends all of them.
    mutating func append(_ bytes: Span<UInt8>)
}

extension ByteSink where Self: ~Copyable {
    /// Appends the bytes of a literal.
    mutating func append(text: String) {
        append(text.utf8Span.span)
    }
}

extension Array: ByteSink where Element == UInt8 {
    /// Appends all of them; memory of the array is kept.
    package mutating func append(_ bytes: Span<UInt8>) {
        reserveCapacity(count + bytes.count)
        for index in bytes.indices { append(bytes[index]) }
    }
}
