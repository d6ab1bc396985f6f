// SPDX-License-Identifier: Apache-2.0

/// A state of everything declared: whoever has seen number n of an epoch has seen all below it.
package struct Revision: Hashable, Sendable, Codable, CustomStringConvertible {
    package let epoch: Epoch
    /// One row of the datastore, raised inside the transaction that makes the change.
    package let number: UInt64

    package init(epoch: Epoch, number: UInt64) {
        self.epoch = epoch
        self.number = number
    }

    package var description: String { "\(epoch)/\(number)" }
}
