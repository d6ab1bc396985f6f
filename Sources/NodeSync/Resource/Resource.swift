// SPDX-License-Identifier: Apache-2.0

/// What kind of thing a resource is; the payload is decoded only at the edges.
///
/// The raw values are the wire's and never change meaning.
package enum ResourceType: UInt8, Hashable, Sendable, CaseIterable, Codable {
    /// A registration entry, named by its `id`.
    case entry = 1
    /// The bundle of a trust domain, named by that.
    case bundle = 2
    /// A revocation, named after what it revokes: a name never gets another meaning.
    case revocation = 3
    /// Any other document, named by its key.
    case document = 4
    /// Everything declared that one proxy needs, named `namespace/name`.
    case proxy = 5
    /// The certificate revocation list of an authority, named by the authority's ID.
    case revocationList = 6
    /// The bundle of another trust domain, named by that.
    case federatedBundle = 7

    /// The order in which changes of one revision come into force: what takes away comes first,
    /// then the trust that the rest relies on.
    fileprivate var applicationRank: Int {
        switch self {
        case .revocation: 0
        case .bundle, .federatedBundle: 1
        // After the bundle, with whose authority it is verified.
        case .revocationList: 2
        case .entry: 3
        case .proxy: 4
        case .document: 5
        }
    }
}

/// What identifies a resource within an epoch.
package struct ResourceKey: Hashable, Sendable, Comparable, Codable, CustomStringConvertible {
    /// Longest name in bytes: room for a group, a kind, a namespace and a name of 253 bytes each.
    package static let nameBytesMax = 1024

    package let type: ResourceType
    package let name: String

    package init(_ type: ResourceType, _ name: String) {
        self.type = type
        self.name = name
    }

    package var description: String { "\(type) \(name)" }

    package static func < (lhs: Self, rhs: Self) -> Bool {
        // Types of one rank may have one name.
        (lhs.type.applicationRank, lhs.name, lhs.type.rawValue)
            < (rhs.type.applicationRank, rhs.name, rhs.type.rawValue)
    }
}

/// One named payload.
package struct Resource: Hashable, Sendable {
    package let key: ResourceKey
    package let payload: [UInt8]

    package init(key: ResourceKey, payload: [UInt8]) {
        self.key = key
        self.payload = payload
    }

    /// What the resource counts against the limits of a page or a snapshot.
    package var sizeBytes: Int { key.name.utf8.count + payload.count }
}

/// What happened to one resource between two revisions.
package enum ResourceChange: Hashable, Sendable {
    case remove(ResourceKey)
    case upsert(ResourceKey, payload: [UInt8])

    package var key: ResourceKey {
        switch self {
        case .remove(let key), .upsert(let key, _): key
        }
    }

    /// What the change counts against the limit of a message.
    package var sizeBytes: Int {
        switch self {
        case .remove(let key): key.name.utf8.count
        case .upsert(let key, let payload): key.name.utf8.count + payload.count
        }
    }
}
