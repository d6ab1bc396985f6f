// SPDX-License-Identifier: Apache-2.0

/// What a head may cost before it is refused.
package struct HeadLimits: Hashable, Sendable {
    /// Bytes of a whole head, the empty line included: what nginx and Apache take by default is
    /// 8 KiB for a line, Envoy 60 KiB in all.
    package var headBytesMax: Int
    /// Bytes of a request's target.
    package var targetBytesMax: Int
    /// Fields of a head.
    package var fieldsMax: Int

    /// - Precondition: All are positive, and a head has room for its target.
    package init(headBytesMax: Int, targetBytesMax: Int, fieldsMax: Int) {
        precondition(targetBytesMax >= 16 && headBytesMax > targetBytesMax && fieldsMax >= 1)
        self.headBytesMax = headBytesMax
        self.targetBytesMax = targetBytesMax
        self.fieldsMax = fieldsMax
    }

    package static let defaults = Self(
        headBytesMax: 32 * 1024,
        targetBytesMax: 8 * 1024,
        fieldsMax: 100
    )
}
