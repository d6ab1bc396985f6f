// SPDX-License-Identifier: Apache-2.0

import AuditLog
import Crypto
import FoundationEssentials

/// A log in memory: what a server keeps, and the directory it publishes.
struct TestLog {
    struct NoSuchFile: Error {}

    static let origin = "example.org/audit/one"

    private(set) var frontier = MerkleFrontier()
    private(set) var leaves: [[UInt8]] = []
    var files: [String: [UInt8]] = [:]
    let signer: Curve25519.Signing.PrivateKey
    let key: NoteVerifierKey

    init() throws {
        signer = try Curve25519.Signing.PrivateKey(rawRepresentation: [UInt8](1...32))
        key = try NoteVerifierKey(
            name: Self.origin,
            publicKey: Array(signer.publicKey.rawRepresentation)
        )
    }

    /// A published log of `size` small leaves that all differ.
    init(size: Int) throws {
        try self.init()
        try append(Self.leaves(0..<size))
        try publish()
    }

    /// A published log of these leaves.
    init(leaves: [[UInt8]]) throws {
        try self.init()
        try append(leaves)
        try publish()
    }

    static func leaves(_ range: Range<Int>) -> [[UInt8]] { range.map { Array("leaf \($0)".utf8) } }

    /// Integrates leaves and writes the tiles.
    mutating func append(_ new: [[UInt8]]) throws {
        let files = files
        let integration = try TileIntegration(appending: new, to: frontier) { path in
            guard let bytes = files[path] else { throw NoSuchFile() }
            return bytes
        }
        for file in integration.files { self.files[file.path.description] = file.bytes }
        leaves += new
        frontier = integration.frontier
    }

    /// Signs and writes the checkpoint.
    mutating func publish() throws {
        files[TilePath.checkpoint] = try signed(
            Checkpoint(origin: Self.origin, frontier: frontier)
        ).note
    }

    func signed(_ checkpoint: Checkpoint) throws -> SignedCheckpoint {
        try SignedCheckpoint(signing: checkpoint, key: key) { Array(try signer.signature(for: $0)) }
    }

    func read(_ path: String) throws -> [UInt8] {
        guard let bytes = files[path] else { throw NoSuchFile() }
        return bytes
    }

    var tree: TiledTree { TiledTree(size: frontier.size, read: read) }

    func verify(remembered: [Checkpoint] = []) -> AuditVerdict {
        AuditVerifier(key: key, remembered: remembered, read: read).verify(files: Array(files.keys))
    }

    func checkpoint(_ size: UInt64) -> Checkpoint {
        let hashes = leaves.prefix(Int(size)).map { MerkleHash(leaf: $0) }
        return Checkpoint(origin: Self.origin, size: size, root: RFC6962.root(hashes[...]))
    }
}

/// The definitions of RFC 6962 section 2.1, word by word, over leaf hashes.
enum RFC6962 {
    typealias Hashes = ArraySlice<MerkleHash>

    static func root(_ hashes: Hashes) -> MerkleHash {
        guard let first = hashes.first else { return .emptyRoot }
        if hashes.count == 1 { return first }
        let (left, right) = split(hashes)
        return MerkleHash(left: root(left), right: root(right))
    }

    /// PATH(m, D[n]) of section 2.1.1.
    static func path(_ index: Int, _ hashes: Hashes) -> [MerkleHash] {
        if hashes.count <= 1 { return [] }
        let (left, right) = split(hashes)
        return index < left.count
            ? path(index, left) + [root(right)] : path(index - left.count, right) + [root(left)]
    }

    /// PROOF(m, D[n]) of section 2.1.2.
    static func proof(_ oldSize: Int, _ hashes: Hashes) -> [MerkleHash] {
        oldSize == 0 ? [] : subproof(oldSize, hashes, true)
    }

    private static func subproof(_ size: Int, _ hashes: Hashes, _ whole: Bool) -> [MerkleHash] {
        if size == hashes.count { return whole ? [] : [root(hashes)] }
        let (left, right) = split(hashes)
        return size <= left.count
            ? subproof(size, left, whole) + [root(right)]
            : subproof(size - left.count, right, false) + [root(left)]
    }

    private static func split(_ hashes: Hashes) -> (Hashes, Hashes) {
        var size = 1
        while size * 2 < hashes.count { size *= 2 }
        return (hashes.prefix(size), hashes.dropFirst(size))
    }
}
