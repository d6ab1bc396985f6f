// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials

/// What rotation does next, in words, and when.
package struct RotationStatus: Hashable, Sendable {
    package let text: String
    package let at: Date?
    /// When it begins at the latest.
    package let latest: Date?
    /// Live agents that do not have it yet, sorted.
    package let waitingFor: [String]

    package init(
        text: String,
        at: Date?,
        latest: Date? = nil,
        waitingFor: [String] = []
    ) {
        self.text = text
        self.at = at
        self.latest = latest
        self.waitingFor = waitingFor
    }
}
