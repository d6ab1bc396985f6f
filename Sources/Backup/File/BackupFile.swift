// SPDX-License-Identifier: Apache-2.0

/// The file of a backup (docs/decisions/0022-backup-and-restore.md).
///
/// A header of 25 bytes, then encrypted pieces of 1 MiB, of which the last one is shorter. Inside are
/// a manifest and the database.
package enum BackupFile {
    /// Bytes of the header: mark, version, cost of the passphrase, salt.
    package static let headerCount = 25
    /// Bytes of a piece before it is encrypted; the last one has fewer, possibly none.
    package static let pieceCount = 1 << 20
    /// Bytes by which AES-256-GCM makes a piece longer.
    package static let tagCount = 16
    /// Most pieces: their number has four bytes in the nonce; 4 PiB.
    package static let piecesMax: UInt64 = 1 << 32

    /// What every file begins with; the last byte is the version of all that follows.
    static let mark = Array("SGNTBKP".utf8) + [1]
    static let saltCount = 16
    /// Bytes of the manifest's length in front of it.
    static let lengthCount = 4

    /// Whether bytes are the beginning of a backup of any version.
    package static func isBackup(_ bytes: some Collection<UInt8>) -> Bool {
        bytes.starts(with: mark.dropLast())
    }

    /// What is inside in front of the database.
    package static func preamble(_ manifest: BackupManifest) -> [UInt8] {
        let bytes = manifest.encoded
        return (0..<lengthCount).reversed().map { place in
            UInt8(truncatingIfNeeded: bytes.count >> (8 * place))
        } + bytes
    }

    /// Decrypts a whole file, piece by piece.
    ///
    /// - Parameters:
    ///   - passphrase: For which it was encrypted.
    ///   - next: Returns the next bytes, as many as it is asked for, and fewer only at the end.
    ///   - database: Takes the database, piece by piece. **Nothing of it is to be believed, nor used,
    ///     before this returns**: until then it may be a part.
    /// - Returns: What the backup is of.
    /// - Throws: `BackupFileError`, and what the two closures throw.
    package static func open(
        passphrase: [UInt8],
        next: (Int) throws -> [UInt8],
        database: ([UInt8]) throws -> Void
    ) throws -> BackupManifest {
        var opener = try BackupOpener(header: try next(headerCount), passphrase: passphrase)
        var reader = BackupContent()
        while !opener.isComplete {
            let piece = try opener.open(try next(pieceCount + tagCount))
            let rest = try reader.take(piece)
            if !rest.isEmpty { try database(rest) }
        }
        guard try next(1).isEmpty else { throw BackupFileError.tooLong }
        return try reader.finish()
    }
}

/// Why bytes are no backup, or cannot be made one.
package enum BackupFileError: Error, Hashable, Sendable, CustomStringConvertible {
    /// scrypt's cost is outside what is read.
    case cost
    /// The cryptographic library failed: there is no memory.
    case library
    /// The manifest says something of a wrong form, by its field.
    case manifest(String)
    case notBackup
    /// The passphrase is wrong, or the file was changed or cut.
    case notOpened
    case passphraseLength
    /// More follows than belongs to it.
    case tooLong
    /// It ends in the middle of something.
    case truncated
    case version(UInt8)

    package var description: String {
        switch self {
        case .cost: "the cost of its passphrase is outside what is read: the file was changed"
        case .library: "the cryptographic library failed; is there enough memory?"
        case .manifest(let field): "its manifest cannot be read (\(field))"
        case .notBackup: "it is no backup: `signet server backup` makes one"
        case .notOpened:
            "it does not open: the passphrase is wrong, or the file was changed or cut"
        case .passphraseLength: "a passphrase has 1 to 1024 bytes"
        case .tooLong: "bytes follow its end: the file was changed"
        case .truncated: "it is not complete: copy it again, or take another backup"
        case .version(let version):
            "it is of version \(version), which this release does not know: use a newer one"
        }
    }
}
