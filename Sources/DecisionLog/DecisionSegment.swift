// SPDX-License-Identifier: Apache-2.0

package import ControlAPIProtos
internal import Crypto
internal import FoundationEssentials
internal import SwiftProtobuf

/// A numbered piece of an agent's decision log: one file there, one message, one row of the store.
///
/// docs/decisions/0011-decision-log.md has the form. A value of this type was read whole: every
/// record of it keeps to `RecordRules`, and its digest is that of its bytes.
package struct DecisionSegment: Sendable {
    /// Largest segment, header and digest included: as large as a message to the server.
    package static let bytesMax = 1 << 20
    /// Largest record: a full list of counts with IDs of the usual length.
    package static let recordBytesMax = 256 * 1024
    /// Bytes of a spool's ID.
    package static let spoolBytes = 16
    /// Bytes of the digest at the end.
    package static let digestBytes = 32
    /// Deepest nesting of messages in a record; the deepest there is has 4.
    static let nestingMax = 8

    /// `SGNTSEG` and the version of the form.
    static let magic: [UInt8] = Array("SGNTSEG".utf8) + [1]
    static let headerBytes = magic.count + spoolBytes + 8 + 8 + 8
    /// Length 0, which no record has, number of records, digest.
    static let trailerBytes = 4 + 4 + digestBytes
    /// What a segment without records has.
    package static let emptyBytes = headerBytes + trailerBytes

    /// What stands before the records.
    package struct Header: Hashable, Sendable {
        /// Which numbers these are: random, new with each start of an agent.
        package let spool: [UInt8]
        /// From 1.
        package let number: UInt64
        /// By the agent's clock.
        package let madeAtUnixMilliseconds: UInt64
        /// Records that the agent knows to be lost since the segment before.
        package let lost: UInt64

        package init(
            spool: [UInt8],
            number: UInt64,
            madeAtUnixMilliseconds: UInt64,
            lost: UInt64
        ) {
            precondition(spool.count == DecisionSegment.spoolBytes, "a spool's ID has 16 bytes")
            self.spool = spool
            self.number = number
            self.madeAtUnixMilliseconds = madeAtUnixMilliseconds
            self.lost = lost
        }
    }

    package let header: Header
    package let records: [Signet_Decisions_V1alpha1_SegmentRecord]
    /// SHA-256 of everything before it: the segment's last bytes.
    package let digest: [UInt8]
}

/// Why bytes are no segment.
package enum DecisionSegmentError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The digest is not that of the bytes: torn, or changed.
    case digestDiffers
    /// The number of records is not that of the trailer.
    case recordCountDiffers
    /// A record breaks a rule, by its place from 0.
    case recordRefused(at: Int)
    /// More bytes than any segment has.
    case tooLarge
    /// The bytes end early, or go on after the end.
    case torn
    /// The first bytes are another file's, or of a version that this program does not know.
    case versionUnknown

    package var description: String {
        switch self {
        case .digestDiffers: "its digest is not that of its bytes"
        case .recordCountDiffers: "it has not as many records as it says"
        case .recordRefused(let place): "its record \(place) is malformed"
        case .tooLarge: "it has more than \(DecisionSegment.bytesMax) bytes"
        case .torn: "it is not whole"
        case .versionUnknown: "it is no segment of a known version"
        }
    }
}

