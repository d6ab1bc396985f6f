// SPDX-License-Identifier: Apache-2.0

package import NodeSync

/// The file form of `PersistedSync`: numbers big-endian, texts and payloads after their length.
///
/// Not protobuf, because the whole of it must be read or none: no unknown field is skipped.
extension PersistedSync {
    private static let version: UInt8 = 1

    /// Everything, in an order that depends only on the content.
    package var encoded: [UInt8] {
        var out = ByteWriter()
        out.append(Self.version)
        out.append(contentsOf: revision.epoch.bytes)
        out.append(integer: revision.number)
        out.append(integer: UInt32(resources.count))
        for key in resources.keys.sorted() {
            out.append(key)
            let payload = resources[key] ?? []
            out.append(integer: UInt32(payload.count))
            out.append(contentsOf: payload)
        }
        for keys in [refused, retained] {
            out.append(integer: UInt32(keys.count))
            for key in keys.sorted() { out.append(key) }
        }
        return out.bytes
    }

    /// Reads what `encoded` wrote; nil for anything else.
    package init?(encoded bytes: [UInt8]) {
        var input = ByteReader(bytes)
        guard input.byte() == Self.version,
            let epochBytes = input.bytes(Epoch.byteCount),
            let epoch = try? Epoch(bytes: epochBytes),
            let number: UInt64 = input.integer(),
            let count: UInt32 = input.integer(), count <= SyncLimits.resourcesMax
        else { return nil }
        var resources: [ResourceKey: [UInt8]] = [:]
        for _ in 0..<count {
            guard let key = input.key(), let length: UInt32 = input.integer(),
                let payload = input.bytes(Int(length)),
                resources.updateValue(payload, forKey: key) == nil
            else { return nil }
        }
        guard let refused = input.keys(), let retained = input.keys(), input.isAtEnd else {
            return nil
        }
        self.init(
            revision: Revision(epoch: epoch, number: number),
            resources: resources,
            refused: refused,
            retained: retained
        )
    }
}

private struct ByteWriter {
    private(set) var bytes: [UInt8] = []

    mutating func append(_ byte: UInt8) { bytes.append(byte) }

    mutating func append(contentsOf content: [UInt8]) { bytes += content }

    mutating func append<Integer: FixedWidthInteger>(integer: Integer) {
        for shift in stride(from: Integer.bitWidth - 8, through: 0, by: -8) {
            bytes.append(UInt8(truncatingIfNeeded: integer >> Integer(shift)))
        }
    }

    mutating func append(_ key: ResourceKey) {
        append(key.type.rawValue)
        let name = Array(key.name.utf8)
        append(integer: UInt16(clamping: name.count))
        append(contentsOf: name)
    }
}

private struct ByteReader {
    private let content: [UInt8]
    private var position = 0

    init(_ content: [UInt8]) { self.content = content }

    var isAtEnd: Bool { position == content.count }

    mutating func byte() -> UInt8? { bytes(1)?.first }

    mutating func bytes(_ count: Int) -> [UInt8]? {
        guard count >= 0, count <= content.count - position else { return nil }
        defer { position += count }
        return Array(content[position..<(position + count)])
    }

    mutating func integer<Integer: FixedWidthInteger>() -> Integer? {
        bytes(Integer.bitWidth / 8)?.reduce(0) { $0 << 8 | Integer($1) }
    }

    mutating func key() -> ResourceKey? {
        guard let type = byte().flatMap(ResourceType.init(rawValue:)),
            let length: UInt16 = integer(), length > 0, length <= ResourceKey.nameBytesMax,
            let name = bytes(Int(length)).flatMap({ String(validating: $0, as: UTF8.self) })
        else { return nil }
        return ResourceKey(type, name)
    }

    mutating func keys() -> Set<ResourceKey>? {
        guard let count: UInt32 = integer(), count <= SyncLimits.resourcesMax else { return nil }
        var keys: Set<ResourceKey> = []
        for _ in 0..<count {
            guard let key = key(), keys.insert(key).inserted else { return nil }
        }
        return keys
    }
}
