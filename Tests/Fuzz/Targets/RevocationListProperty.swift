// SPDX-License-Identifier: Apache-2.0

internal import Crypto
internal import FoundationEssentials
internal import SPIFFE
internal import SwiftASN1
internal import X509

/// A list that is accepted says what a second reading of it says, is no certificate, and verifies
/// exactly if the authority's key has signed these bytes.
enum RevocationListProperty {
    static func check(_ input: [UInt8]) throws(PropertyBroken) -> Bool {
        guard let workshop = Workshop.shared else {
            throw PropertyBroken("the workshop of the test cannot be made")
        }
        guard let list = try? CertificateRevocationList(der: input) else { return false }
        try expect((try? LeafCertificate(der: input)) == nil, "a list reads as a certificate")
        // The other parser also looks into what means nothing here, and may refuse that.
        guard let other = try? Reading(input) else { return false }
        try compare(list, other)
        try checkEntries(list)
        let isVerified = (try? list.verify(signedBy: workshop.authority)) != nil
        try expect(
            isVerified == workshop.isSigned(other),
            isVerified ? "verifies without the key's signature" : "the signature is refused"
        )
        // No change of a signed list verifies, so what lies behind that is reached by signing.
        let signed = try expectSuccess("sign") {
            try CertificateRevocationList(der: workshop.sign(other))
        }
        try expect(signed.tbsBytes == list.tbsBytes, "other bytes are signed")
        let verifies = (try? signed.verify(signedBy: workshop.authority)) != nil
        try expect(
            verifies == workshop.isResponsible(for: other),
            "a list of another authority verifies, or one of its own does not"
        )
        return true
    }

    private static func compare(
        _ list: CertificateRevocationList,
        _ other: Reading
    ) throws(PropertyBroken) {
        try expect(list.tbsBytes == other.tbs, "what is signed")
        try expect(list.issuer == other.issuer, "issuer")
        try expect(list.thisUpdate == other.thisUpdate, "thisUpdate")
        try expect(list.nextUpdate == other.nextUpdate, "nextUpdate")
        try expect(list.thisUpdate < list.nextUpdate, "it ends before it begins")
        try expect(list.authorityKeyID == other.keyID, "authority key identifier")
        try expect(list.number == other.number, "number")
        try expect(list.entries == other.entries, "entries")
        try expect(list.count == other.entries.count, "count")
    }

    /// Everything on the list is found on it, and nothing beside it.
    private static func checkEntries(
        _ list: CertificateRevocationList
    ) throws(PropertyBroken) {
        let serials = Set(list.entries.map(\.serial))
        try expect(serials.count == list.count, "a serial number twice")
        for entry in list.entries {
            try expect(list.revocationDate(of: entry.serial) == entry.revokedAt, "not found")
            var near = entry.serial
            near[near.count - 1] ^= 1
            // The one that would be below one has no digits.
            let wanted = Array(near.drop { $0 == 0 })
            try expect(list.contains(near) == serials.contains(wanted), "found without reason")
            try expect(
                list.contains(entry.serial + [0]) == serials.contains(entry.serial + [0]),
                "a longer one is found"
            )
        }
    }

    /// The list by another parser; what the reader has to check is not checked here.
    private struct Reading {
        let tbs: [UInt8]
        let algorithm: [UInt8]
        let signature: [UInt8]
        private(set) var issuer: [UInt8] = []
        private(set) var thisUpdate = Date.distantPast
        private(set) var nextUpdate = Date.distantPast
        private(set) var entries: [CertificateRevocationList.Entry] = []
        private(set) var keyID: [UInt8] = []
        private(set) var number: [UInt8] = []

        struct Unreadable: Error {}

        init(_ der: [UInt8]) throws {
            let parts = try Self.children(DER.parse(der))
            guard parts.count == 3 else { throw Unreadable() }
            tbs = Array(parts[0].encodedBytes)
            algorithm = Array(parts[1].encodedBytes)
            signature = Array(try ASN1BitString(derEncoded: parts[2]).bytes)
            var fields = try Self.children(parts[0])[...]
            guard try Int(derEncoded: fields.removeFirst()) == 1 else { throw Unreadable() }
            guard fields.removeFirst().encodedBytes.elementsEqual(algorithm) else {
                throw Unreadable()
            }
            issuer = Array(fields.removeFirst().encodedBytes)
            thisUpdate = try Self.date(fields.removeFirst())
            nextUpdate = try Self.date(fields.removeFirst())
            if fields.first?.identifier == .sequence {
                entries = try Self.children(fields.removeFirst()).map { node in
                    let parts = try Self.children(node)
                    guard parts.count == 2 else { throw Unreadable() }
                    return .init(
                        serial: try Self.integer(parts[0]),
                        revokedAt: try Self.date(parts[1])
                    )
                }
            }
            guard fields.count == 1, let tagged = fields.first,
                let list = try Self.children(tagged).first
            else { throw Unreadable() }
            for element in try Self.children(list) { try read(element) }
        }

