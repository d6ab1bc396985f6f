// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials

/// What a certificate revocation list says, read strictly from its DER (RFC 5280 section 5).
///
/// Only complete lists of one authority, in the form that Signet's servers write, are read
/// (docs/decisions/0018-certificate-revocation-lists.md). The reader verifies no signature: a list
/// counts once `verify(signedBy:)` has given a `VerifiedRevocationList`. No input makes it trap,
/// and what it accepts has one reading only.
package struct CertificateRevocationList: Sendable {
    /// Largest list read: 10,000 entries with the longest serial numbers have 420 KB.
    package static let bytesMax = 512 * 1024
    /// Most certificates on one list: as many as all lists of a server have together, and with
    /// serial numbers of 17 bytes 360 KB.
    package static let entriesMax = 10_000
    /// Longest list number in bytes, as encoded (RFC 5280 section 5.2.3).
    package static let numberBytesMax = 20

    /// One revoked certificate.
    package struct Entry: Hashable, Sendable {
        /// Big-endian, without the leading zero that DER adds to keep it positive.
        package let serial: [UInt8]
        package let revokedAt: Date

        package init(serial: [UInt8], revokedAt: Date) {
            self.serial = serial
            self.revokedAt = revokedAt
        }
    }

    /// An entry by its place in `der`: ten thousand arrays would be ten times the size of a list.
    private struct Place {
        /// Where the serial number is, without leading zero.
        let serial: Range<Int>
        let revokedAt: Date
    }

    /// The list itself.
    package let der: [UInt8]
    /// DER of the issuer's Name.
    package let issuer: [UInt8]
    /// The subject key identifier of the authority that is said to have signed.
    package let authorityKeyID: [UInt8]
    /// Big-endian, without leading zeros; of two lists of one authority the higher is newer.
    package let number: [UInt8]
    package let thisUpdate: Date
    /// When verifiers that insist on a list take this one for too old.
    package let nextUpdate: Date
    private let places: [Place]
    private let tbs: Range<Int>
    private let algorithm: JWSAlgorithm
    private let signature: [UInt8]

    /// Reads one list; bytes after it are an error.
    ///
    /// - Parameter der: The CertificateList in DER.
    /// - Throws: `RevocationListError` naming the rule that the list breaks.
    package init(der: [UInt8]) throws(RevocationListError) {
        guard der.count <= Self.bytesMax else { throw .tooLong }
        let fields: RevocationListFields
        do throws(LeafCertificateError) {
            fields = try RevocationListFields(der: der)
        } catch {
            throw .encoding(error)
        }
        // Version 2 is written as 1 (RFC 5280 section 5.1.2.1).
        guard fields.version == [1] else { throw .versionNot2 }
        guard let algorithm = JWSAlgorithm(x509Identifier: fields.algorithm) else {
            throw .signatureAlgorithmRefused
        }
        guard let nextUpdate = fields.nextUpdate else { throw .nextUpdateMissing }
        guard fields.thisUpdate < nextUpdate else { throw .updatesOutOfOrder }
        self.der = der
        self.algorithm = algorithm
        self.nextUpdate = nextUpdate
        issuer = fields.issuer
        thisUpdate = fields.thisUpdate
        tbs = fields.tbs
        signature = fields.signature
        places = try fields.revoked.map(Self.places) ?? []
        (authorityKeyID, number) = try Self.read(fields.extensions)
    }

    /// DER of the TBSCertList: all that the signature covers.
    package var tbsBytes: [UInt8] { Array(der[tbs]) }

    /// How many certificates are revoked.
    package var count: Int { places.count }

    /// The revoked certificates in the order of their serial numbers.
    package var entries: [Entry] {
        places.map { Entry(serial: Array(der[$0.serial]), revokedAt: $0.revokedAt) }
    }

    /// Looks for a certificate.
    ///
    /// - Parameter serial: As `LeafCertificate.serial` has it; leading zeros do not count.
    /// - Returns: Whether the certificate with this serial number is revoked.
    package func contains(_ serial: [UInt8]) -> Bool {
        revocationDate(of: serial) != nil
    }

    /// When the certificate with this serial number was revoked, as far as the list tells.
    ///
    /// - Parameter serial: As for `contains(_:)`.
    /// - Returns: nil if it is not on the list.
    package func revocationDate(of serial: [UInt8]) -> Date? {
        let wanted = serial.drop { $0 == 0 }
        var (low, high) = (0, places.count)
        while low < high {
            let middle = (low + high) / 2
            let found = der[places[middle].serial]
            if found.elementsEqual(wanted) { return places[middle].revokedAt }
            if Self.isLess(found, wanted) { low = middle + 1 } else { high = middle }
        }
        return nil
    }

    /// Verifies that an authority signed the list, and may sign lists.
    ///
    /// - Parameter authority: The authority's certificate in DER.
    /// - Returns: The list as a value that only verified lists have.
    /// - Throws: `RevocationListError` naming the rule that the list or the authority breaks.
    /// - SeeAlso: RFC 5280 section 6.3.3, steps f and g.
    @discardableResult
    package func verify(
        signedBy authority: [UInt8]
    ) throws(RevocationListError) -> VerifiedRevocationList {
        let certificate: CertificateFields
        do throws(LeafCertificateError) {
            certificate = try CertificateFields(der: authority)
        } catch {
            throw .authorityMalformed(error)
        }
        guard certificate.subject == issuer else { throw .issuerDiffers }
        guard certificate.extensions.subjectKeyID == authorityKeyID else {
            throw .authorityKeyIDDiffers
        }
        guard let usage = certificate.extensions.keyUsage, usage.contains(.cRLSign) else {
            throw .authorityMayNotSignLists
        }
        let key: JSONWebKey
        do throws(JSONWebKeyError) {
            key = try JSONWebKey(subjectPublicKeyInfo: certificate.spki)
        } catch {
            throw .authorityKeyUnsupported(error)
        }
        guard let raw = algorithm.signature(ofX509: signature),
            key.verifies(raw, of: der[tbs], by: algorithm)
        else { throw .signatureDoesNotVerify }
        return VerifiedRevocationList(list: self, authority: authority)
    }

    /// Verifies the list with the authority of a bundle that it names.
    ///
    /// - Parameter bundle: Authorities that are trusted, or that its publisher names as certified by
    ///   such.
    /// - Returns: nil if the authority is not among them.
    /// - Throws: `RevocationListError` if it is, and has not signed this.
    package func verify(
        in bundle: TrustBundle
    ) throws(RevocationListError) -> VerifiedRevocationList? {
        for authority in bundle.allAuthorities {
            do throws(RevocationListError) {
                return try verify(signedBy: authority)
            } catch {
                switch error {
                case .authorityKeyIDDiffers, .authorityMalformed, .issuerDiffers: continue
                default: throw error
                }
            }
        }
        return nil
    }

    private static func places(in list: DERValue) throws(RevocationListError) -> [Place] {
        var reader = DERReader(inside: list, lengths: .ofLists)
        // RFC 5280 section 5.1.2.6: without a revoked certificate there is no such field.
        guard !reader.isAtEnd else { throw .entriesEmpty }
        var places: [Place] = []
        while !reader.isAtEnd {
            guard places.count < entriesMax else { throw .entriesTooMany }
            let entry: RevocationListFields.Entry
            do throws(LeafCertificateError) {
                entry = try RevocationListFields.Entry(reading: &reader)
            } catch {
                throw .encoding(error)
            }
            guard !entry.hasExtensions else { throw .entryExtensions }
            guard let serial = entry.serial.positiveInteger,
                serial.count <= LeafCertificate.serialBytesMax
            else { throw .serialMalformed }
            if let last = places.last?.serial {
                guard isLess(list.bytes[last], list.bytes[serial]) else {
                    throw .serialsNotAscending
                }
            }
            places.append(Place(serial: serial, revokedAt: entry.revokedAt))
        }
        return places
    }

    /// Whether a number is below another; both big-endian without leading zeros.
    private static func isLess(_ number: ArraySlice<UInt8>, _ other: ArraySlice<UInt8>) -> Bool {
        number.count == other.count
            ? number.lexicographicallyPrecedes(other) : number.count < other.count
    }

    private static func read(
        _ extensions: [DERExtension]
    ) throws(RevocationListError) -> (authorityKeyID: [UInt8], number: [UInt8]) {
        var keyID: [UInt8]?
        var number: [UInt8]?
        for element in extensions {
            switch element.identifier {
            // deltaCRLIndicator and issuingDistributionPoint (RFC 5280 sections 5.2.4, 5.2.5).
            case [0x55, 0x1D, 27], [0x55, 0x1D, 28]: throw .listIsPartial
            default: break
            }
            // Those that a complete list of an authority itself has are never critical.
            guard !element.isCritical else { throw .criticalExtension }
            do throws(LeafCertificateError) {
                switch element.identifier {
                case [0x55, 0x1D, 35]: keyID = try element.keyIdentifier()
                case [0x55, 0x1D, 20]: number = try element.integer()
                default: break
                }
            } catch {
                throw .encoding(error)
            }
        }
        guard let keyID else { throw .authorityKeyIDMissing }
        guard let number else { throw .numberMissing }
        guard number.count <= numberBytesMax, number.first.map({ $0 < 0x80 }) ?? false else {
            throw .numberMalformed
        }
        return (keyID, Array(number.drop { $0 == 0 }))
    }
}

