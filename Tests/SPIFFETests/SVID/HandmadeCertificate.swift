// SPDX-License-Identifier: Apache-2.0

/// A certificate put together byte by byte, with a signature that nobody can verify.
///
/// Every field is DER that a test may replace by something else.
struct HandmadeCertificate {
    static let keyUsageOID: [UInt8] = [0x55, 0x1D, 0x0F]
    static let alternativeNameOID: [UInt8] = [0x55, 0x1D, 0x11]
    static let basicConstraintsOID: [UInt8] = [0x55, 0x1D, 0x13]
    static let nameConstraintsOID: [UInt8] = [0x55, 0x1D, 0x1E]
    static let authorityKeyIDOID: [UInt8] = [0x55, 0x1D, 0x23]
    static let extendedKeyUsageOID: [UInt8] = [0x55, 0x1D, 0x25]
    static let subjectKeyIDOID: [UInt8] = [0x55, 0x1D, 0x0E]

    var version = tlv(0xA0, tlv(0x02, [2]))
    var serial = tlv(0x02, [0x01, 0x23])
    var algorithm = ecdsaWithSHA256
    var issuer = name("issuer")
    var validity = tlv(0x30, time("300101000000Z") + time("310101000000Z"))
    var subject = name("subject")
    var publicKey = p256Key
    /// What stands between the key and the extensions.
    var uniqueIdentifiers: [UInt8] = []
    var extensions: [[UInt8]] = [
        certificateExtension(keyUsageOID, critical: true, tlv(0x03, [7, 0x80])),
        certificateExtension(alternativeNameOID, tlv(0x30, uri("spiffe://td/a"))),
    ]
    var outerAlgorithm = ecdsaWithSHA256
    var signature = tlv(0x03, [0] + tlv(0x30, tlv(0x02, [1]) + tlv(0x02, [1])))

    var der: [UInt8] {
        var tbs = version + serial + algorithm + issuer + validity + subject + publicKey
        tbs += uniqueIdentifiers
        if !extensions.isEmpty {
            tbs += Self.tlv(0xA3, Self.tlv(0x30, extensions.flatMap { $0 }))
        }
        return Self.tlv(0x30, Self.tlv(0x30, tbs) + outerAlgorithm + signature)
    }

    static let ecdsaWithSHA256 = tlv(
        0x30,
        tlv(0x06, [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02])
    )

    /// A key that other parsers accept too: the generator of P-256 (FIPS 186-4 D.1.2.3).
    static let p256Key = tlv(
        0x30,
        tlv(
            0x30,
            tlv(0x06, [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01])
                + tlv(0x06, [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07])
        )
            + tlv(
                0x03,
                [
                    0x00, 0x04, 0x6B, 0x17, 0xD1, 0xF2, 0xE1, 0x2C, 0x42, 0x47, 0xF8, 0xBC, 0xE6,
                    0xE5, 0x63, 0xA4, 0x40, 0xF2, 0x77, 0x03, 0x7D, 0x81, 0x2D, 0xEB, 0x33, 0xA0,
                    0xF4, 0xA1, 0x39, 0x45, 0xD8, 0x98, 0xC2, 0x96, 0x4F, 0xE3, 0x42, 0xE2, 0xFE,
                    0x1A, 0x7F, 0x9B, 0x8E, 0xE7, 0xEB, 0x4A, 0x7C, 0x0F, 0x9E, 0x16, 0x2B, 0xCE,
                    0x33, 0x57, 0x6B, 0x31, 0x5E, 0xCE, 0xCB, 0xB6, 0x40, 0x68, 0x37, 0xBF, 0x51,
                    0xF5,
                ]
            )
    )

    /// Tag, shortest length, contents.
    static func tlv(_ tag: UInt8, _ contents: [UInt8]) -> [UInt8] {
        switch contents.count {
        case ..<0x80: [tag, UInt8(contents.count)] + contents
        case ..<0x100: [tag, 0x81, UInt8(contents.count)] + contents
        case ..<0x10000:
            [tag, 0x82, UInt8(contents.count >> 8), UInt8(contents.count & 0xFF)] + contents
        default:
            [tag, 0x83, UInt8(contents.count >> 16)]
                + [UInt8(contents.count >> 8 & 0xFF), UInt8(contents.count & 0xFF)] + contents
        }
    }

    static func name(_ text: String) -> [UInt8] {
        let attribute = tlv(0x30, tlv(0x06, [0x55, 0x04, 0x03]) + tlv(0x0C, Array(text.utf8)))
        return tlv(0x30, tlv(0x31, attribute))
    }

    static func time(_ text: String) -> [UInt8] {
        tlv(text.utf8.count == 13 ? 0x17 : 0x18, Array(text.utf8))
    }

    static func uri(_ text: String) -> [UInt8] {
        tlv(0x86, Array(text.utf8))
    }

    static func certificateExtension(
        _ identifier: [UInt8],
        critical: Bool = false,
        _ value: [UInt8]
    ) -> [UInt8] {
        tlv(
            0x30,
            tlv(0x06, identifier) + (critical ? tlv(0x01, [0xFF]) : []) + tlv(0x04, value)
        )
    }
}
