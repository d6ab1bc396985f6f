// SPDX-License-Identifier: Apache-2.0

internal import Crypto
internal import DecisionLog

/// A segment of the decision log: whatever is read has one spelling and keeps to every limit.
enum DecisionSegmentProperty {
    static func check(_ input: [UInt8]) throws(PropertyBroken) -> Bool {
        // With the right digest an input gets past it; alone it would hardly ever.
        let isWhole = try read(input)
        let isBody = try read(input + SHA256.hash(data: input))
        return isWhole || isBody
    }

    private static func read(_ bytes: [UInt8]) throws(PropertyBroken) -> Bool {
        guard let segment = try? DecisionSegment(parsing: bytes) else { return false }
        var records: [[UInt8]] = []
        for record in segment.records {
            guard let encoded = DecisionSegment.encoded(record) else {
                throw PropertyBroken("a record was let in that cannot be written")
            }
            records.append(encoded)
        }
        try expect(
            DecisionSegment.encoded(segment.header, records: records) == bytes,
            "two encodings of one segment"
        )
        try expect(segment.digest == Array(bytes.suffix(32)), "another digest than its own")
        let name = SegmentName(segment.header)
        try expect(SegmentName(name.description) == name, "a name that is not read back")
        return true
    }
}