extension DecisionSegment {
    /// Writes a segment.
    ///
    /// - Parameters:
    ///   - header: What stands before the records.
    ///   - records: Each as `encoded` gives it; together they must fit.
    /// - Returns: The bytes of the file, which `init(parsing:)` reads.
    package static func encoded(_ header: Header, records: some Collection<[UInt8]>) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(emptyBytes + records.reduce(0) { $0 + 4 + $1.count })
        bytes += magic
        bytes += header.spool
        bytes.append(header.number)
        bytes.append(header.madeAtUnixMilliseconds)
        bytes.append(header.lost)
        for record in records {
            bytes.append(UInt32(clamping: record.count))
            bytes += record
        }
        bytes.append(UInt32(0))
        bytes.append(UInt32(clamping: records.count))
        bytes += SHA256.hash(data: bytes)
        return bytes
    }

    /// The one encoding of a record; nil if it breaks a rule or is too large.
    ///
    /// What a proxy said is read with the fields that nobody knows, at any depth of it. One of them
    /// in a segment would refuse the whole segment, so it is read here as whoever gets the segment
    /// reads it, and written from that.
    package static func encoded(_ record: Signet_Decisions_V1alpha1_SegmentRecord) -> [UInt8]? {
        guard RecordRules.admits(record),
            let told: [UInt8] = try? record.serializedBytes(),
            let known = known(told),
            let bytes: [UInt8] = try? known.serializedBytes(),
            bytes.count <= recordBytesMax
        else { return nil }
        return bytes
    }

    /// A record with the fields that this program knows.
    private static func known(_ bytes: [UInt8]) -> Signet_Decisions_V1alpha1_SegmentRecord? {
        var options = BinaryDecodingOptions()
        options.messageDepthLimit = nestingMax
        options.discardUnknownFields = true
        return try? Signet_Decisions_V1alpha1_SegmentRecord(
            serializedBytes: bytes,
            options: options
        )
    }

    /// Reads a segment, all of it or nothing.
    ///
    /// - Throws: What is wrong; whatever is read encodes to exactly these bytes again.
    package init(parsing bytes: [UInt8]) throws(DecisionSegmentError) {
        guard bytes.count <= Self.bytesMax else { throw .tooLarge }
        guard bytes.starts(with: Self.magic) else { throw .versionUnknown }
        guard bytes.count >= Self.emptyBytes else { throw .torn }
        let body = bytes.count - Self.digestBytes
        guard SHA256.hash(data: bytes[..<body]).elementsEqual(bytes[body...]) else {
            throw .digestDiffers
        }
        var reader = SegmentReader(bytes[Self.magic.count..<body])
        let header = Header(
            spool: Array(try reader.take(Self.spoolBytes)),
            number: try reader.number(bytes: 8),
            madeAtUnixMilliseconds: try reader.number(bytes: 8),
            lost: try reader.number(bytes: 8)
        )
        guard header.number > 0 else { throw .torn }
        var records: [Signet_Decisions_V1alpha1_SegmentRecord] = []
        while true {
            let length = Int(try reader.number(bytes: 4))
            if length == 0 { break }
            guard length <= Self.recordBytesMax else { throw .recordRefused(at: records.count) }
            guard let record = Self.record(Array(try reader.take(length))) else {
                throw .recordRefused(at: records.count)
            }
            records.append(record)
        }
        guard try reader.number(bytes: 4) == UInt64(records.count) else {
            throw .recordCountDiffers
        }
        guard reader.isAtEnd else { throw .torn }
        self.init(header: header, records: records, digest: Array(bytes[body...]))
    }

    /// Reads a record; nil unless it keeps to every rule and is in the one encoding.
    private static func record(_ bytes: [UInt8]) -> Signet_Decisions_V1alpha1_SegmentRecord? {
        // What is left out shows in the comparison.
        guard let record = known(bytes), RecordRules.admits(record),
            let again: [UInt8] = try? record.serializedBytes(), again == bytes
        else { return nil }
        return record
    }
}

/// Takes bytes from the front.
private struct SegmentReader {
    private var rest: ArraySlice<UInt8>

    init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

    var isAtEnd: Bool { rest.isEmpty }

    mutating func take(_ count: Int) throws(DecisionSegmentError) -> ArraySlice<UInt8> {
        guard rest.count >= count else { throw .torn }
        defer { rest = rest.dropFirst(count) }
        return rest.prefix(count)
    }

    mutating func number(bytes count: Int) throws(DecisionSegmentError) -> UInt64 {
        try take(count).reduce(0) { $0 << 8 | UInt64($1) }
    }
}

extension [UInt8] {
    /// Appends a number, its first byte first.
    fileprivate mutating func append(_ number: some FixedWidthInteger) {
        for shift in stride(from: number.bitWidth - 8, through: 0, by: -8) {
            append(UInt8(truncatingIfNeeded: number >> shift))
        }
    }
}
