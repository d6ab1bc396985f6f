// SPDX-License-Identifier: Apache-2.0

import CAServer
import DurableFiles
import Testing

/// What the decision store takes, and of whom.
struct DecisionLimitTests {
    private static let gibibyte: UInt64 = 1 << 30

    private func isShort(_ bytes: UInt64, free: UInt64) -> Bool {
        DecisionRoom.shortage(FileSystemRoom(bytes: bytes, freeBytes: free)) != nil
    }

    @Test func `a gibibyte stays free, or a tenth of a small file system`() {
        #expect(!isShort(100 * Self.gibibyte, free: Self.gibibyte))
        #expect(isShort(100 * Self.gibibyte, free: Self.gibibyte - 1))
        #expect(!isShort(5 * Self.gibibyte, free: Self.gibibyte / 2))
        #expect(isShort(5 * Self.gibibyte, free: Self.gibibyte / 2 - 4096))
        #expect(isShort(0, free: 0))
    }

    @Test func `each agent has one place, and there are not more than allowed`() {
        var uploads = DecisionUploads(placesMax: 2)
        #expect(uploads.entered("a") == .entered)
        #expect(uploads.entered("a") == .isThere)
        #expect(uploads.entered("b") == .entered)
        #expect(uploads.entered("c") == .crowded)
        uploads.left("a")
        #expect(uploads.entered("c") == .entered)
        #expect(uploads.entered("a") == .crowded)
    }
}
