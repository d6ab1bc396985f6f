// SPDX-License-Identifier: Apache-2.0

internal import Crypto
internal import CryptoExtras
internal import FoundationEssentials
internal import Issuance
internal import SPIFFE

/// An authority's key in a token: it signs there and never leaves it.
struct PKCS11Signer: Signer {
    /// Longest message that a module hashes itself for RSA: no certificate is longer, and some
    /// modules take no more at once.
    static let messageBytesMax = 4 * 1024
    /// What comes before a SHA-256 digest in its DigestInfo (RFC 8017 section 9.2, note 1).
    private static let digestInfo: [UInt8] = [
        0x30, 0x31, 0x30, 0x0D, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01,
        0x05, 0x00, 0x04, 0x20,
    ]

    let subjectPublicKeyInfo: [UInt8]
    let signatureAlgorithm: SignatureAlgorithm
    /// The key's label in the token.
    let label: String
    private let token: PKCS11Token

    /// The key of that label, with its public half as the token told it.
    ///
    /// - Throws: `PKCS11Error.keyUnusable` for a key that authorities are not made with.
    init(_ publicKey: PKCS11PublicKey, label: String, in token: PKCS11Token) throws(PKCS11Error) {
        guard let encoded = publicKey.subjectPublicKeyInfo,
            let key = try? SubjectPublicKey(subjectPublicKeyInfo: encoded),
            AuthorityKeyType(key.algorithm) != nil
        else { throw .keyUnusable("\(label) is no key that authorities are made with") }
        subjectPublicKeyInfo = encoded
        signatureAlgorithm = key.algorithm.signatureAlgorithm
        self.label = label
        self.token = token
    }

    /// The same key under another label.
    func renamed(_ label: String, id: [UInt8]) throws(PKCS11Error) -> Self {
        try token.rename(self.label, to: label, id: id)
        return Self(self, label: label)
    }

    private init(_ signer: Self, label: String) {
        subjectPublicKeyInfo = signer.subjectPublicKeyInfo
        signatureAlgorithm = signer.signatureAlgorithm
        token = signer.token
        self.label = label
    }

    /// Signs, and verifies what the token made: sessions are the module's, and a signature by a
    /// wrong one must not leave the server.
    func signature(for bytes: [UInt8]) throws(SignerError) -> [UInt8] {
        do {
            switch signatureAlgorithm {
            case .ecdsaWithSHA256:
                let digest = SHA256.hash(data: bytes)
                let signature = try P256.Signing.ECDSASignature(
                    rawRepresentation: token.sign(Array(digest), label: label, .ecdsa)
                )
                let key = try P256.Signing.PublicKey(derRepresentation: subjectPublicKeyInfo)
                try require(key.isValidSignature(signature, for: digest))
                return Array(signature.derRepresentation)
            case .ecdsaWithSHA384:
                let digest = SHA384.hash(data: bytes)
                let signature = try P384.Signing.ECDSASignature(
                    rawRepresentation: token.sign(Array(digest), label: label, .ecdsa)
                )
                let key = try P384.Signing.PublicKey(derRepresentation: subjectPublicKeyInfo)
                try require(key.isValidSignature(signature, for: digest))
                return Array(signature.derRepresentation)
            case .sha256WithRSAEncryption:
                let digest = SHA256.hash(data: bytes)
                let raw =
                    bytes.count > Self.messageBytesMax
                    ? try token.sign(Self.digestInfo + digest, label: label, .rsaPKCS)
                    : try token.sign(bytes, label: label, .sha256RSAPKCS)
                let key = try _RSA.Signing.PublicKey(derRepresentation: subjectPublicKeyInfo)
                // "Insecure" is its use for encryption; as a signature it is what RFC 4055 names.
                let isValid = key.isValidSignature(
                    _RSA.Signing.RSASignature(rawRepresentation: raw),
                    for: digest,
                    padding: .insecurePKCS1v1_5
                )
                try require(isValid)
                return raw
            }
        } catch {
            throw .unavailable(reason: "\(error)")
        }
    }

    private func require(_ isValid: Bool) throws(PKCS11Error) {
        guard isValid else { throw .keyUnusable("a signature of \(label) does not verify") }
    }
}

extension AuthorityKeyType {
    /// How a token is asked for such a key.
    fileprivate var template: PKCS11Module.KeyTemplate {
        switch self {
        // secp256r1 and secp384r1 (RFC 5480 section 2.1.1.1).
        case .p256: .curve([0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07])
        case .p384: .curve([0x06, 0x05, 0x2B, 0x81, 0x04, 0x00, 0x22])
        case .rsa2048: .rsa(modulusBits: 2048)
        case .rsa4096: .rsa(modulusBits: 4096)
        }
    }
}

extension PKCS11PublicKey {
    /// DER of the SubjectPublicKeyInfo; nil for a key that is none of ours.
    fileprivate var subjectPublicKeyInfo: [UInt8]? {
        switch self {
        case .ellipticCurve(_, let point):
            // Some modules give the point as it is, others in an OCTET STRING.
            switch point.count {
            case 65, 67:
                let key = try? P256.Signing.PublicKey(x963Representation: point.suffix(65))
                return key.map { Array($0.derRepresentation) }
            case 97, 99:
                let key = try? P384.Signing.PublicKey(x963Representation: point.suffix(97))
                return key.map { Array($0.derRepresentation) }
            default: return nil
            }
        case .rsa(let modulus, let exponent):
            let key = try? _RSA.Signing.PublicKey(n: modulus, e: exponent)
            return key.map { Array($0.derRepresentation) }
        }
    }
}

