// SPDX-License-Identifier: Apache-2.0

internal import Crypto
internal import CryptoExtras
internal import FoundationEssentials
internal import SwiftASN1

/// The encrypted key of an offline root, as OpenSSL and Signet both write and read it
/// (pki/README.md).
///
/// PEM of EncryptedPrivateKeyInfo (RFC 5958 section 3) by PBES2 (RFC 8018 section 6.2) with
/// AES-256-CBC. The key's key is scrypt's of the passphrase (RFC 7914 section 7); PBKDF2, which
/// OpenSSL writes, is read too. Nothing authenticates the file: whoever uses the key has to compare its
/// public half.
package enum EncryptedKeyFile {
    /// Longest file in bytes: RSA-4096 in PEM has 3,500.
    package static let fileBytesMax = 8 * 1024
    /// Most rounds of PBKDF2 that a file may make its reader spend: some ten seconds.
    package static let roundsMax = 10_000_000
    /// Most of scrypt's memory in bytes that a file may make its reader spend.
    package static let memoryBytesMax = 256 << 20
    /// Most of scrypt's passes over its memory that a file may make its reader spend.
    package static let passesMax = 16

    fileprivate static let pemType = "ENCRYPTED PRIVATE KEY"
    /// As much memory as OpenSSL gives scrypt when it reads a key, 16 of 32 MiB, and more passes
    /// for it.
    private static let written = Scrypt(salt: [], cost: 1 << 14, blockSize: 8, passes: 5)
    private static let saltCount = 16
    private static let vectorCount = 16

    /// Encrypts a key.
    ///
    /// - Parameters:
    ///   - key: PKCS #8 in DER.
    ///   - passphrase: 1 to `SealedKey.passphraseBytesMax` bytes.
    ///   - generator: The system's random numbers in production; they make salt and vector.
    /// - Returns: The content of the file.
    /// - Throws: `EncryptedKeyError.passphraseLength` or `.library`.
    package static func seal(
        _ key: [UInt8],
        passphrase: [UInt8],
        using generator: inout some RandomNumberGenerator
    ) throws(EncryptedKeyError) -> String {
        var random: [UInt8] = []
        for _ in 0..<saltCount + vectorCount {
            random.append(.random(in: .min ... .max, using: &generator))
        }
        var scrypt = written
        scrypt.salt = Array(random.prefix(saltCount))
        let vector = Array(random.suffix(vectorCount))
        let secret = try scrypt.derive(passphrase)
        do {
            let content = try AES._CBC.encrypt(key, using: secret, iv: .init(ivBytes: vector))
            let info = EncryptedKey(
                algorithm: try Algorithm(
                    .pbes2,
                    Schemes(
                        derivation: Algorithm(.scrypt, scrypt),
                        encryption: Algorithm(
                            .aes256CBC,
                            ASN1OctetString(contentBytes: vector[...])
                        )
                    )
                ),
                content: Array(content)
            )
            var serializer = DER.Serializer()
            try serializer.serialize(info)
            return PEMDocument(type: pemType, derBytes: serializer.serializedBytes).pemString + "\n"
        } catch { throw .library }
    }

    /// Decrypts a key.
    ///
    /// - Returns: PKCS #8 in DER.
    /// - Throws: `EncryptedKeyError`; a wrong passphrase and changed bytes are both `.notOpened`.
    package static func open(
        _ file: [UInt8],
        passphrase: [UInt8]
    ) throws(EncryptedKeyError) -> [UInt8] {
        guard file.count <= fileBytesMax else { throw .length }
        guard let document = try? PEMDocument(pemString: String(decoding: file, as: UTF8.self))
        else { throw .notPEM }
        guard document.discriminator == pemType else { throw .otherThan(document.discriminator) }
        let info: EncryptedKey
        do {
            info = try EncryptedKey(derEncoded: DER.parse(document.derBytes))
        } catch { throw .malformed }
        guard info.algorithm.oid == .pbes2 else { throw .algorithm }
        let schemes: Schemes = try info.algorithm.parsed()
        guard schemes.encryption.oid == .aes256CBC else { throw .algorithm }
        let vector: ASN1OctetString = try schemes.encryption.parsed()
        let secret: SymmetricKey
        switch schemes.derivation.oid {
        case .pbkdf2: secret = try (schemes.derivation.parsed() as PBKDF2).derive(passphrase)
        case .scrypt: secret = try (schemes.derivation.parsed() as Scrypt).derive(passphrase)
        default: throw .algorithm
        }
        do {
            let key = try AES._CBC.decrypt(
                info.content,
                using: secret,
                iv: .init(ivBytes: Array(vector.bytes))
            )
            // One wrong passphrase in 256 ends in good padding.
            _ = try DER.parse(Array(key))
            return Array(key)
        } catch { throw .notOpened }
    }

    fileprivate static func require(passphrase: [UInt8]) throws(EncryptedKeyError) {
        guard (1...SealedKey.passphraseBytesMax).contains(passphrase.count) else {
            throw .passphraseLength
        }
    }
}

