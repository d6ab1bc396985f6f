// SPDX-License-Identifier: Apache-2.0

internal import CLinux
internal import Synchronization

/// Standard error, one line at a time, without the weight of Foundation's file handles.
package final class StandardError: Sendable {
    /// Lines longer than PIPE_BUF would mix with those of other threads.
    private let turn = Mutex(())

    package init() {}

    /// Writes a line that ends with a newline; does nothing when standard error is closed.
    package func write(_ line: String) { write(Array(line.utf8)) }

    /// Writes whole lines, between which no other thread's comes.
    package func write(_ bytes: [UInt8]) {
        turn.withLock { _ in
            // Nowhere is left to report a failure of the log itself.
            _ = unsafe bytes.withUnsafeBytes { buffer in
                guard let start = buffer.baseAddress else { return Int32(0) }
                return unsafe clinux_write_all(2, start, buffer.count)
            }
        }
    }
}
