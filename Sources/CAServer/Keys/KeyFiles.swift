// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import DurableFiles
internal import FoundationEssentials
package import Issuance

/// How the files of keys are written (docs/decisions/0013-authority-keys.md).
package enum KeyFileForm: Sendable {
    /// With a passphrase, so that a copy of the disk is no copy of the keys.
    case encrypted(Secret, cost: SealedKey.Cost = .standard)
    /// As they are, in mode 0600.
    case plain
}

/// The key files of one server: `authority-<id>.key`, `jwt-<id>.key`, `upstream-<id>.key` and
/// `audit.key`.
struct KeyFiles: Sendable {
    /// A key of the server, with its file and what binds the file to it.
    enum Name: Hashable, Sendable {
        case audit
        case authority(String)
        /// The key that an authority signs JWT-SVIDs with.
        case token(String)
        /// The key of an upstream authority on disk; no sweep knows it.
        case upstream(String)

        init?(file: String) {
            if file == "audit.key" {
                self = .audit
            } else if file.hasPrefix("authority-"), file.hasSuffix(".key") {
                self = .authority(String(file.dropFirst("authority-".count).dropLast(4)))
            } else if file.hasPrefix("jwt-"), file.hasSuffix(".key") {
                self = .token(String(file.dropFirst("jwt-".count).dropLast(4)))
            } else if file.hasPrefix("upstream-"), file.hasSuffix(".key") {
                self = .upstream(String(file.dropFirst("upstream-".count).dropLast(4)))
            } else {
                return nil
            }
        }

        var file: String {
            switch self {
            case .audit: "audit.key"
            case .authority(let id): "authority-\(id).key"
            case .token(let id): "jwt-\(id).key"
            case .upstream(let id): "upstream-\(id).key"
            }
        }

        fileprivate var purpose: String {
            switch self {
            case .audit: "audit"
            case .authority(let id): "authority:\(id)"
            case .token(let id): "jwt:\(id)"
            case .upstream(let id): "upstream:\(id)"
            }
        }
    }

    let directory: String
    let form: KeyFileForm

    /// The content of a key's file; nil when there is none.
    ///
    /// - Throws: `FileError` when the file must not be used, `KeyFileError` when it is not in the
    ///   configured form or does not open.
    func read(_ name: Name) throws -> [UInt8]? {
        guard let bytes = try raw(name) else { return nil }
        return try open(bytes, name, as: form)
    }

    /// Writes a key's file; it is on disk when this returns.
    func write(_ key: [UInt8], _ name: Name) throws {
        var bytes = key
        if case .encrypted(let passphrase, let cost) = form {
            var generator = SystemRandomness()
            do {
                bytes = try SealedKey.seal(
                    key,
                    for: name.purpose,
                    passphrase: passphrase.bytes,
                    cost: cost,
                    using: &generator
                )
            } catch {
                throw KeyFileError(path: path(name), problem: .sealed(error))
            }
        }
        try DurableFile.write(bytes, to: path(name), mode: 0o600)
    }

    func remove(_ name: Name) throws(FileError) { try DurableFile.remove(path(name)) }

    /// The keys that have a file.
    func names() throws -> [Name] {
        // The directory is made with the first file.
        guard FileManager.default.fileExists(atPath: directory) else { return [] }
        return try FileManager.default.contentsOfDirectory(atPath: directory)
            .compactMap(Name.init(file:))
    }

    /// Writes each file that opens in another form in the configured one; those that are in it stay.
    ///
    /// - Returns: The files that were written.
    /// - Throws: what `read` throws for a file that opens in neither form.
    func reseal(from old: KeyFileForm) throws -> [String] {
        var written: [String] = []
        for name in try names().sorted(by: { $0.file < $1.file }) {
            guard let bytes = try raw(name) else { continue }
            if (try? open(bytes, name, as: form)) != nil { continue }
            try write(try open(bytes, name, as: old), name)
            written.append(path(name))
        }
        return written
    }

    /// Whether a directory has key files that a passphrase encrypts, or that cannot be told from such.
    static func holdsSealed(in directory: String) -> Bool {
        let files = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
        return files.contains { file in
            guard Name(file: file) != nil else { return false }
            do throws(FileError) {
                let bytes = try DurableFile.readSecret(
                    "\(directory)/\(file)",
                    bytesMax: SealedKey.fileBytesMax
                )
                return SealedKey.isSealed(bytes)
            } catch {
                return true
            }
        }
    }

    func path(_ name: Name) -> String { "\(directory)/\(name.file)" }

    private func raw(_ name: Name) throws(FileError) -> [UInt8]? {
        do throws(FileError) {
            return try DurableFile.readSecret(path(name), bytesMax: SealedKey.fileBytesMax)
        } catch  where error.isNotFound {
            return nil
        }
    }

    private func open(
        _ bytes: [UInt8],
        _ name: Name,
        as form: KeyFileForm
    ) throws(KeyFileError) -> [UInt8] {
        switch form {
        case .encrypted(let passphrase, _):
            do throws(SealedKeyError) {
                return try SealedKey.open(
                    bytes,
                    for: name.purpose,
                    passphrase: passphrase.bytes
                )
            } catch .notSealed {
                throw KeyFileError(path: path(name), problem: .plain)
            } catch {
                throw KeyFileError(path: path(name), problem: .sealed(error))
            }
        case .plain:
            guard !SealedKey.isSealed(bytes) else {
                throw KeyFileError(path: path(name), problem: .encrypted)
            }
            return bytes
        }
    }
}

/// Why a key file is not read or written as the configuration says.
package struct KeyFileError: Error, CustomStringConvertible {
    /// What is wrong with it.
    package enum Problem: Hashable, Sendable {
        /// It is encrypted, and there is no passphrase.
        case encrypted
        /// It is not encrypted, and should be.
        case plain
        case sealed(SealedKeyError)
    }

    package let path: String
    package let problem: Problem

    package var description: String {
        switch problem {
        case .encrypted:
            "\(path) is encrypted: name its passphrase with keyPassphrase, and write no "
                + "keyStorage: plain"
        case .plain:
            "\(path) is not encrypted, though it should be: start once with --reseal-keys-from "
                + "plain to encrypt it, or write keyStorage: plain to keep keys as they are"
        case .sealed(.notOpened):
            "\(path) cannot be opened: \(SealedKeyError.notOpened); name the right passphrase with "
                + "keyPassphrase, or bring the file back from a backup"
        case .sealed(let error): "\(path) cannot be used: \(error)"
        }
    }
}