        private mutating func read(_ element: ASN1Node) throws {
            let parts = try Self.children(element)
            guard parts.count == 2, case .primitive(let identifier) = parts[0].content else {
                throw Unreadable()
            }
            let value = try ASN1OctetString(derEncoded: parts[1]).bytes
            switch Array(identifier) {
            case [0x55, 0x1D, 35]:
                guard let inside = try Self.children(DER.parse(value)).first,
                    case .primitive(let bytes) = inside.content
                else { throw Unreadable() }
                keyID = Array(bytes)
            case [0x55, 0x1D, 20]: number = try Self.integer(DER.parse(value))
            default: break
            }
        }

        private static func children(_ node: ASN1Node) throws -> [ASN1Node] {
            guard case .constructed(let nodes) = node.content else { throw Unreadable() }
            return Array(nodes)
        }

        private static func integer(_ node: ASN1Node) throws -> [UInt8] {
            Array(try ArraySlice<UInt8>(derEncoded: node).drop { $0 == 0 })
        }

        private static func date(_ node: ASN1Node) throws -> Date {
            var parts = DateComponents()
            if node.identifier == .utcTime {
                let time = try UTCTime(derEncoded: node)
                (parts.year, parts.month, parts.day) = (time.year, time.month, time.day)
                (parts.hour, parts.minute) = (time.hours, time.minutes)
                parts.second = time.seconds
            } else {
                let time = try GeneralizedTime(derEncoded: node)
                (parts.year, parts.month, parts.day) = (time.year, time.month, time.day)
                (parts.hour, parts.minute) = (time.hours, time.minutes)
                parts.second = time.seconds
            }
            var calendar = Calendar(identifier: .gregorian)
            calendar.timeZone = .gmt
            guard let date = calendar.date(from: parts) else { throw Unreadable() }
            return date
        }
    }

    /// The authority whose lists Tests/Fuzz/seeds writes.
    private struct Workshop: Sendable {
        static let shared = try? Workshop()

        /// DER of its certificate.
        let authority: [UInt8]
        private let key: P256.Signing.PrivateKey
        private let name: [UInt8]
        private let keyID: [UInt8]
        private static let algorithm: [UInt8] = [
            0x30, 0x0A, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02,
        ]

        init() throws {
            key = try P256.Signing.PrivateKey(
                rawRepresentation: [UInt8](repeating: 1, count: 32)
            )
            let publicKey = Certificate.PublicKey(key.publicKey)
            let subject = try DistinguishedName { CommonName("root") }
            let identifier = SubjectKeyIdentifier(hash: publicKey)
            let certificate = try Certificate(
                version: .v3,
                serialNumber: .init(bytes: [1]),
                publicKey: publicKey,
                notValidBefore: Date(timeIntervalSince1970: 1_900_000_000),
                notValidAfter: Date(timeIntervalSince1970: 1_900_086_400),
                issuer: subject,
                subject: subject,
                signatureAlgorithm: .ecdsaWithSHA256,
                extensions: Certificate.Extensions([
                    .init(KeyUsage(keyCertSign: true, cRLSign: true), critical: true),
                    .init(identifier, critical: false),
                ]),
                issuerPrivateKey: Certificate.PrivateKey(key)
            )
            var der = DER.Serializer()
            try der.serialize(certificate)
            authority = der.serializedBytes
            var encoded = DER.Serializer()
            try encoded.serialize(subject)
            name = encoded.serializedBytes
            keyID = Array(identifier.keyIdentifier)
        }

        /// Whether a list says that it is this authority's, and in its way of signing.
        func isResponsible(for list: Reading) -> Bool {
            list.issuer == name && list.keyID == keyID && list.algorithm == Self.algorithm
        }

        func isSigned(_ list: Reading) -> Bool {
            guard isResponsible(for: list),
                let signature = try? P256.Signing.ECDSASignature(
                    derRepresentation: list.signature
                )
            else { return false }
            return key.publicKey.isValidSignature(signature, for: list.tbs)
        }

        /// The same list with the signature of this authority.
        func sign(_ list: Reading) throws -> [UInt8] {
            let signature = try key.signature(for: list.tbs).derRepresentation
            var der = DER.Serializer()
            der.appendConstructedNode(identifier: .sequence) { der in
                der.serializeRawBytes(list.tbs)
                der.serializeRawBytes(list.algorithm)
                der.appendPrimitiveNode(identifier: .bitString) {
                    $0.append(0)
                    $0.append(contentsOf: signature)
                }
            }
            return der.serializedBytes
        }
    }
}
