// SPDX-License-Identifier: Apache-2.0

internal import Crypto
internal import FoundationEssentials
internal import SPIFFE

/// Why a text is not a verifier key of an audit log.
package enum NoteVerifierKeyError: Error, Hashable, Sendable, CustomStringConvertible {
    case algorithmNotEd25519
    case keyIDDiffers
    case keyMalformed
    case nameMalformed
    case notThreeParts

    package var description: String {
        switch self {
        case .algorithmNotEd25519: "the key is not of type 0x01 (Ed25519)"
        case .keyIDDiffers: "the key ID is not that of this name and key; was the text altered?"
        case .keyMalformed: "the key is not base64 of a type byte and 32 bytes"
        case .nameMalformed: "the name is empty or holds a space, a plus or a non-ASCII character"
        case .notThreeParts: "a verifier key is written name+keyid+base64"
        }
    }
}

/// The public half of the key that signs a log's checkpoints, written
/// `<name>+<key ID>+<base64(0x01 || key)>` (C2SP signed-note, "vkey").
///
/// The name is the log's origin, `<trust domain>/audit/<server ID>`, with `/<epoch>` after a restore.
package struct NoteVerifierKey: Hashable, Sendable, CustomStringConvertible {
    /// Bytes of an Ed25519 public key.
    package static let publicKeyByteCount = 32
    /// Signature type of C2SP signed-note: Ed25519 over the text.
    private static let ed25519: UInt8 = 0x01

    /// Equal to the origin of the checkpoints that the key signs.
    package let name: String
    /// The raw Ed25519 public key (RFC 8032).
    package let publicKey: [UInt8]
    /// The first four bytes of SHA-256(name || 0x0A || 0x01 || public key).
    package let keyID: UInt32

    /// Joins a name and a raw Ed25519 public key.
    ///
    /// - Throws: `NoteVerifierKeyError.nameMalformed` or `.keyMalformed`.
    package init(name: String, publicKey: [UInt8]) throws(NoteVerifierKeyError) {
        guard Self.allows(name: name) else { throw .nameMalformed }
        guard publicKey.count == Self.publicKeyByteCount,
            (try? Curve25519.Signing.PublicKey(rawRepresentation: publicKey)) != nil
        else { throw .keyMalformed }
        self.name = name
        self.publicKey = publicKey
        let hash = SHA256.hash(data: Array(name.utf8) + [0x0A, Self.ed25519] + publicKey)
        keyID = hash.prefix(4).reduce(0) { $0 << 8 | UInt32($1) }
    }

    /// Parses the text form.
    ///
    /// - Throws: `NoteVerifierKeyError` naming the rule that the text breaks.
    package init(parsing text: String) throws(NoteVerifierKeyError) {
        // Base64 may hold a plus; names and key IDs do not.
        let parts = text.split(separator: "+", maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count == 3 else { throw .notThreeParts }
        guard let typed = Base64.bytes(parts[2]), let type = typed.first else {
            throw .keyMalformed
        }
        guard type == Self.ed25519 else { throw .algorithmNotEd25519 }
        try self.init(name: String(parts[0]), publicKey: Array(typed.dropFirst()))
        guard parts[1] == keyIDText else { throw .keyIDDiffers }
    }

    package var description: String {
        "\(name)+\(keyIDText)+\(Base64.text([Self.ed25519] + publicKey))"
    }

    private var keyIDText: String { Hexadecimal.text(keyIDBytes) }

    var keyIDBytes: [UInt8] {
        [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: keyID >> $0) }
    }

    func verifies(_ signature: [UInt8], over text: [UInt8]) -> Bool {
        guard let key = try? Curve25519.Signing.PublicKey(rawRepresentation: publicKey) else {
            return false
        }
        return key.isValidSignature(signature, for: text)
    }

    /// Narrower than signed-note, which admits all of Unicode but spaces and plus: names of our
    /// logs are ASCII, and one that only looks like another is then impossible.
    static func allows(name: String) -> Bool {
        !name.isEmpty
            && name.utf8.allSatisfy {
                (0x21...0x7E).contains($0) && $0 != UInt8(ascii: "+")
            }
    }
}

/// Standard base64 with padding (RFC 4648 section 4), in its one canonical form.
enum Base64 {
    static func text(_ bytes: [UInt8]) -> String { Data(bytes).base64EncodedString() }

    /// Nil for anything that `text` would not write, unused bits that are not zero included.
    static func bytes(_ text: some StringProtocol) -> [UInt8]? {
        let text = String(text)
        guard let data = Data(base64Encoded: text), data.base64EncodedString() == text else {
            return nil
        }
        return Array(data)
    }
}