/// Why the encrypted key of a root is not written or not read.
package enum EncryptedKeyError: Error, Hashable, Sendable, CustomStringConvertible {
    /// It is encrypted otherwise than with PBES2, scrypt or PBKDF2, and AES-256-CBC.
    case algorithm
    /// More is asked of its reader than he spends.
    case cost
    case length
    /// The cryptographic library failed: there is no memory.
    case library
    case malformed
    /// The passphrase is wrong, or the file was changed.
    case notOpened
    case notPEM
    /// Something else is in it, such as a key that is not encrypted.
    case otherThan(String)
    case passphraseLength

    package var description: String {
        switch self {
        case .algorithm:
            "it is encrypted otherwise than pki/ceremony/root.sh and signet pki root do; openssl "
                + "pkcs8 -topk8 -v2 aes-256-cbc -in KEY -out NEW-KEY writes another file of it"
        case .cost:
            "opening it takes more than \(EncryptedKeyFile.roundsMax) rounds of PBKDF2, or than "
                + "\(EncryptedKeyFile.memoryBytesMax >> 20) MiB and \(EncryptedKeyFile.passesMax) "
                + "passes of scrypt"
        case .length: "it has more than \(EncryptedKeyFile.fileBytesMax) bytes"
        case .library: "the cryptographic library failed; is there enough memory?"
        case .malformed: "it is no encrypted key in PKCS #8 (RFC 5958)"
        case .notOpened: "the passphrase is wrong, or the file was changed"
        case .notPEM: "it is not PEM (RFC 7468)"
        case .otherThan(let type):
            "it is a \(type), and not the \(EncryptedKeyFile.pemType) that signet pki root and "
                + "pki/ceremony/root.sh write"
        case .passphraseLength: "a passphrase has 1 to \(SealedKey.passphraseBytesMax) bytes"
        }
    }
}

// MARK: - How a passphrase becomes a key

/// RFC 7914 section 7.1.
private struct Scrypt: DERParseable, DERSerializable {
    var salt: [UInt8]
    var cost: Int
    var blockSize: Int
    var passes: Int

    init(salt: [UInt8], cost: Int, blockSize: Int, passes: Int) {
        (self.salt, self.cost, self.blockSize, self.passes) = (salt, cost, blockSize, passes)
    }

    init(derEncoded node: ASN1Node) throws {
        self = try DER.sequence(node, identifier: .sequence) { nodes in
            let salt = try ASN1OctetString(derEncoded: &nodes)
            let cost = try Int(derEncoded: &nodes)
            let blockSize = try Int(derEncoded: &nodes)
            let passes = try Int(derEncoded: &nodes)
            try requireKeyLength(&nodes)
            return Self(
                salt: Array(salt.bytes),
                cost: cost,
                blockSize: blockSize,
                passes: passes
            )
        }
    }

    func serialize(into coder: inout DER.Serializer) throws {
        try coder.appendConstructedNode(identifier: .sequence) { coder in
            try coder.serialize(ASN1OctetString(contentBytes: salt[...]))
            try coder.serialize(cost)
            try coder.serialize(blockSize)
            try coder.serialize(passes)
        }
    }

    func derive(_ passphrase: [UInt8]) throws(EncryptedKeyError) -> SymmetricKey {
        try EncryptedKeyFile.require(passphrase: passphrase)
        // A power of two, as scrypt has it.
        guard cost > 1, cost & (cost - 1) == 0, (1...32).contains(blockSize),
            cost <= EncryptedKeyFile.memoryBytesMax / (128 * blockSize),
            (1...EncryptedKeyFile.passesMax).contains(passes)
        else { throw .cost }
        do {
            return try KDF.Scrypt.deriveKey(
                from: passphrase,
                salt: salt,
                outputByteCount: 32,
                rounds: cost,
                blockSize: blockSize,
                parallelism: passes
            )
        } catch { throw .library }
    }
}

/// RFC 8018 appendix A.2.
private struct PBKDF2: DERParseable {
    var salt: [UInt8]
    var rounds: Int
    var function: KDF.Insecure.PBKDF2.HashFunction

    private init(
        salt: [UInt8],
        rounds: Int,
        function: KDF.Insecure.PBKDF2.HashFunction
    ) {
        (self.salt, self.rounds, self.function) = (salt, rounds, function)
    }

    init(derEncoded node: ASN1Node) throws {
        self = try DER.sequence(node, identifier: .sequence) { nodes in
            let salt = try ASN1OctetString(derEncoded: &nodes)
            let rounds = try Int(derEncoded: &nodes)
            try requireKeyLength(&nodes)
            // Without one it is HMAC-SHA-1, which is written by nobody here.
            let function = try Algorithm(derEncoded: &nodes)
            let known: KDF.Insecure.PBKDF2.HashFunction
            switch function.oid {
            case .hmacSHA256: known = .sha256
            case .hmacSHA384: known = .sha384
            case .hmacSHA512: known = .sha512
            default: throw EncryptedKeyError.algorithm
            }
            return Self(salt: Array(salt.bytes), rounds: rounds, function: known)
        }
    }

