// SPDX-License-Identifier: Apache-2.0

internal import Synchronization

/// Records on their way to the disk: bounded, never waited for.
package final class DecisionQueue: Sendable {
    /// Most records that wait.
    package static let recordsMax = 8_192
    /// Most bytes that wait: eight times what a segment is made of, for a slow disk.
    package static let bytesMax = 4 << 20
    /// Least records of these that are left to counts, which come every ten seconds and are few.
    package static let countsRecordsMin = 1_024
    /// Least bytes of these that are left to counts: of some hundred processes.
    package static let countsBytesMin = 1 << 20

    private struct State {
        var records: [[UInt8]] = []
        var bytes = 0
    }

    private let state = Mutex(State())

    package init() {}

    /// Bytes that wait.
    package var bytes: Int { state.withLock { $0.bytes } }

    /// Takes a record.
    ///
    /// - Parameters:
    ///   - record: Encoded.
    ///   - isCounts: Whether it holds counts, which have room that nothing else takes.
    /// - Returns: Whether there was room; else it is dropped.
    package func offer(_ record: [UInt8], isCounts: Bool) -> Bool {
        state.withLock { state in
            let (keptRecords, keptBytes) =
                isCounts ? (0, 0) : (Self.countsRecordsMin, Self.countsBytesMin)
            guard state.records.count < Self.recordsMax - keptRecords,
                state.bytes + record.count <= Self.bytesMax - keptBytes
            else { return false }
            state.records.append(record)
            state.bytes += record.count
            return true
        }
    }

    /// Hands over everything that waits, in order.
    package func take() -> [[UInt8]] {
        state.withLock { state in
            let taken = state.records
            state = State()
            return taken
        }
    }
}
