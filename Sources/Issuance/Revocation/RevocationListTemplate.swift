// SPDX-License-Identifier: Apache-2.0

internal import SPIFFE
internal import SwiftASN1

/// Everything that a TBSCertList says (RFC 5280 section 5.1), before encoding.
struct RevocationListTemplate {
    /// One element of revokedCertificates.
    struct Entry {
        /// Big-endian, without leading zeros.
        let serial: [UInt8]
        let revokedAt: CertificateTime
    }

    /// How the issuer signs.
    let signatureAlgorithm: SignatureAlgorithm
    /// DER of the issuer's Name, byte for byte as in the authority's certificate.
    let issuer: [UInt8]
    let thisUpdate: CertificateTime
    let nextUpdate: CertificateTime
    /// In the order of their serial numbers.
    let entries: [Entry]
    let authorityKeyIdentifier: KeyIdentifier

    /// The list's number.
    ///
    /// Verifiers choose between two lists by the time: a number of its own would be one more thing
    /// that can disagree with it.
    var number: Int64 { thisUpdate.secondsSince1970 }

    /// DER of the TBSCertList.
    func encoded() -> [UInt8] {
        var der = DER.Serializer()
        der.appendConstructedNode(identifier: .sequence) { der in
            // version INTEGER 1: v2.
            der.serializeRawBytes([0x02, 0x01, 0x01])
            der.serializeRawBytes(signatureAlgorithm.identifierDER)
            der.serializeRawBytes(issuer)
            der.append(thisUpdate)
            der.append(nextUpdate)
            // RFC 5280 section 5.1.2.6: without a revoked certificate there is no such field.
            if !entries.isEmpty {
                der.appendConstructedNode(identifier: .sequence) { der in
                    for entry in entries { der.append(entry) }
                }
            }
            der.appendConstructedNode(
                identifier: ASN1Identifier(tagWithNumber: 0, tagClass: .contextSpecific)
            ) { der in
                der.appendConstructedNode(identifier: .sequence) { der in
                    der.appendAuthorityKeyIdentifier(authorityKeyIdentifier)
                    der.appendExtension(.cRLNumber, isCritical: false) { der in
                        der.appendPositiveInteger(number.bigEndianBytes)
                    }
                }
            }
        }
        return der.serializedBytes
    }
}

extension DER.Serializer {
    fileprivate mutating func append(_ entry: RevocationListTemplate.Entry) {
        appendConstructedNode(identifier: .sequence) { der in
            der.appendPositiveInteger(entry.serial)
            der.append(entry.revokedAt)
        }
    }

    /// An INTEGER that is not negative; `magnitude` is big-endian without leading zeros.
    fileprivate mutating func appendPositiveInteger(_ magnitude: [UInt8]) {
        appendPrimitiveNode(identifier: .integer) { bytes in
            // Zero has one byte, and a first bit would be the sign (X.690 section 8.3).
            if magnitude.first.map({ $0 >= 0x80 }) ?? true { bytes.append(0) }
            bytes.append(contentsOf: magnitude)
        }
    }
}

extension Int64 {
    /// Without leading zeros; the number is not negative.
    fileprivate var bigEndianBytes: [UInt8] {
        let bytes = stride(from: 56, through: 0, by: -8).map {
            UInt8(truncatingIfNeeded: self >> Int64($0))
        }
        return Array(bytes.drop { $0 == 0 })
    }
}
