// SPDX-License-Identifier: Apache-2.0

internal import HTTPCodec
internal import HTTPSemantics
internal import Reactor

/// Heads are written into the memory of a loop.
extension Buffer: ByteSink {}

/// Memory that a loop works with; nothing in it outlives a chain of calls.
struct Scratch: ~Copyable {
    /// What is read at once: few system calls for many bytes, and together with the plaintext and
    /// what goes out still in the processor's cache.
    static let readBytes = 64 * 1024

    /// Plaintext that is looked at.
    var plain = Buffer(capacity: readBytes)
    /// How much of `plain` was named by a step already.
    var position = 0
    var cipherIn = Buffer(capacity: readBytes)
    var cipherOut = Buffer(capacity: readBytes + readBytes / 4)
    /// A head on its way out.
    var head = Buffer(capacity: readBytes)
    var request = RequestHead()
    var response = ResponseHead()

    /// Gives back what a single large message has taken.
    mutating func shrink() {
        Self.shrink(&plain)
        Self.shrink(&cipherIn)
        Self.shrink(&cipherOut)
        // What was in it has been sent.
        if head.capacity > 4 * Self.readBytes { head = Buffer(capacity: Self.readBytes) }
    }

    private static func shrink(_ buffer: inout Buffer) {
        guard buffer.capacity > 4 * readBytes, buffer.isEmpty else { return }
        buffer = Buffer(capacity: readBytes)
    }
}