    func derive(_ passphrase: [UInt8]) throws(EncryptedKeyError) -> SymmetricKey {
        try EncryptedKeyFile.require(passphrase: passphrase)
        guard (1...EncryptedKeyFile.roundsMax).contains(rounds) else { throw .cost }
        do {
            return try KDF.Insecure.PBKDF2.deriveKey(
                from: passphrase,
                salt: salt,
                using: function,
                outputByteCount: 32,
                unsafeUncheckedRounds: rounds
            )
        } catch { throw .library }
    }
}

/// The length of the key, which may be said: AES-256's.
private func requireKeyLength(_ nodes: inout ASN1NodeCollection.Iterator) throws {
    let length: Int? = try DER.optionalImplicitlyTagged(&nodes)
    guard length ?? 32 == 32 else { throw EncryptedKeyError.algorithm }
}

// MARK: - ASN.1

/// RFC 5958 section 3.
private struct EncryptedKey: DERParseable, DERSerializable {
    var algorithm: Algorithm
    var content: [UInt8]

    init(algorithm: Algorithm, content: [UInt8]) {
        (self.algorithm, self.content) = (algorithm, content)
    }

    init(derEncoded node: ASN1Node) throws {
        self = try DER.sequence(node, identifier: .sequence) { nodes in
            let algorithm = try Algorithm(derEncoded: &nodes)
            let content = try ASN1OctetString(derEncoded: &nodes)
            return Self(algorithm: algorithm, content: Array(content.bytes))
        }
    }

    func serialize(into coder: inout DER.Serializer) throws {
        try coder.appendConstructedNode(identifier: .sequence) { coder in
            try coder.serialize(algorithm)
            try coder.serialize(ASN1OctetString(contentBytes: content[...]))
        }
    }
}

/// RFC 8018 appendix A.4.
private struct Schemes: DERParseable, DERSerializable {
    var derivation: Algorithm
    var encryption: Algorithm

    init(derivation: Algorithm, encryption: Algorithm) {
        (self.derivation, self.encryption) = (derivation, encryption)
    }

    init(derEncoded node: ASN1Node) throws {
        self = try DER.sequence(node, identifier: .sequence) { nodes in
            let derivation = try Algorithm(derEncoded: &nodes)
            return Self(derivation: derivation, encryption: try Algorithm(derEncoded: &nodes))
        }
    }

    func serialize(into coder: inout DER.Serializer) throws {
        try coder.appendConstructedNode(identifier: .sequence) { coder in
            try coder.serialize(derivation)
            try coder.serialize(encryption)
        }
    }
}

/// An AlgorithmIdentifier (RFC 5280 section 4.1.1.2).
private struct Algorithm: DERParseable, DERSerializable {
    var oid: ASN1ObjectIdentifier
    var parameters: ASN1Any?

    init(_ oid: ASN1ObjectIdentifier, _ parameters: some DERSerializable) throws {
        (self.oid, self.parameters) = (oid, try ASN1Any(erasing: parameters))
    }

    private init(_ oid: ASN1ObjectIdentifier, found parameters: ASN1Any?) {
        (self.oid, self.parameters) = (oid, parameters)
    }

    init(derEncoded node: ASN1Node) throws {
        self = try DER.sequence(node, identifier: .sequence) { nodes in
            let oid = try ASN1ObjectIdentifier(derEncoded: &nodes)
            return Self(oid, found: nodes.next().map { ASN1Any(derEncoded: $0) })
        }
    }

    func serialize(into coder: inout DER.Serializer) throws {
        try coder.appendConstructedNode(identifier: .sequence) { coder in
            try coder.serialize(oid)
            if let parameters { try coder.serialize(parameters) }
        }
    }

    /// The parameters as what the algorithm has.
    func parsed<Parameters: DERParseable>() throws(EncryptedKeyError) -> Parameters {
        guard let parameters else { throw .malformed }
        do {
            return try Parameters(asn1Any: parameters)
        } catch {
            throw error as? EncryptedKeyError ?? .malformed
        }
    }
}

extension ASN1ObjectIdentifier {
    fileprivate static let pbes2: Self = [1, 2, 840, 113_549, 1, 5, 13]
    fileprivate static let pbkdf2: Self = [1, 2, 840, 113_549, 1, 5, 12]
    fileprivate static let scrypt: Self = [1, 3, 6, 1, 4, 1, 11_591, 4, 11]
    fileprivate static let aes256CBC: Self = [2, 16, 840, 1, 101, 3, 4, 1, 42]
    fileprivate static let hmacSHA256: Self = [1, 2, 840, 113_549, 2, 9]
    fileprivate static let hmacSHA384: Self = [1, 2, 840, 113_549, 2, 10]
    fileprivate static let hmacSHA512: Self = [1, 2, 840, 113_549, 2, 11]
}
