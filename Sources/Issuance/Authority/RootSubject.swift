// SPDX-License-Identifier: Apache-2.0

internal import SPIFFE
internal import SwiftASN1

/// The distinguished name of a root: `O=Signet, CN=<trust domain>, serialNumber=<server>-<serial>`.
///
/// Every authority has its own name: verifiers choose issuers by name, and a self-issued
/// intermediate of equal name would not count for pathLenConstraint (RFC 5280 section 6.1.4).
struct RootSubject {
    /// Longest server ID in bytes; a UUID has 36.
    ///
    /// With a hyphen and 16 digits of the serial it stays within ub-serial-number, 64 (RFC 5280
    /// appendix A.1).
    static let serverIDBytesMax = 40
    /// The limit ub-common-name of RFC 5280 appendix A.1.
    ///
    /// A longer trust domain is cut here; the whole name is in the URI.
    static let commonNameBytesMax = 64

    private let commonName: Substring.UTF8View
    private let serialNumber: String

    init(
        trustDomain: TrustDomain,
        serverID: String,
        serial: SerialNumber
    ) throws(AuthorityError) {
        let allowed = serverID.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."):
                true
            default: false
            }
        }
        guard allowed, (1...Self.serverIDBytesMax).contains(serverID.utf8.count) else {
            throw .serverIDMalformed
        }
        commonName = trustDomain.name.utf8.prefix(Self.commonNameBytesMax)
        serialNumber = "\(serverID)-\(Hexadecimal.text(serial.bytes.suffix(Self.suffixBytes)))"
    }

    /// Reads the name that a server of this trust domain asks for.
    ///
    /// - Parameters:
    ///   - der: The encoded Name.
    ///   - trustDomain: The server's.
    /// - Returns: The name and the server ID in it; nil for any other name.
    static func read(
        _ der: [UInt8],
        of trustDomain: TrustDomain
    ) -> (subject: Self, serverID: String)? {
        guard let text = serialNumber(in: der), let hyphen = text.lastIndex(of: "-") else {
            return nil
        }
        let (serverID, suffix) = (text[..<hyphen], text[text.index(after: hyphen)...])
        guard let bytes = Hexadecimal.bytes(String(suffix)), bytes.count == suffixBytes else {
            return nil
        }
        // The first half of a serial is no part of the name.
        let padding = [UInt8](repeating: 0, count: SerialNumber.bytesCount - suffixBytes - 1)
        guard let serial = SerialNumber(bytes: [0x01] + padding + bytes),
            let subject = try? Self(
                trustDomain: trustDomain,
                serverID: String(serverID),
                serial: serial
            ), subject.encoded() == der
        else { return nil }
        return (subject, String(serverID))
    }

    /// How many of a serial's last bytes end the name.
    private static let suffixBytes = 8

    /// The value of the third attribute; that it is the right one is seen by encoding it again.
    private static func serialNumber(in der: [UInt8]) -> String? {
        guard let root = try? DER.parse(der) else { return nil }
        let sets = children(of: root)
        guard sets.count == 3, let attribute = children(of: sets[2]).first,
            case .primitive(let bytes)? = children(of: attribute).last?.content
        else { return nil }
        return String(validating: bytes, as: UTF8.self)
    }

    private static func children(of node: ASN1Node) -> [ASN1Node] {
        guard case .constructed(let nodes) = node.content else { return [] }
        return Array(nodes)
    }

    /// DER of the Name.
    func encoded() -> [UInt8] {
        var der = DER.Serializer()
        der.appendConstructedNode(identifier: .sequence) { der in
            der.append(.organization, .utf8String, "Signet".utf8)
            der.append(.commonName, .utf8String, commonName)
            // X.520 allows only PrintableString here.
            der.append(.serialNumber, .printableString, serialNumber.utf8)
        }
        return der.serializedBytes
    }
}

extension DER.Serializer {
    /// One RelativeDistinguishedName of one attribute.
    fileprivate mutating func append(
        _ attribute: EncodedIdentifier,
        _ form: ASN1Identifier,
        _ value: some Sequence<UInt8>
    ) {
        appendConstructedNode(identifier: .set) { der in
            der.appendConstructedNode(identifier: .sequence) { der in
                der.append(attribute)
                der.appendPrimitiveNode(identifier: form) { $0.append(contentsOf: value) }
            }
        }
    }
}
