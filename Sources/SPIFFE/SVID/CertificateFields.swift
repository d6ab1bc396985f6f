// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials

/// The fields of a Certificate, in the order of RFC 5280 section 4.1.
struct CertificateFields {
    let tbs: [UInt8]
    /// The content bytes of the serial number's INTEGER.
    let serial: [UInt8]
    /// Object identifier of the signature algorithm.
    let signatureAlgorithm: [UInt8]
    let notBefore: Date
    let notAfter: Date
    /// Encoded Name.
    let subject: [UInt8]
    let isSelfIssued: Bool
    let spki: [UInt8]
    /// How many of the last bytes of `spki` are the key itself, the content of the bit string.
    let publicKeyBytesCount: Int
    let extensions: CertificateExtensions

    var hasEmptySubject: Bool { subject == [DERTag.sequence.rawValue, 0] }

    var serialIsNegative: Bool { serial.first.map { $0 >= 0x80 } ?? false }

    init(der: [UInt8]) throws(LeafCertificateError) {
        guard der.count <= LeafCertificate.bytesMax else { throw .tooLong }
        var outermost = DERReader(der)
        let certificate = try outermost.read(.sequence)
        try outermost.finish()

        var parts = DERReader(inside: certificate)
        let tbs = try parts.read(.sequence)
        let outerAlgorithm = try parts.read(.sequence)
        _ = try parts.read(.bitString).wholeBytesBitString()
        try parts.finish()

        var fields = DERReader(inside: tbs)
        try Self.readVersion(&fields)
        serial = try fields.read(.integer).integerBytes()
        let algorithm = try fields.read(.sequence)
        guard algorithm.encodedBytes == outerAlgorithm.encodedBytes else {
            throw .signatureAlgorithmsDiffer
        }
        signatureAlgorithm = try Self.readAlgorithm(algorithm)
        let issuer = try Self.readName(&fields)
        (notBefore, notAfter) = try Self.readValidity(&fields)
        let subject = try Self.readName(&fields)
        self.subject = subject.encodedBytes
        isSelfIssued = subject.encodedBytes == issuer.encodedBytes
        (spki, publicKeyBytesCount) = try Self.readPublicKey(&fields)
        // The unique identifiers of version 2 are refused: no conforming CA writes them, and
        // readers disagree on how they are tagged (RFC 5280 section 4.1.2.8).
        extensions = try CertificateExtensions(reading: &fields)
        try fields.finish()
        self.tbs = tbs.encodedBytes
    }

    private static func readVersion(_ fields: inout DERReader) throws(LeafCertificateError) {
        guard let tagged = try fields.readOptional(.contextConstructed0) else { throw .versionNot3 }
        var inside = DERReader(inside: tagged)
        let version = try inside.read(.integer).integerBytes()
        try inside.finish()
        guard version == [2] else { throw .versionNot3 }
    }

    /// Reads an AlgorithmIdentifier and returns its object identifier.
    static func readAlgorithm(_ value: DERValue) throws(LeafCertificateError) -> [UInt8] {
        var inside = DERReader(inside: value)
        let identifier = try inside.read(.objectIdentifier).objectIdentifier()
        if !inside.isAtEnd { _ = try inside.readAny() }
        try inside.finish()
        return identifier
    }

    /// Reads a Name, checks its form and returns it.
    static func readName(
        _ fields: inout DERReader
    ) throws(LeafCertificateError) -> DERValue {
        let name = try fields.read(.sequence)
        var relativeNames = DERReader(inside: name)
        while !relativeNames.isAtEnd {
            var attributes = DERReader(inside: try relativeNames.read(.set))
            guard !attributes.isAtEnd else { throw .sequenceEmpty }
            while !attributes.isAtEnd {
                var attribute = DERReader(inside: try attributes.read(.sequence))
                _ = try attribute.read(.objectIdentifier).objectIdentifier()
                _ = try attribute.readAny()
                try attribute.finish()
            }
        }
        return name
    }

    private static func readValidity(
        _ fields: inout DERReader
    ) throws(LeafCertificateError) -> (Date, Date) {
        var validity = DERReader(inside: try fields.read(.sequence))
        let notBefore = try validity.readAny().time()
        let notAfter = try validity.readAny().time()
        try validity.finish()
        return (notBefore, notAfter)
    }

    private static func readPublicKey(
        _ fields: inout DERReader
    ) throws(LeafCertificateError) -> (spki: [UInt8], keyBytesCount: Int) {
        let value = try fields.read(.sequence)
        var inside = DERReader(inside: value)
        _ = try readAlgorithm(try inside.read(.sequence))
        let key = try inside.read(.bitString).wholeBytesBitString()
        guard !key.isEmpty else { throw .bitStringMalformed }
        try inside.finish()
        return (value.encodedBytes, key.count)
    }
}