extension CertificateRevocationList: Hashable {
    /// Everything else follows from the bytes.
    package static func == (list: Self, other: Self) -> Bool { list.der == other.der }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(der)
    }
}

/// A list whose signature is that of an authority which may sign lists, and whose issuer it is.
///
/// Whether that authority is trusted is for whoever chose it.
package struct VerifiedRevocationList: Hashable, Sendable {
    package let list: CertificateRevocationList
    /// DER of the authority's certificate.
    package let authority: [UInt8]

    fileprivate init(list: CertificateRevocationList, authority: [UInt8]) {
        self.list = list
        self.authority = authority
    }
}

extension DERExtension {
    /// The key identifier of an AuthorityKeyIdentifier that has nothing beside it; nil if it has
    /// none.
    fileprivate func keyIdentifier() throws(LeafCertificateError) -> [UInt8]? {
        var reader = DERReader(inside: value)
        var inside = DERReader(inside: try reader.read(.sequence))
        try reader.finish()
        let keyID = try inside.readOptional(.context0)
        try inside.finish()
        return keyID?.contentBytes
    }

    fileprivate func integer() throws(LeafCertificateError) -> [UInt8] {
        var reader = DERReader(inside: value)
        let content = try reader.read(.integer).integerBytes()
        try reader.finish()
        return content
    }
}

