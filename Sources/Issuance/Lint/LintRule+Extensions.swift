// SPDX-License-Identifier: Apache-2.0

internal import SPIFFE
internal import SwiftASN1

extension LintRule {
    /// RFC 5280 section 4.2: the extensions.
    static let extensions: [Self] = [
        Self("rfc5280-4.2-once-each") { reading, _ in
            reading.extensions.indices.allSatisfy { index in
                !reading.extensions[..<index].contains {
                    $0.identifier == reading.extensions[index].identifier
                }
            }
        },
        Self("rfc5280-4.2-no-other") { reading, expected in
            reading.extensions.allSatisfy { found in
                switch found.identifier {
                case .authorityKeyIdentifier, .basicConstraints, .keyUsage, .subjectAltName,
                    .subjectKeyIdentifier:
                    true
                case .extendedKeyUsage: expected.profile.isForTLSPeers
                case .nameConstraints: expected.profile.limits.constrainsNames
                default: false
                }
            }
        },
        Self("rfc5280-4.2.1.1-authority-key-identifier") { reading, expected in
            reading.holds(
                .authorityKeyIdentifier,
                isCritical: false,
                value: [0x30, 0x16, 0x80, 0x14] + expected.authorityKeyIdentifier
            )
        },
        Self("rfc5280-4.2.1.2-subject-key-identifier") { reading, _ in
            guard let key = try? ReadPublicKey(reading.subjectPublicKeyInfo) else { return false }
            return reading.holds(
                .subjectKeyIdentifier,
                isCritical: false,
                value: [0x04, 0x14] + KeyIdentifier(hashing: key.bits).bytes
            )
        },
        Self("rfc5280-4.2.1.9-basic-constraints") { reading, expected in
            reading.holds(
                .basicConstraints,
                isCritical: true,
                value: expected.profile.pathLength.map {
                    [0x30, 0x06, 0x01, 0x01, 0xFF, 0x02, 0x01, UInt8(clamping: $0)]
                } ?? [0x30, 0x00]
            )
        },
        Self("rfc5280-4.2.1.10-name-constraints") { reading, expected in
            guard expected.profile.limits.constrainsNames else {
                return reading.value(of: .nameConstraints) == nil
            }
            // A trust domain's name is short enough for lengths of one byte each.
            let host = Array(expected.id.utf8.dropFirst("spiffe://".utf8.count))
            guard let count = UInt8(exactly: host.count), count < 0x7A else { return false }
            return reading.holds(
                .nameConstraints,
                isCritical: true,
                value: [0x30, count + 6, 0xA0, count + 4, 0x30, count + 2, 0x86, count] + host
            )
        },
    ]
}

/// The bit string of an encoded SubjectPublicKeyInfo.
private struct ReadPublicKey {
    let bits: ArraySlice<UInt8>

    init(_ der: ArraySlice<UInt8>) throws {
        bits = try DER.sequence(DER.parse(der), identifier: .sequence) { nodes in
            guard nodes.next() != nil else { throw CertificateReadingError.notTBSCertificate }
            return try ASN1BitString(derEncoded: &nodes).bytes
        }
    }
}

extension CertificateReading {
    /// Whether the extension is there with exactly this criticality and value.
    func holds(
        _ identifier: ASN1ObjectIdentifier,
        isCritical: Bool,
        value: [UInt8]
    ) -> Bool {
        extensions.contains {
            $0.identifier == identifier && $0.isCritical == isCritical
                && $0.value.elementsEqual(value)
        }
    }
}
