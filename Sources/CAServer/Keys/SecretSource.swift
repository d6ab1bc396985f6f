// SPDX-License-Identifier: Apache-2.0

internal import Configuration
internal import DurableFiles
internal import FoundationEssentials

/// Where a passphrase or PIN is read from; no configuration holds the secret itself.
package enum SecretSource: Hashable, Sendable, CustomStringConvertible {
    /// A credential of systemd, by its name.
    case credential(String)
    /// A file, owned by the server's user or root and closed to others.
    case file(String)

    /// Longest secret in bytes; see `SealedKey.passphraseBytesMax`.
    package static let secretBytesMax = 1024
    /// Longest name of a credential, which is the name of a file.
    package static let credentialNameBytesMax = 255

    /// Reads `file:/path` or `credential:NAME`.
    ///
    /// - Throws: What to write instead; it never repeats what was written, which may be a secret.
    package init(parsing text: String) throws {
        if text.hasPrefix("file:/") {
            self = .file(String(text.dropFirst("file:".count)))
            return
        }
        let name = String(text.dropFirst("credential:".count))
        guard text.hasPrefix("credential:"), !name.isEmpty, name != ".", name != "..",
            name.utf8.count <= Self.credentialNameBytesMax, !name.contains("/")
        else {
            throw ConfigurationValue.Refusal(
                "write file:/path of a file that holds it, or credential:NAME of a credential of "
                    + "systemd; the secret itself never stands here"
            )
        }
        self = .credential(name)
    }

    package var description: String {
        switch self {
        case .credential(let name): "credential:\(name)"
        case .file(let path): "file:\(path)"
        }
    }

    /// The file, or the name of the credential.
    fileprivate var place: String {
        switch self {
        case .credential(let name): name
        case .file(let path): path
        }
    }

    /// Reads the secret; one newline at its end is not part of it.
    ///
    /// - Parameter credentials: The directory of systemd's credentials, nil where there is none.
    /// - Returns: What it holds.
    /// - Throws: `SecretError`, `FileError`.
    package func secret(
        credentials: String? = ProcessInfo.processInfo.environment["CREDENTIALS_DIRECTORY"]
    ) throws -> Secret {
        var bytes: [UInt8]
        switch self {
        case .credential(let name):
            guard let credentials else { throw SecretError(source: self, problem: .noCredentials) }
            bytes = try DurableFile.readCredential(
                "\(credentials)/\(name)",
                bytesMax: Self.secretBytesMax + 1
            )
        case .file(let path):
            bytes = try DurableFile.readSecret(path, bytesMax: Self.secretBytesMax + 1)
        }
        if bytes.last == UInt8(ascii: "\n") { bytes.removeLast() }
        guard !bytes.isEmpty else { throw SecretError(source: self, problem: .empty) }
        guard bytes.count <= Self.secretBytesMax else {
            throw SecretError(source: self, problem: .tooLong)
        }
        return Secret(bytes: bytes)
    }
}

/// A passphrase or PIN, which shows itself to nobody.
package struct Secret: Sendable, CustomStringConvertible, CustomReflectable {
    let bytes: [UInt8]

    package init(bytes: [UInt8]) {
        self.bytes = bytes
    }

    package var description: String { "Secret" }

    package var customMirror: Mirror { Mirror(self, children: [:]) }
}

/// Why there is no secret where one should be.
package struct SecretError: Error, CustomStringConvertible {
    /// What is wrong.
    package enum Problem: Hashable, Sendable {
        case empty
        /// There is no such file, and keys were encrypted with what it held.
        case lost
        /// There is no such file, and no key that needs what it held.
        case missing
        /// systemd gave no credentials to this process.
        case noCredentials
        case tooLong
    }

    package let source: SecretSource
    package let problem: Problem

    package var description: String {
        switch problem {
        case .empty: "\(source) is empty: write a secret into it"
        case .lost:
            "there is no \(source.place), and key files were encrypted with the passphrase that it "
                + "held: put that one back, no other opens them"
        case .missing:
            "there is no \(source.place); make one, as the user that the server runs as: "
                + "(umask 077; openssl rand -hex 32 > \(Self.quoted(source.place)))"
        case .noCredentials:
            "\(source): CREDENTIALS_DIRECTORY is not set; systemd sets it for a unit with "
                + "LoadCredential= or LoadCredentialEncrypted="
        case .tooLong: "\(source) has more than \(SecretSource.secretBytesMax) bytes"
        }
    }

    /// A path as a shell takes it for one word.
    private static func quoted(_ path: String) -> String {
        let isPlain = path.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "-")...UInt8(ascii: "9"), UInt8(ascii: "_"):
                true
            default: false
            }
        }
        return isPlain ? path : "'\(path.replacing("'", with: "'\\''"))'"
    }
}
