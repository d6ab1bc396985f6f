// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Crypto
internal import FoundationEssentials

/// A published audit log that is the same in every run.
struct SampleLog: Sendable {
    struct NoSuchFile: Error {}

    /// One full tile and a partial one, so that every kind of file is there.
    static let leavesCount = TilePath.fullWidth + 4
    static let shared = try? SampleLog()

    let key: NoteVerifierKey
    let files: [String: [UInt8]]
    /// The names of `files`, sorted.
    let paths: [String]
    private let signer: Curve25519.Signing.PrivateKey

    init() throws {
        signer = try Curve25519.Signing.PrivateKey(rawRepresentation: [UInt8](1...32))
        key = try NoteVerifierKey(
            name: "example.org/audit/one",
            publicKey: Array(signer.publicKey.rawRepresentation)
        )
        let integration = try TileIntegration(
            appending: (0..<Self.leavesCount).map { Array("leaf \($0)".utf8) },
            to: MerkleFrontier()
        ) { _ in throw NoSuchFile() }
        var files: [String: [UInt8]] = [:]
        for file in integration.files { files[file.path.description] = file.bytes }
        let checkpoint = Checkpoint(origin: key.name, frontier: integration.frontier)
        let signer = signer
        files[TilePath.checkpoint] = try SignedCheckpoint(signing: checkpoint, key: key) {
            Array(try signer.signature(for: $0))
        }.note
        self.files = files
        paths = files.keys.sorted()
    }

    func signature(for text: [UInt8]) throws -> [UInt8] {
        Array(try signer.signature(for: text))
    }

    /// The verdict on the log with these files instead of its own.
    func isIntact(with files: [String: [UInt8]]) -> Bool {
        let verifier = AuditVerifier(key: key) { path in
            guard let bytes = files[path] else { throw NoSuchFile() }
            return bytes
        }
        if case .intact = verifier.verify(files: Array(files.keys)) { return true }
        return false
    }
}
