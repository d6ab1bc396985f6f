// SPDX-License-Identifier: Apache-2.0

/// What a message may cost beside its head.
package struct MessageLimits: Hashable, Sendable {
    /// Bytes of a request's content: nobody sends a terabyte in one request, which is a day at
    /// 100 Mbit/s, and every count below it fits everywhere.
    package static let requestBodyBytesMax: UInt64 = 1 << 40
    /// Words before an answer (1xx): one for `Expect`, a few hints; more of them only keep a
    /// connection busy.
    package static let interimMax = 8

    package var requestBodyBytesMax: UInt64
    package var interimMax: Int

    package init(
        requestBodyBytesMax: UInt64 = Self.requestBodyBytesMax,
        interimMax: Int = Self.interimMax
    ) {
        self.requestBodyBytesMax = requestBodyBytesMax
        self.interimMax = interimMax
    }

    package static let defaults = Self()
}
