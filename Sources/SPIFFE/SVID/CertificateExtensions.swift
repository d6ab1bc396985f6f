// SPDX-License-Identifier: Apache-2.0

/// What the extensions of a certificate say, as far as X509-SVID asks (RFC 5280 section 4.2).
struct CertificateExtensions {
    private(set) var authorityKeyID: [UInt8]?
    private(set) var subjectKeyID: [UInt8]?
    private(set) var isCA = false
    /// The path length constraint; nil if there is none.
    private(set) var pathLength: Int?
    private(set) var keyUsage: KeyUsageBits?
    private(set) var keyUsageIsCritical = false
    private(set) var extendedKeyUsages: [[UInt8]]?
    private(set) var dnsNames: [String] = []
    private(set) var uriNames: [String] = []
    private(set) var subjectAlternativeNameIsCritical = false
    /// Whether a critical extension is there that means nothing to a leaf.
    private(set) var hasUnknownCritical = false
    /// The same for a signing certificate, to which name constraints do mean something.
    private(set) var hasUnknownCriticalForAuthority = false
    private(set) var uriConstraints: URIConstraints?

    /// Reads the extensions field, if it is next.
    init(reading fields: inout DERReader) throws(LeafCertificateError) {
        guard let tagged = try fields.readOptional(.contextConstructed3) else { return }
        for element in try DERExtension.list(inside: tagged) {
            try read(element.identifier, element.value, isCritical: element.isCritical)
        }
    }

    private mutating func read(
        _ identifier: [UInt8],
        _ value: DERValue,
        isCritical: Bool
    ) throws(LeafCertificateError) {
        // Every extension read here is under id-ce, 2.5.29.
        guard identifier.count == 3, identifier.starts(with: [0x55, 0x1D]) else {
            noteUnknown(isCritical)
            return
        }
        var reader = DERReader(inside: value)
        switch identifier[2] {
        case 14:
            subjectKeyID = try reader.read(.octetString).contentBytes
            noteUnknown(isCritical)
        case 15:
            keyUsage = try Self.readKeyUsage(&reader)
            keyUsageIsCritical = isCritical
        case 17:
            try readAlternativeNames(&reader)
            subjectAlternativeNameIsCritical = isCritical
        case 19: (isCA, pathLength) = try Self.readBasicConstraints(&reader)
        case 35:
            authorityKeyID = try Self.readAuthorityKeyID(&reader)
            noteUnknown(isCritical)
        case 37: extendedKeyUsages = try Self.readExtendedKeyUsages(&reader)
        case 30:
            uriConstraints = try URIConstraints(reading: &reader)
            hasUnknownCritical = hasUnknownCritical || isCritical
        default:
            noteUnknown(isCritical)
            return
        }
        try reader.finish()
    }

    private mutating func noteUnknown(_ isCritical: Bool) {
        hasUnknownCritical = hasUnknownCritical || isCritical
        hasUnknownCriticalForAuthority = hasUnknownCriticalForAuthority || isCritical
    }

    private static func readKeyUsage(
        _ reader: inout DERReader
    ) throws(LeafCertificateError) -> KeyUsageBits {
        let bits = try reader.read(.bitString).namedBits()
        // Nine bits are named.
        guard bits.count <= 2 else { throw .bitStringMalformed }
        let first = UInt16(bits.first ?? 0)
        let second = bits.count > 1 ? UInt16(bits[1]) : 0
        return KeyUsageBits(rawValue: first << 8 | second)
    }

    private mutating func readAlternativeNames(
        _ reader: inout DERReader
    ) throws(LeafCertificateError) {
        var names = DERReader(inside: try reader.read(.sequence))
        guard !names.isAtEnd else { throw .sequenceEmpty }
        while !names.isAtEnd {
            let name = try names.readAny()
            // The choice of RFC 5280 section 4.2.1.6 and whether each form is constructed.
            switch name.tag {
            case 0x82: dnsNames.append(try name.ia5String())
            case 0x86: uriNames.append(try name.ia5String())
            case 0x81: _ = try name.ia5String()
            case 0x87, 0x88, 0xA0, 0xA3, 0xA4, 0xA5: break
            default: throw .tagUnexpected(name.tag)
            }
        }
    }

    private static func readBasicConstraints(
        _ reader: inout DERReader
    ) throws(LeafCertificateError) -> (isCA: Bool, pathLength: Int?) {
        var inside = DERReader(inside: try reader.read(.sequence))
        var isCA = false
        var length: Int?
        if let value = try inside.readOptional(.boolean) {
            isCA = try value.boolean()
            guard isCA else { throw .defaultEncoded }
        }
        if let pathLength = try inside.readOptional(.integer) {
            let content = try pathLength.integerBytes()
            // Meaningful only on a CA, and never negative.
            guard isCA, content.first.map({ $0 < 0x80 }) ?? false else { throw .integerMalformed }
            // No chain is as long as what does not fit two bytes.
            length = content.suffix(2).reduce(0) { $0 << 8 | Int($1) }
            if content.count > 3 { length = .max }
        }
        try inside.finish()
        return (isCA, length)
    }

    private static func readAuthorityKeyID(
        _ reader: inout DERReader
    ) throws(LeafCertificateError) -> [UInt8]? {
        var inside = DERReader(inside: try reader.read(.sequence))
        let keyID = try inside.readOptional(.context0)
        // The issuer's name and serial are read past: a path is never built by them.
        _ = try inside.readOptional(.contextConstructed1)
        if let serial = try inside.readOptional(.context2) { _ = try serial.integerBytes() }
        try inside.finish()
        return keyID?.contentBytes
    }

    private static func readExtendedKeyUsages(
        _ reader: inout DERReader
    ) throws(LeafCertificateError) -> [[UInt8]] {
        var list = DERReader(inside: try reader.read(.sequence))
        guard !list.isAtEnd else { throw .sequenceEmpty }
        var usages: [[UInt8]] = []
        while !list.isAtEnd {
            usages.append(try list.read(.objectIdentifier).objectIdentifier())
        }
        return usages
    }
}

/// One Extension, of a certificate or a revocation list (RFC 5280 section 4.1).
struct DERExtension {
    /// The object identifier's content bytes.
    let identifier: [UInt8]
    let isCritical: Bool
    /// The OCTET STRING, whose contents depend on the identifier.
    let value: DERValue

    /// Reads the Extensions inside an explicit tag: at least one, none of them twice.
    static func list(inside tagged: DERValue) throws(LeafCertificateError) -> [Self] {
        var inside = DERReader(inside: tagged)
        var list = DERReader(inside: try inside.read(.sequence))
        try inside.finish()
        guard !list.isAtEnd else { throw .sequenceEmpty }
        var extensions: [Self] = []
        var seen: Set<[UInt8]> = []
        while !list.isAtEnd {
            let element = try Self(reading: &list)
            guard seen.insert(element.identifier).inserted else { throw .extensionRepeated }
            guard seen.count <= LeafCertificate.extensionsMax else { throw .extensionsTooMany }
            extensions.append(element)
        }
        return extensions
    }

    private init(reading list: inout DERReader) throws(LeafCertificateError) {
        var element = DERReader(inside: try list.read(.sequence))
        identifier = try element.read(.objectIdentifier).objectIdentifier()
        var isCritical = false
        if let critical = try element.readOptional(.boolean) {
            isCritical = try critical.boolean()
            guard isCritical else { throw .defaultEncoded }
        }
        self.isCritical = isCritical
        value = try element.read(.octetString)
        try element.finish()
    }
}
