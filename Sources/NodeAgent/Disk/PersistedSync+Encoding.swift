// SPDX-License-Identifier: Apache-2.0

package import NodeSync

/// The file form of `PersistedSync`: numbers big-endian, texts and payloads after their length.
///
/// Not protobuf, because the whole of it must be read or none: no unknown field is skipped.
extension PersistedSync {
    /// The first version did not say with which capabilities it was told, the second one not which
    /// epochs were left.
    private static let version: UInt8 = 3
    /// Most capabilities: a server looks at no more.
    private static let capabilitiesMax = 64

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
        out.append(integer: UInt32(capabilities.count))
        for word in capabilities.sorted() { out.append(text: word) }
        out.append(integer: UInt32(leftEpochs.count))
        for epoch in leftEpochs { out.append(contentsOf: epoch.bytes) }
        return out.bytes
    }

    /// Reads what `encoded` wrote; nil for anything else.
    package init?(encoded bytes: [UInt8]) {
        var input = ByteReader(bytes)
        guard let version = input.byte(), (1...Self.version).contains(version),
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
        guard let refused = input.keys(), let retained = input.keys(),
            let capabilities = version == 1 ? [] : input.words(Self.capabilitiesMax),
            let leftEpochs = version < 3 ? [] : input.epochs(SyncSubscriber.leftEpochsMax),
            input.isAtEnd
        else { return nil }
        self.init(
            revision: Revision(epoch: epoch, number: number),
            resources: resources,
            refused: refused,
            retained: retained,
            capabilities: capabilities,
            leftEpochs: leftEpochs
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
        append(text: key.name)
    }

    mutating func append(text: String) {
        let bytes = Array(text.utf8)
        append(integer: UInt16(clamping: bytes.count))
        append(contentsOf: bytes)
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
        guard let type = byte().flatMap(ResourceType.init(rawValue:)), let name = text() else {
            return nil
        }
        return ResourceKey(type, name)
    }

    private mutating func text() -> String? {
        guard let length: UInt16 = integer(), length > 0, length <= ResourceKey.nameBytesMax else {
            return nil
        }
        return bytes(Int(length)).flatMap { String(validating: $0, as: UTF8.self) }
    }

    mutating func words(_ countMax: Int) -> Set<String>? {
        guard let count: UInt32 = integer(), count <= countMax else { return nil }
        var words: Set<String> = []
        for _ in 0..<count {
            guard let word = text(), words.insert(word).inserted else { return nil }
        }
        return words
    }

    mutating func epochs(_ countMax: Int) -> [Epoch]? {
        guard let count: UInt32 = integer(), count <= countMax else { return nil }
        var epochs: [Epoch] = []
        for _ in 0..<count {
            guard let bytes = bytes(Epoch.byteCount), let epoch = try? Epoch(bytes: bytes) else {
                return nil
            }
            epochs.append(epoch)
        }
        return epochs
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