/// Why a revocation list is not used.
package enum RevocationListError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The key identifier is not that of the authority.
    case authorityKeyIDDiffers
    /// The list does not say by its key identifier who signed it (RFC 5280 section 5.2.1).
    case authorityKeyIDMissing
    case authorityKeyUnsupported(JSONWebKeyError)
    case authorityMalformed(LeafCertificateError)
    /// The authority's key usage lacks cRLSign (RFC 5280 section 6.3.3, step f).
    case authorityMayNotSignLists
    case criticalExtension
    case encoding(LeafCertificateError)
    /// The list of revoked certificates is there and empty (RFC 5280 section 5.1.2.6).
    case entriesEmpty
    case entriesTooMany
    case entryExtensions
    /// The issuer is not, byte for byte, the authority's subject.
    case issuerDiffers
    /// It is a delta list, or names what it is limited to.
    case listIsPartial
    case nextUpdateMissing
    case numberMalformed
    case numberMissing
    /// A serial number is zero, negative or too long (RFC 5280 section 4.1.2.2).
    case serialMalformed
    case serialsNotAscending
    case signatureAlgorithmRefused
    case signatureDoesNotVerify
    case tooLong
    /// The list ends before it begins.
    case updatesOutOfOrder
    case versionNot2

    package var description: String {
        switch self {
        case .authorityKeyIDDiffers: "the list names another key than the authority's"
        case .authorityKeyIDMissing: "the list does not name the key that signed it"
        case .authorityKeyUnsupported(let error): "the authority's key: \(error)"
        case .authorityMalformed(let error): "the authority's certificate: \(error)"
        case .authorityMayNotSignLists: "the authority's key usage lacks cRLSign"
        case .criticalExtension: "an extension of the list is critical"
        case .encoding(let error): error.description
        case .entriesEmpty: "an empty list of revoked certificates is written out"
        case .entriesTooMany:
            "more than \(CertificateRevocationList.entriesMax) revoked certificates"
        case .entryExtensions: "an entry has extensions"
        case .issuerDiffers: "the list's issuer is not the authority"
        case .listIsPartial: "the list is a delta, or limited to a part of the certificates"
        case .nextUpdateMissing: "the list does not say when it ends"
        case .numberMalformed:
            """
            the list's number is negative or longer than \
            \(CertificateRevocationList.numberBytesMax) bytes
            """
        case .numberMissing: "the list has no number"
        case .serialMalformed: "a serial number is not positive or longer than 20 bytes"
        case .serialsNotAscending: "the serial numbers do not ascend"
        case .signatureAlgorithmRefused:
            "the signature algorithm is none of ECDSA and RSA as authorities use them"
        case .signatureDoesNotVerify: "the signature is not the authority's"
        case .tooLong: "more than \(CertificateRevocationList.bytesMax) bytes"
        case .updatesOutOfOrder: "the list does not end after it begins"
        case .versionNot2: "not a version 2 list"
        }
    }
}
