// SPDX-License-Identifier: Apache-2.0

internal import Crypto
internal import FoundationEssentials
package import Issuance

/// The key of one backup, and what each of its pieces is encrypted with.
struct BackupPieces {
    let header: [UInt8]
    private let key: SymmetricKey
    /// The number of the next piece.
    private var number: UInt64 = 0

    init(header: [UInt8], passphrase: [UInt8], cost: SealedKey.Cost) throws(BackupFileError) {
        self.header = header
        do {
            key = try SealedKey.derive(
                passphrase,
                salt: header.suffix(BackupFile.saltCount),
                cost: cost
            )
        } catch .passphraseLength {
            throw .passphraseLength
        } catch {
            throw .library
        }
    }

    /// Seven zero bytes, the piece's number, and whether it is the last one: no nonce comes twice,
    /// because each file has a salt, and so a key, of its own.
    private mutating func nonce(isLast: Bool) throws(BackupFileError) -> AES.GCM.Nonce {
        guard number < BackupFile.piecesMax else { throw .tooLong }
        var bytes = [UInt8](repeating: 0, count: 7)
        for shift in stride(from: 24, through: 0, by: -8) {
            bytes.append(UInt8(truncatingIfNeeded: number >> UInt64(shift)))
        }
        number += 1
        do {
            return try AES.GCM.Nonce(data: bytes + [isLast ? 1 : 0])
        } catch { throw .library }
    }

    mutating func seal(_ piece: [UInt8], isLast: Bool) throws(BackupFileError) -> [UInt8] {
        let nonce = try nonce(isLast: isLast)
        do {
            let box = try AES.GCM.seal(piece, using: key, nonce: nonce, authenticating: header)
            return Array(box.ciphertext) + Array(box.tag)
        } catch { throw .library }
    }

    mutating func open(_ piece: [UInt8], isLast: Bool) throws(BackupFileError) -> [UInt8] {
        let nonce = try nonce(isLast: isLast)
        do {
            let box = try AES.GCM.SealedBox(
                nonce: nonce,
                ciphertext: piece.dropLast(BackupFile.tagCount),
                tag: piece.suffix(BackupFile.tagCount)
            )
            return Array(try AES.GCM.open(box, using: key, authenticating: header))
        } catch { throw .notOpened }
    }
}

/// Encrypts one backup.
package struct BackupSealer {
    private var pieces: BackupPieces
    private var waiting: [UInt8] = []

    /// Begins a backup.
    ///
    /// - Parameters:
    ///   - passphrase: 1 to 1024 bytes.
    ///   - cost: How dear a guess at it is.
    ///   - generator: The system's random numbers in production; they make the salt.
    /// - Throws: `BackupFileError.passphraseLength` or `.library`.
    package init(
        passphrase: [UInt8],
        cost: SealedKey.Cost = .standard,
        using generator: inout some RandomNumberGenerator
    ) throws(BackupFileError) {
        var salt: [UInt8] = []
        for _ in 0..<BackupFile.saltCount {
            salt.append(.random(in: .min ... .max, using: &generator))
        }
        pieces = try BackupPieces(
            header: BackupFile.mark + [cost.logarithm] + salt,
            passphrase: passphrase,
            cost: cost
        )
    }

    /// What the file begins with.
    package var header: [UInt8] { pieces.header }

    /// Takes more of the content.
    ///
    /// - Returns: The pieces that are full, encrypted, in order; possibly none.
    /// - Throws: `BackupFileError.tooLong` or `.library`.
    package mutating func seal(_ bytes: some Collection<UInt8>) throws(BackupFileError) -> [[UInt8]]
    {
        waiting += bytes
        var sealed: [[UInt8]] = []
        var start = 0
        while waiting.count - start >= BackupFile.pieceCount {
            let piece = Array(waiting[start..<start + BackupFile.pieceCount])
            sealed.append(try pieces.seal(piece, isLast: false))
            start += BackupFile.pieceCount
        }
        waiting.removeFirst(start)
        return sealed
    }

    /// Ends the backup.
    ///
    /// - Returns: Its last piece, which is shorter than the others.
    /// - Throws: `BackupFileError.tooLong` or `.library`.
    package mutating func finish() throws(BackupFileError) -> [UInt8] {
        try pieces.seal(waiting, isLast: true)
    }
}

/// Decrypts one backup, piece by piece in order.
package struct BackupOpener {
    private var pieces: BackupPieces
    /// Whether the last piece was opened: before that, all of it may be a part of something else.
    package private(set) var isComplete = false

    /// Reads the header.
    ///
    /// - Throws: `BackupFileError`: `.notBackup`, `.version`, `.truncated`, `.cost`,
    ///   `.passphraseLength`, `.library`.
    package init(header: [UInt8], passphrase: [UInt8]) throws(BackupFileError) {
        guard BackupFile.isBackup(header) else { throw .notBackup }
        guard header.count == BackupFile.headerCount else { throw .truncated }
        guard header.starts(with: BackupFile.mark) else {
            throw .version(header[BackupFile.mark.count - 1])
        }
        guard let cost = SealedKey.Cost(logarithm: header[BackupFile.mark.count]) else {
            throw .cost
        }
        pieces = try BackupPieces(header: header, passphrase: passphrase, cost: cost)
    }

    /// Opens the next piece.
    ///
    /// - Parameter sealed: A piece as it is in the file; one that is shorter than 1 MiB is the last.
    /// - Returns: Its content.
    /// - Throws: `BackupFileError`: `.truncated` when the file ends without a last piece, `.tooLong`,
    ///   `.notOpened`.
    package mutating func open(_ sealed: [UInt8]) throws(BackupFileError) -> [UInt8] {
        guard !isComplete, sealed.count <= BackupFile.pieceCount + BackupFile.tagCount else {
            throw .tooLong
        }
        guard sealed.count >= BackupFile.tagCount else { throw .truncated }
        let isLast = sealed.count < BackupFile.pieceCount + BackupFile.tagCount
        let piece = try pieces.open(sealed, isLast: isLast)
        isComplete = isLast
        return piece
    }
}

/// Parts a backup's content into manifest and database.
struct BackupContent {
    private var begun: [UInt8] = []
    private var manifest: BackupManifest?

    /// Takes the next piece of the content.
    ///
    /// - Returns: What of it belongs to the database.
    mutating func take(_ piece: [UInt8]) throws(BackupFileError) -> [UInt8] {
        guard manifest == nil else { return piece }
        begun += piece
        guard begun.count >= BackupFile.lengthCount else { return [] }
        let length = begun.prefix(BackupFile.lengthCount).reduce(0) { $0 << 8 | Int($1) }
        guard length <= BackupManifest.bytesMax else { throw .manifest("length") }
        let end = BackupFile.lengthCount + length
        guard begun.count >= end else { return [] }
        manifest = try BackupManifest(parsing: Array(begun[BackupFile.lengthCount..<end]))
        defer { begun = [] }
        return Array(begun[end...])
    }

    func finish() throws(BackupFileError) -> BackupManifest {
        guard let manifest else { throw .truncated }
        return manifest
    }
}
