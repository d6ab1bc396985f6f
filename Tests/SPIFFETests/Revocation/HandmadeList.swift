// SPDX-License-Identifier: Apache-2.0

import Crypto
import CryptoExtras
import FoundationEssentials
import SPIFFE
import SwiftASN1
import TestPKI
import X509

/// A revocation list put together byte by byte, with a signature that nobody can verify.
///
/// Every field is DER that a test may replace by something else.
struct HandmadeList {
    typealias Handmade = HandmadeCertificate

    static let authorityKeyIDOID: [UInt8] = [0x55, 0x1D, 0x23]
    static let numberOID: [UInt8] = [0x55, 0x1D, 0x14]

    var version = Handmade.tlv(0x02, [1])
    var algorithm = Handmade.ecdsaWithSHA256
    var issuer = Handmade.name("issuer")
    var thisUpdate = Handmade.time("300101000000Z")
    var nextUpdate = Handmade.time("300102000000Z")
    /// Elements of revokedCertificates; without any there is no such field.
    var entries = [entry([0x23]), entry([0x01, 0x23]), entry([0x01, 0x24])]
    /// What stands in place of the entries' field.
    var revoked: [UInt8]?
    var extensions = [
        keyID(Handmade.tlv(0x80, [1, 2, 3])), number(Handmade.tlv(0x02, [0x71])),
    ]
    /// What stands between the entries and the extensions.
    var rest: [UInt8] = []
    var outerAlgorithm = Handmade.ecdsaWithSHA256
    var signature = Handmade.tlv(
        0x03,
        [0] + Handmade.tlv(0x30, Handmade.tlv(0x02, [1]) + Handmade.tlv(0x02, [1]))
    )

    var tbs: [UInt8] {
        var tbs = version + algorithm + issuer + thisUpdate + nextUpdate
        if let revoked {
            tbs += revoked
        } else if !entries.isEmpty {
            tbs += Handmade.tlv(0x30, Array(entries.joined()))
        }
        tbs += rest
        if !extensions.isEmpty {
            tbs += Handmade.tlv(0xA0, Handmade.tlv(0x30, Array(extensions.joined())))
        }
        return Handmade.tlv(0x30, tbs)
    }

    var der: [UInt8] { Handmade.tlv(0x30, tbs + outerAlgorithm + signature) }

    /// One element; `serial` is the content of the INTEGER.
    static func entry(
        _ serial: [UInt8],
        _ time: String = "291231230000Z",
        _ extensions: [UInt8] = []
    ) -> [UInt8] {
        Handmade.tlv(0x30, Handmade.tlv(0x02, serial) + Handmade.time(time) + extensions)
    }

    static func keyID(_ inside: [UInt8], critical: Bool = false) -> [UInt8] {
        Handmade.certificateExtension(
            authorityKeyIDOID,
            critical: critical,
            Handmade.tlv(0x30, inside)
        )
    }

    static func number(_ value: [UInt8], critical: Bool = false) -> [UInt8] {
        Handmade.certificateExtension(numberOID, critical: critical, value)
    }
}

/// An authority that signs lists made by hand.
struct ListAuthority: Sendable {
    let root: TestAuthority
    let algorithm: [UInt8]
    let sign: @Sendable ([UInt8]) throws -> [UInt8]

    static let ecdsaWithSHA384 = HandmadeCertificate.tlv(
        0x30,
        HandmadeCertificate.tlv(0x06, [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x03])
    )
    static let sha256WithRSA = HandmadeCertificate.tlv(
        0x30,
        HandmadeCertificate.tlv(0x06, [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0B])
            + HandmadeCertificate.tlv(0x05, [])
    )

    static func p256(_ change: (inout TestProfile) -> Void = { _ in }) throws -> Self {
        let root = try TestAuthority.root("example.org", change)
        return Self(root: root, algorithm: HandmadeCertificate.ecdsaWithSHA256) {
            Array(try root.key.signature(for: $0).derRepresentation)
        }
    }

    static func p384() throws -> Self {
        let key = P384.Signing.PrivateKey()
        let root = try TestAuthority.root("example.org") {
            $0.publicKey = Certificate.PublicKey(key.publicKey)
            $0.signer = Certificate.PrivateKey(key)
        }
        return Self(root: root, algorithm: ecdsaWithSHA384) {
            Array(try key.signature(for: $0).derRepresentation)
        }
    }

    static func rsa() throws -> Self {
        let key = try _RSA.Signing.PrivateKey(keySize: .bits2048)
        let root = try TestAuthority.root("example.org") {
            $0.publicKey = Certificate.PublicKey(key.publicKey)
            $0.signer = Certificate.PrivateKey(key)
        }
        return Self(root: root, algorithm: sha256WithRSA) {
            let padding = _RSA.Signing.Padding.insecurePKCS1v1_5
            let digest = SHA256.hash(data: $0)
            return Array(try key.signature(for: digest, padding: padding).rawRepresentation)
        }
    }

    /// DER of a list that this authority has signed.
    func list(_ change: (inout HandmadeList) throws -> Void = { _ in }) throws -> [UInt8] {
        var list = HandmadeList()
        var name = DER.Serializer()
        try name.serialize(root.certificate.subject)
        list.issuer = name.serializedBytes
        let keyID = try LeafCertificate(der: root.der).subjectKeyID ?? []
        list.extensions[0] = HandmadeList.keyID(HandmadeCertificate.tlv(0x80, keyID))
        (list.algorithm, list.outerAlgorithm) = (algorithm, algorithm)
        try change(&list)
        list.signature = HandmadeCertificate.tlv(0x03, try [0] + sign(list.tbs))
        return list.der
    }
}
