// SPDX-License-Identifier: Apache-2.0

internal import Crypto
internal import CryptoExtras
internal import FoundationEssentials
internal import SPIFFE
internal import SwiftASN1

/// A public key of a kind that Signet certifies, as its SubjectPublicKeyInfo (RFC 5280 section
/// 4.1.2.7).
package struct SubjectPublicKey: Hashable, Sendable {
    /// The kinds of key that may be certified.
    package enum Algorithm: Hashable, Sendable, CustomStringConvertible {
        case p256
        case p384
        /// RSA with a modulus of that many bits.
        case rsa(bits: Int)

        /// The name in configurations and records: `ec-p256`, `rsa-2048`.
        package var description: String {
            switch self {
            case .p256: "ec-p256"
            case .p384: "ec-p384"
            case .rsa(let bits): "rsa-\(bits)"
            }
        }
    }

    /// NIST SP 800-57 allows 2048 bits until 2030 and our certificates live for hours.
    package static let rsaModulusBitsMin = 2048
    /// Verification cost grows with the square of the size; 4096 bits is the largest in common use.
    package static let rsaModulusBitsMax = 4096
    /// The one public exponent in use; others only serve attacks on weak implementations.
    static let rsaExponent: [UInt8] = [0x01, 0x00, 0x01]

    package let algorithm: Algorithm
    /// DER of the SubjectPublicKeyInfo.
    package let subjectPublicKeyInfo: [UInt8]
    /// How many of the last bytes are the key itself, the content of the bit string.
    let bitStringContentBytes: Int

    /// Reads a SubjectPublicKeyInfo.
    ///
    /// - Throws: `SubjectPublicKeyError` naming the rule that the key breaks.
    package init(subjectPublicKeyInfo der: [UInt8]) throws(SubjectPublicKeyError) {
        let node: ASN1Node
        do { node = try DER.parse(der) } catch { throw .notDER }
        self = try Self.read(node).key
    }

    /// Reads a key and keeps the form that verifies, which is costly to make twice.
    static func read(
        _ node: ASN1Node
    ) throws(SubjectPublicKeyError) -> (key: Self, verifier: VerificationKey) {
        let parts: Parts
        do { parts = try Parts(node) } catch { throw .notDER }
        guard parts.key.paddingBits == 0 else { throw .notDER }
        let (algorithm, verifier) =
            switch parts.algorithm {
            case .AlgorithmIdentifier.idEcPublicKey: try ellipticCurve(parts)
            case .AlgorithmIdentifier.rsaEncryption: try rsa(parts)
            default: throw SubjectPublicKeyError.algorithmUnsupported("\(parts.algorithm)")
            }
        let key = Self(
            algorithm: algorithm,
            subjectPublicKeyInfo: Array(node.encodedBytes),
            bitStringContentBytes: parts.key.bytes.count
        )
        return (key, verifier)
    }

    private init(
        algorithm: Algorithm,
        subjectPublicKeyInfo: [UInt8],
        bitStringContentBytes: Int
    ) {
        self.algorithm = algorithm
        self.subjectPublicKeyInfo = subjectPublicKeyInfo
        self.bitStringContentBytes = bitStringContentBytes
    }

    /// The key ID (`KeyIdentifier`), in lower-case hexadecimal.
    package var keyID: String { KeyIdentifier(of: self).description }

    /// The SHA-256 of the SubjectPublicKeyInfo, by which keys are named in records.
    package var spkiSHA256: [UInt8] { Array(SHA256.hash(data: subjectPublicKeyInfo)) }

    private struct Parts {
        let algorithm: ASN1ObjectIdentifier
        let parameters: ASN1Node?
        let key: ASN1BitString

        init(_ node: ASN1Node) throws {
            self = try DER.sequence(node, identifier: .sequence) { nodes in
                guard let identifier = nodes.next() else { throw SubjectPublicKeyError.notDER }
                let (algorithm, parameters) = try DER.sequence(identifier, identifier: .sequence) {
                    (try ASN1ObjectIdentifier(derEncoded: &$0), $0.next())
                }
                return Self(
                    algorithm: algorithm,
                    parameters: parameters,
                    key: try ASN1BitString(derEncoded: &nodes)
                )
            }
        }

        private init(
            algorithm: ASN1ObjectIdentifier,
            parameters: ASN1Node?,
            key: ASN1BitString
        ) {
            self.algorithm = algorithm
            self.parameters = parameters
            self.key = key
        }
    }

    /// RFC 5480: a named curve and an uncompressed point that lies on it.
    private static func ellipticCurve(
        _ parts: Parts
    ) throws(SubjectPublicKeyError) -> (Algorithm, VerificationKey) {
        let curve: ASN1ObjectIdentifier
        do {
            guard let parameters = parts.parameters else { throw SubjectPublicKeyError.notDER }
            curve = try ASN1ObjectIdentifier(derEncoded: parameters)
        } catch { throw .curveNotNamed }
        do {
            switch curve {
            case .NamedCurves.secp256r1:
                let key = try P256.Signing.PublicKey(x963Representation: parts.key.bytes)
                return (.p256, .p256(key))
            case .NamedCurves.secp384r1:
                let key = try P384.Signing.PublicKey(x963Representation: parts.key.bytes)
                return (.p384, .p384(key))
            default:
                throw SubjectPublicKeyError.curveUnsupported("\(curve)")
            }
        } catch let error as SubjectPublicKeyError { throw error } catch { throw .pointNotOnCurve }
    }

    /// RFC 3279 section 2.3.1: NULL parameters, RSAPublicKey inside the bit string.
    private static func rsa(
        _ parts: Parts
    ) throws(SubjectPublicKeyError) -> (Algorithm, VerificationKey) {
        let modulus: ArraySlice<UInt8>
        let exponent: ArraySlice<UInt8>
        do {
            guard let parameters = parts.parameters else { throw SubjectPublicKeyError.notDER }
            _ = try ASN1Null(derEncoded: parameters)
            (modulus, exponent) = try DER.sequence(
                try DER.parse(parts.key.bytes),
                identifier: .sequence
            ) {
                (
                    try ArraySlice<UInt8>(derEncoded: &$0),
                    try ArraySlice<UInt8>(derEncoded: &$0)
                )
            }
        } catch { throw .notDER }
        let bits = modulus.count * 8 - (modulus.first?.leadingZeroBitCount ?? 0)
        guard (rsaModulusBitsMin...rsaModulusBitsMax).contains(bits) else {
            throw .rsaModulusSize(bits: bits)
        }
        guard modulus.last.map({ $0 & 1 == 1 }) == true else { throw .rsaModulusEven }
        guard exponent.elementsEqual(rsaExponent) else { throw .rsaExponent }
        do {
            let key = try _RSA.Signing.PublicKey(derRepresentation: parts.key.bytes)
            return (.rsa(bits: bits), .rsa(key))
        } catch { throw .notDER }
    }
}

