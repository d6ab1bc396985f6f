// SPDX-License-Identifier: Apache-2.0

internal import SPIFFE
internal import SwiftASN1

extension LintRule {
    /// X509-SVID sections 2 to 4.
    static let svid: [Self] = [
        Self("x509svid-2-one-uri") { reading, expected in
            guard let names = reading.subjectAltNames else { return false }
            return names.uris == [expected.id] && (try? SPIFFEID(expected.id)) != nil
        },
        Self("x509svid-2-other-names") { reading, expected in
            guard let names = reading.subjectAltNames else { return false }
            return names.others == 0 && names.dnsNames == expected.dnsNames
        },
        Self("x509svid-3.1-critical-without-subject") { reading, _ in
            reading.extensions.contains {
                $0.identifier == .subjectAltName
                    && $0.isCritical
                        == reading.subject.elementsEqual(CertificateTemplate.emptyName)
            }
        },
        Self("x509svid-3-path") { reading, expected in
            guard let uri = reading.subjectAltNames?.uris.first, let id = try? SPIFFEID(uri) else {
                return false
            }
            return id.path.isEmpty == expected.profile.isAuthority
        },
        Self("x509svid-4.3-key-usage") { reading, expected in
            // A BIT STRING of one byte, whose unused bits are those after the last named one.
            reading.holds(
                .keyUsage,
                isCritical: true,
                value: expected.profile.isAuthority
                    ? [0x03, 0x02, 0x01, 0x06]
                    : [0x03, 0x02, 0x07, 0x80]
            )
        },
        Self("x509svid-4.4-extended-key-usage") { reading, expected in
            guard expected.profile.isForTLSPeers else {
                return reading.value(of: .extendedKeyUsage) == nil
            }
            return reading.extendedKeyUsages == [.serverAuth, .clientAuth]
                && reading.extensions.contains {
                    $0.identifier == .extendedKeyUsage && !$0.isCritical
                }
        },
    ]
}

/// The names of a SubjectAltName extension, by kind.
struct ReadNames {
    var uris: [String] = []
    var dnsNames: [String] = []
    /// How many names are of any other kind.
    var others = 0
}

extension CertificateReading {
    /// Nil if the extension is missing or malformed.
    var subjectAltNames: ReadNames? {
        guard let value = value(of: .subjectAltName), let root = try? DER.parse(value),
            root.identifier == .sequence, case .constructed(let nodes) = root.content
        else { return nil }
        var names = ReadNames()
        for node in nodes {
            guard node.identifier.tagClass == .contextSpecific,
                case .primitive(let bytes) = node.content
            else {
                names.others += 1
                continue
            }
            switch node.identifier.tagNumber {
            case 2: names.dnsNames.append(String(decoding: bytes, as: UTF8.self))
            case 6: names.uris.append(String(decoding: bytes, as: UTF8.self))
            default: names.others += 1
            }
        }
        return names
    }

    /// Nil if the extension is missing or malformed.
    var extendedKeyUsages: [ASN1ObjectIdentifier]? {
        guard let value = value(of: .extendedKeyUsage), let root = try? DER.parse(value) else {
            return nil
        }
        return try? DER.sequence(
            of: ASN1ObjectIdentifier.self,
            identifier: .sequence,
            rootNode: root
        )
    }
}