/// The keys of one server's authorities in a token, by their labels.
package struct PKCS11Keys: Sendable {
    private let token: PKCS11Token
    /// What the labels of this server's keys begin with, and no other server's.
    private let prefix: String
    /// The same of keys for JWT-SVIDs, which a release that has none does not take for its own.
    private let tokenPrefix: String
    /// The same of keys of upstream authorities, which no sweep looks for.
    private let upstreamPrefix: String

    /// The keys of a server in a token; the module is loaded, and nothing opened yet.
    ///
    /// - Parameters:
    ///   - modulePath: The module's file.
    ///   - tokenLabel: The token's label, up to 32 bytes.
    ///   - pin: The PIN of the token's user.
    ///   - serverID: Whose keys they are.
    /// - Throws: `PKCS11Error`.
    package init(
        modulePath: String,
        tokenLabel: String,
        pin: Secret,
        serverID: String
    ) throws(PKCS11Error) {
        token = PKCS11Token(
            module: try PKCS11Module(path: modulePath),
            label: tokenLabel,
            pin: pin
        )
        prefix = "signet:\(serverID):"
        tokenPrefix = "signet-jwt:\(serverID):"
        upstreamPrefix = "signet-upstream:\(serverID):"
    }

    /// Makes a key; it has a name of its own until it is kept.
    func make(_ type: AuthorityKeyType) throws(PKCS11Error) -> PKCS11Signer {
        let label = "\(prefix)new-\(String(UInt64.random(in: 0 ... .max), radix: 16))"
        return try PKCS11Signer(
            token.generate(type.template, label: label),
            label: label,
            in: token
        )
    }

    /// Names a key after its authority.
    func keep(_ signer: PKCS11Signer, _ name: AuthorityKey) throws(PKCS11Error) -> PKCS11Signer {
        let id =
            switch name.purpose {
            case .certificates: keyIdentifier(ofAuthority: name.authorityID)
            // What tokens name it by (`kid`), so that an operator finds it.
            case .tokens:
                (try? JSONWebKey(subjectPublicKeyInfo: signer.subjectPublicKeyInfo))
                    .flatMap { Base64Form.url.bytes($0.thumbprint.utf8) } ?? []
            }
        return try signer.renamed(label(name), id: id)
    }

    /// The key of an authority; nil if the token does not hold it.
    ///
    /// - Throws: `PKCS11Error`, also when the token is away: that is not the same.
    func signer(_ name: AuthorityKey) throws(PKCS11Error) -> PKCS11Signer? {
        let label = label(name)
        guard let publicKey = try token.publicKey(label: label) else { return nil }
        return try PKCS11Signer(publicKey, label: label, in: token)
    }

    private func label(_ name: AuthorityKey) -> String {
        switch name.purpose {
        case .certificates: prefix + name.authorityID
        case .tokens: tokenPrefix + name.authorityID
        }
    }

    /// Names a key after the upstream authority that it is for.
    func keepUpstream(_ signer: PKCS11Signer, id: String) throws(PKCS11Error) -> PKCS11Signer {
        try signer.renamed(upstreamPrefix + id, id: keyIdentifier(ofAuthority: id))
    }

    /// The key of an upstream authority; nil if the token does not hold it.
    func upstreamSigner(id: String) throws(PKCS11Error) -> PKCS11Signer? {
        let label = upstreamPrefix + id
        guard let publicKey = try token.publicKey(label: label) else { return nil }
        return try PKCS11Signer(publicKey, label: label, in: token)
    }

    /// The IDs of the upstream authorities whose keys the token holds.
    func upstreamIDs() throws(PKCS11Error) -> [String] {
        try token.labels(beginningWith: upstreamPrefix)
            .map { String($0.dropFirst(upstreamPrefix.count)) }
    }

    /// Destroys the key of an upstream authority; one that is not there is no error.
    func destroyUpstream(id: String) throws(PKCS11Error) {
        try token.destroy(label: upstreamPrefix + id)
    }

    /// Destroys all keys of this server but some.
    ///
    /// - Throws: The first of what went wrong; everything else is destroyed all the same.
    func sweep(keeping kept: Set<AuthorityKey>) throws(PKCS11Error) {
        let labels = Set(kept.map(label))
        var problem: PKCS11Error?
        for prefix in [prefix, tokenPrefix] {
            for label in try token.labels(beginningWith: prefix) where !labels.contains(label) {
                do throws(PKCS11Error) {
                    try token.destroy(label: label)
                } catch {
                    problem = problem ?? error
                }
            }
        }
        if let problem { throw problem }
    }

    /// The authorities whose keys for certificates the token has.
    func authorityIDs() throws(PKCS11Error) -> Set<String> {
        let names = try token.labels(beginningWith: prefix).map {
            String($0.dropFirst(prefix.count))
        }
        // One that was made and not kept is nobody's.
        return Set(names.filter { !$0.hasPrefix("new-") })
    }

    /// Lets all sessions end behind the token's back; for tests of what happens then.
    package func lose() { token.lose() }
}
