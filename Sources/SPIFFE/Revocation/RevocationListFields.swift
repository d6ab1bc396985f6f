// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials

/// The fields of a CertificateList, in the order of RFC 5280 section 5.1.
struct RevocationListFields {
    /// Where in the DER the TBSCertList is.
    let tbs: Range<Int>
    /// The content of the version's INTEGER; empty if there is none, which means version 1.
    let version: [UInt8]
    /// Encoded AlgorithmIdentifier.
    let algorithm: [UInt8]
    /// Encoded Name.
    let issuer: [UInt8]
    let thisUpdate: Date
    let nextUpdate: Date?
    /// The SEQUENCE OF entries; nil if the field is absent.
    let revoked: DERValue?
    let extensions: [DERExtension]
    let signature: [UInt8]

    init(der: [UInt8]) throws(LeafCertificateError) {
        var outermost = DERReader(der, lengths: .ofLists)
        let list = try outermost.read(.sequence)
        try outermost.finish()

        var parts = DERReader(inside: list, lengths: .ofLists)
        let tbs = try parts.read(.sequence)
        let outerAlgorithm = try parts.read(.sequence)
        signature = Array(try parts.read(.bitString).wholeBytesBitString())
        try parts.finish()

        var fields = DERReader(inside: tbs, lengths: .ofLists)
        version = try fields.readOptional(.integer)?.integerBytes() ?? []
        let algorithm = try fields.read(.sequence)
        guard algorithm.encodedBytes == outerAlgorithm.encodedBytes else {
            throw .signatureAlgorithmsDiffer
        }
        _ = try CertificateFields.readAlgorithm(algorithm)
        self.algorithm = algorithm.encodedBytes
        issuer = try CertificateFields.readName(&fields).encodedBytes
        thisUpdate = try fields.readAny().timeInItsForm()
        switch fields.nextTag {
        case DERTag.utcTime.rawValue, DERTag.generalizedTime.rawValue:
            nextUpdate = try fields.readAny().timeInItsForm()
        default:
            nextUpdate = nil
        }
        revoked = try fields.readOptional(.sequence)
        if let tagged = try fields.readOptional(.contextConstructed0) {
            extensions = try DERExtension.list(inside: tagged)
        } else {
            extensions = []
        }
        try fields.finish()
        self.tbs = tbs.encoding
    }

    /// One element of revokedCertificates.
    struct Entry {
        let serial: DERValue
        let revokedAt: Date
        let hasExtensions: Bool

        init(reading list: inout DERReader) throws(LeafCertificateError) {
            var fields = DERReader(inside: try list.read(.sequence))
            serial = try fields.read(.integer)
            _ = try serial.integerBytes()
            revokedAt = try fields.readAny().timeInItsForm()
            hasExtensions = try fields.readOptional(.sequence) != nil
            try fields.finish()
        }
    }
}

extension DERValue {
    /// Where the bytes of an INTEGER above zero are, without the zero that keeps it positive.
    var positiveInteger: Range<Int>? {
        guard let first = bytes[contents].first, first < 0x80 else { return nil }
        guard first == 0 else { return contents }
        let rest = contents.dropFirst()
        return rest.isEmpty ? nil : rest
    }

    /// The instant of a time that has the form for its year: UTCTime until 2049, GeneralizedTime
    /// from 2050 (RFC 5280 sections 5.1.2.4 and 5.1.2.6).
    fileprivate func timeInItsForm() throws(LeafCertificateError) -> Date {
        let date = try time()
        let isLate = date.timeIntervalSince1970 >= 2_524_608_000
        guard isLate == (tag == DERTag.generalizedTime.rawValue) else { throw .timeMalformed }
        return date
    }
}
