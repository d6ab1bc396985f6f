// SPDX-License-Identifier: Apache-2.0

internal import Synchronization

/// What the log was told last of something that is looked at again and again.
final class LastTold: Sendable {
    private let text = Mutex<String?>(nil)

    /// Whether nothing is wrong.
    var isQuiet: Bool { text.withLock { $0 == nil } }

    /// Notes what is wrong, nil for nothing; whether that is another thing than before.
    func isNews(_ problem: String?) -> Bool {
        text.withLock { text in
            defer { text = problem }
            return text != problem
        }
    }
}
