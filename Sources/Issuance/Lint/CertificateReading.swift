// SPDX-License-Identifier: Apache-2.0

internal import SwiftASN1

/// A TBSCertificate (RFC 5280 section 4.1) as it reads back, for lint rules and for authorities.
///
/// It shares no code with the encoder: a mistake there shows here.
struct CertificateReading {
    struct Extension {
        let identifier: ASN1ObjectIdentifier
        let isCritical: Bool
        let value: ArraySlice<UInt8>
    }

    let version: Int
    /// Content of the serial number's INTEGER.
    let serial: ArraySlice<UInt8>
    /// Encoded AlgorithmIdentifier.
    let signatureAlgorithm: ArraySlice<UInt8>
    /// Encoded Name.
    let issuer: ArraySlice<UInt8>
    let notBefore: CertificateTime
    let notAfter: CertificateTime
    /// Encoded Name.
    let subject: ArraySlice<UInt8>
    /// Encoded SubjectPublicKeyInfo.
    let subjectPublicKeyInfo: ArraySlice<UInt8>
    let extensions: [Extension]

    /// Reads an encoded TBSCertificate.
    init(tbs der: [UInt8]) throws(CertificateReadingError) {
        do { self = try Self.read(DER.parse(der)) } catch { throw .notTBSCertificate }
    }

    /// Reads the TBSCertificate inside an encoded Certificate.
    init(certificate der: [UInt8]) throws(CertificateReadingError) {
        let signed = try SignedReading(der)
        do { self = try Self.read(signed.tbs) } catch { throw .notTBSCertificate }
    }

    func value(of identifier: ASN1ObjectIdentifier) -> ArraySlice<UInt8>? {
        extensions.first { $0.identifier == identifier }?.value
    }

    private static func read(_ root: ASN1Node) throws -> Self {
        try DER.sequence(root, identifier: .sequence) { nodes in
            let version = try DER.explicitlyTagged(
                &nodes,
                tagNumber: 0,
                tagClass: .contextSpecific
            ) { try Int(derEncoded: $0) }
            guard let serial = nodes.next(), serial.identifier == .integer,
                case .primitive(let serialBytes) = serial.content,
                let algorithm = nodes.next(), algorithm.identifier == .sequence,
                let issuer = nodes.next(), issuer.identifier == .sequence,
                let validity = nodes.next()
            else { throw CertificateReadingError.notTBSCertificate }
            let (notBefore, notAfter) = try DER.sequence(validity, identifier: .sequence) {
                (try time($0.next()), try time($0.next()))
            }
            guard let subject = nodes.next(), subject.identifier == .sequence,
                let publicKey = nodes.next(), publicKey.identifier == .sequence
            else { throw CertificateReadingError.notTBSCertificate }
            let extensions = try DER.explicitlyTagged(
                &nodes,
                tagNumber: 3,
                tagClass: .contextSpecific
            ) { try self.extensions(in: $0) }
            return Self(
                version: version,
                serial: serialBytes,
                signatureAlgorithm: algorithm.encodedBytes,
                issuer: issuer.encodedBytes,
                notBefore: notBefore,
                notAfter: notAfter,
                subject: subject.encodedBytes,
                subjectPublicKeyInfo: publicKey.encodedBytes,
                extensions: extensions
            )
        }
    }

    private static func extensions(in node: ASN1Node) throws -> [Extension] {
        guard node.identifier == .sequence, case .constructed(let list) = node.content else {
            throw CertificateReadingError.notTBSCertificate
        }
        return try list.map { node in
            try DER.sequence(node, identifier: .sequence) { nodes in
                let identifier = try ASN1ObjectIdentifier(derEncoded: &nodes)
                let isCritical = try DER.decodeDefault(&nodes, defaultValue: false)
                let value = try ASN1OctetString(derEncoded: &nodes)
                return Extension(
                    identifier: identifier,
                    isCritical: isCritical,
                    value: value.bytes
                )
            }
        }
    }

    /// RFC 5280 section 4.1.2.5: the form is decided by the year.
    private static func time(_ node: ASN1Node?) throws -> CertificateTime {
        guard let node else { throw CertificateReadingError.notTBSCertificate }
        let time: CertificateTime?
        if node.identifier == .utcTime {
            let read = try UTCTime(derEncoded: node)
            time = CertificateTime(
                year: read.year,
                month: read.month,
                day: read.day,
                hour: read.hours,
                minute: read.minutes,
                second: read.seconds
            )
        } else {
            let read = try GeneralizedTime(derEncoded: node)
            guard read.rawFractionalSeconds.isEmpty, read.year >= 2050 else {
                throw CertificateReadingError.notTBSCertificate
            }
            time = CertificateTime(
                year: read.year,
                month: read.month,
                day: read.day,
                hour: read.hours,
                minute: read.minutes,
                second: read.seconds
            )
        }
        guard let time else { throw CertificateReadingError.notTBSCertificate }
        return time
    }

    private init(
        version: Int,
        serial: ArraySlice<UInt8>,
        signatureAlgorithm: ArraySlice<UInt8>,
        issuer: ArraySlice<UInt8>,
        notBefore: CertificateTime,
        notAfter: CertificateTime,
        subject: ArraySlice<UInt8>,
        subjectPublicKeyInfo: ArraySlice<UInt8>,
        extensions: [Extension]
    ) {
        self.version = version
        self.serial = serial
        self.signatureAlgorithm = signatureAlgorithm
        self.issuer = issuer
        self.notBefore = notBefore
        self.notAfter = notAfter
        self.subject = subject
        self.subjectPublicKeyInfo = subjectPublicKeyInfo
        self.extensions = extensions
    }
}

/// The three parts of an encoded Certificate (RFC 5280 section 4.1).
struct SignedReading {
    let tbs: ASN1Node
    /// Encoded AlgorithmIdentifier.
    let signatureAlgorithm: ArraySlice<UInt8>
    let signature: ASN1BitString

    init(_ der: [UInt8]) throws(CertificateReadingError) {
        do {
            (tbs, signatureAlgorithm, signature) = try DER.sequence(
                DER.parse(der),
                identifier: .sequence
            ) { nodes in
                guard let tbs = nodes.next(), let algorithm = nodes.next() else {
                    throw CertificateReadingError.notCertificate
                }
                return (
                    tbs, algorithm.encodedBytes, try ASN1BitString(derEncoded: &nodes)
                )
            }
        } catch { throw .notCertificate }
    }
}

/// Why bytes do not read as a certificate.
enum CertificateReadingError: Error, Hashable, Sendable {
    case notCertificate
    case notTBSCertificate
}

extension ASN1ObjectIdentifier {
    static let authorityKeyIdentifier: Self = [2, 5, 29, 35]
    static let basicConstraints: Self = [2, 5, 29, 19]
    static let clientAuth: Self = [1, 3, 6, 1, 5, 5, 7, 3, 2]
    static let extendedKeyUsage: Self = [2, 5, 29, 37]
    static let keyUsage: Self = [2, 5, 29, 15]
    static let nameConstraints: Self = [2, 5, 29, 30]
    static let serverAuth: Self = [1, 3, 6, 1, 5, 5, 7, 3, 1]
    static let subjectAltName: Self = [2, 5, 29, 17]
    static let subjectKeyIdentifier: Self = [2, 5, 29, 14]
}
