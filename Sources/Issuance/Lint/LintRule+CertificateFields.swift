// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials

extension LintRule {
    /// RFC 5280 section 4.1.2: the basic fields.
    static let certificateFields: [Self] = [
        Self("rfc5280-4.1.2.1-version") { reading, _ in reading.version == 2 },
        Self("rfc5280-4.1.2.2-serial") { reading, expected in
            reading.serial.count <= 20 && reading.serial.first.map { $0 & 0x80 == 0 } == true
                && reading.serial.elementsEqual(expected.serial)
        },
        Self("rfc5280-4.1.2.3-signature-algorithm") { reading, expected in
            reading.signatureAlgorithm.elementsEqual(expected.signatureAlgorithm.identifierDER)
        },
        Self("rfc5280-4.1.2.4-issuer") { reading, expected in
            reading.issuer.count > 2 && reading.issuer.elementsEqual(expected.issuer)
        },
        Self("rfc5280-4.1.2.5-validity") { reading, expected in
            reading.notBefore.date == expected.notBefore
                && reading.notAfter.date == expected.notAfter
                && reading.notBefore < reading.notAfter
        },
        Self("rfc5280-4.1.2.6-subject") { reading, expected in
            guard expected.profile.isAuthority else {
                return reading.subject.elementsEqual(CertificateTemplate.emptyName)
            }
            // Self-issued ones below a root would not count for pathLenConstraint.
            return reading.subject.count > 2
                && reading.subject.elementsEqual(reading.issuer) == expected.profile.isSelfSigned
        },
        Self("rfc5280-4.1.2.7-public-key") { reading, expected in
            reading.subjectPublicKeyInfo.elementsEqual(expected.subjectPublicKeyInfo)
        },
        Self("signet-validity-within-authority") { reading, expected in
            reading.notBefore.date >= expected.authorityNotBefore
                && reading.notAfter.date <= expected.authorityNotAfter
        },
        Self("signet-validity-within-limit") { reading, expected in
            reading.notAfter.secondsSince1970 - reading.notBefore.secondsSince1970
                <= expected.validityMax.components.seconds
        },
    ]
}