extension KeyIdentifier {
    init(of key: SubjectPublicKey) {
        self.init(hashing: key.subjectPublicKeyInfo.suffix(key.bitStringContentBytes))
    }
}

/// Why a public key is not certified.
package enum SubjectPublicKeyError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The dotted object identifier of the algorithm, for example Ed25519's.
    case algorithmUnsupported(String)
    case curveNotNamed
    case curveUnsupported(String)
    case notDER
    case pointNotOnCurve
    case rsaExponent
    case rsaModulusEven
    case rsaModulusSize(bits: Int)

    package var description: String {
        switch self {
        case .algorithmUnsupported(let oid):
            "keys of algorithm \(oid) are not certified; use P-256, P-384 or RSA"
        case .curveNotNamed: "an elliptic curve is given by its name (RFC 5480 section 2.1.1)"
        case .curveUnsupported(let oid): "curve \(oid) is not certified; use P-256 or P-384"
        case .notDER: "the public key is not a SubjectPublicKeyInfo in DER"
        case .pointNotOnCurve: "the public key is not an uncompressed point on its curve"
        case .rsaExponent: "the RSA public exponent is not 65537"
        case .rsaModulusEven: "the RSA modulus is even"
        case .rsaModulusSize(let bits):
            """
            an RSA modulus of \(bits) bits is outside \(SubjectPublicKey.rsaModulusBitsMin) to \
            \(SubjectPublicKey.rsaModulusBitsMax)
            """
        }
    }
}
