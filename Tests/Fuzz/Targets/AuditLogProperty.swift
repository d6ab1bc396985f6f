// SPDX-License-Identifier: Apache-2.0

internal import AuditLog

/// No edit of any file of a log leaves it intact.
enum AuditLogProperty {
    /// An edit is four bytes: which file, what to do, and where (two bytes).
    private static let editBytes = 4
    /// More edits than that find nothing new and take longer.
    private static let editsMax = 16

    static func check(_ input: [UInt8]) throws(PropertyBroken) -> Bool {
        guard let log = SampleLog.shared else { throw PropertyBroken("no sample log") }
        var files = log.files
        var rest = input[...]
        for _ in 0..<editsMax where rest.count >= editBytes {
            let edit = Array(rest.prefix(editBytes))
            rest = rest.dropFirst(editBytes)
            let path = log.paths[Int(edit[0]) % log.paths.count]
            guard let bytes = files[path] else { continue }
            let place = Int(edit[2]) << 8 | Int(edit[3])
            files[path] = edited(bytes, operation: edit[1], place: place, rest: &rest)
        }
        let isUntouched = files == log.files
        try expect(
            log.isIntact(with: files) == isUntouched,
            isUntouched ? "an untouched log is not intact" : "an edited log is intact"
        )
        return isUntouched
    }

    /// Nil removes the file.
    private static func edited(
        _ bytes: [UInt8],
        operation: UInt8,
        place: Int,
        rest: inout ArraySlice<UInt8>
    ) -> [UInt8]? {
        var bytes = bytes
        let index = bytes.isEmpty ? 0 : place % bytes.count
        // The operation's upper bits say how many bytes it concerns.
        let count = Int(operation >> 3) + 1
        switch operation & 0x07 {
        case 0 where !bytes.isEmpty: bytes[index] ^= UInt8(count)
        case 1: bytes.removeSubrange(index..<min(bytes.count, index + count))
        case 2: bytes.insert(contentsOf: takePrefix(count, of: &rest), at: index)
        case 3: bytes.removeSubrange(index...)
        case 4: bytes.insert(contentsOf: bytes[index..<min(bytes.count, index + count)], at: index)
        case 5: bytes += takePrefix(count, of: &rest)
        case 6: bytes = takePrefix(min(place, rest.count), of: &rest)
        case 7: return nil
        default: break
        }
        return bytes
    }

    private static func takePrefix(_ count: Int, of rest: inout ArraySlice<UInt8>) -> [UInt8] {
        defer { rest = rest.dropFirst(count) }
        return Array(rest.prefix(count))
    }
}
