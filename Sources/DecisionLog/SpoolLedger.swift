// SPDX-License-Identifier: Apache-2.0

/// Which segments lie in a spool, oldest first, and which of them must go for others.
///
/// The shell writes and removes the files; this says which.
package struct SpoolLedger: Sendable {
    /// Most bytes of all segments together: an agent of a busy node is away from its server for
    /// an hour or more before it loses one, and no disk minds.
    package static let bytesMax = 64 << 20
    /// Most segments: at one in 10 seconds 11 hours, so that a directory stays small.
    package static let segmentsMax = 4_096

    /// One segment on the disk.
    package struct Entry: Hashable, Sendable {
        package let name: SegmentName
        package let bytes: Int
        package let records: Int

        package init(name: SegmentName, bytes: Int, records: Int) {
            self.name = name
            self.bytes = bytes
            self.records = records
        }
    }

    private let bytesMax: Int
    private let segmentsMax: Int
    private var entries: [Entry] = []
    /// Bytes of all of them.
    package private(set) var bytes = 0

    /// A spool without segments.
    package init(bytesMax: Int = Self.bytesMax, segmentsMax: Int = Self.segmentsMax) {
        self.bytesMax = bytesMax
        self.segmentsMax = segmentsMax
    }

    package var count: Int { entries.count }

    /// The one that is sent next, and that goes first when there is no room.
    package var oldest: Entry? { entries.first }

    /// A segment was found or written.
    package mutating func added(_ entry: Entry) {
        // New ones are the youngest.
        let before = entries.lastIndex { $0.name < entry.name }
        entries.insert(entry, at: before.map { $0 + 1 } ?? entries.startIndex)
        bytes += entry.bytes
    }

    /// A segment was removed; nil if there was none of that name.
    @discardableResult
    package mutating func removed(_ name: SegmentName) -> Entry? {
        guard let place = entries.firstIndex(where: { $0.name == name }) else { return nil }
        bytes -= entries[place].bytes
        return entries.remove(at: place)
    }

    /// Forgets all segments, which are looked for again.
    ///
    /// - Returns: What there was.
    package mutating func removedAll() -> [Entry] {
        defer { (entries, bytes) = ([], 0) }
        return entries
    }

    /// Whether there is a segment of a name.
    package func has(_ name: SegmentName) -> Bool { entries.contains { $0.name == name } }

    /// The oldest segments, as many as have to go before one of so many bytes has room.
    package func leaving(for newBytes: Int) -> [Entry] {
        var (left, count) = (bytes, entries.count)
        return Array(
            entries.prefix { entry in
                guard left + newBytes > bytesMax || count + 1 > segmentsMax else { return false }
                left -= entry.bytes
                count -= 1
                return true
            }
        )
    }
}
