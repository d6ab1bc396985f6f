// SPDX-License-Identifier: Apache-2.0

/// Reads DER values one after the other from a range of bytes.
///
/// Every length is checked against the range before a byte of the value is touched, so no input
/// makes it trap. Only what certificates and revocation lists need is known: one-byte tags and
/// definite lengths in their shortest form (X.690 sections 8.1.2, 10.1).
struct DERReader {
    /// How long a value may be.
    enum Lengths {
        /// Two length bytes reach 65,535, four times the largest certificate accepted.
        case ofCertificates
        /// Three length bytes reach 16 MiB, far above the largest list accepted.
        case ofLists
    }

    private let bytes: [UInt8]
    private var position: Int
    private let end: Int
    private let lengths: Lengths

    /// Reads the whole of `bytes`.
    init(_ bytes: [UInt8], lengths: Lengths = .ofCertificates) {
        self.bytes = bytes
        self.position = 0
        self.end = bytes.count
        self.lengths = lengths
    }

    /// Reads the values inside `value`.
    init(inside value: DERValue, lengths: Lengths = .ofCertificates) {
        self.bytes = value.bytes
        self.position = value.contents.lowerBound
        self.end = value.contents.upperBound
        self.lengths = lengths
    }

    var isAtEnd: Bool { position >= end }

    /// The tag of the next value, nil at the end.
    var nextTag: UInt8? { isAtEnd ? nil : bytes[position] }

    /// Reads the next value, whatever its tag is.
    mutating func readAny() throws(LeafCertificateError) -> DERValue {
        let start = position
        let tag = try readByte()
        guard tag & 0x1F != 0x1F else { throw .tagMultibyte }
        let length = try readLength()
        guard length <= end - position else { throw .truncated }
        let contents = position..<(position + length)
        position += length
        return DERValue(bytes: bytes, tag: tag, contents: contents, encoding: start..<position)
    }

    /// Reads the next value, which must have the given tag.
    mutating func read(_ tag: DERTag) throws(LeafCertificateError) -> DERValue {
        guard let nextTag else { throw .truncated }
        guard nextTag == tag.rawValue else { throw .tagUnexpected(nextTag) }
        return try readAny()
    }

    /// Reads the next value if it has the given tag.
    mutating func readOptional(_ tag: DERTag) throws(LeafCertificateError) -> DERValue? {
        nextTag == tag.rawValue ? try readAny() : nil
    }

    /// Checks that nothing is left.
    func finish() throws(LeafCertificateError) {
        guard isAtEnd else { throw .trailingBytes }
    }

    private mutating func readByte() throws(LeafCertificateError) -> UInt8 {
        guard position < end else { throw .truncated }
        defer { position += 1 }
        return bytes[position]
    }

    private mutating func readLength() throws(LeafCertificateError) -> Int {
        let first = try readByte()
        guard first >= 0x80 else { return Int(first) }
        // 0x80 itself announces the indefinite form of BER.
        switch first {
        case 0x81:
            let length = Int(try readByte())
            guard length >= 0x80 else { throw .lengthNotMinimal }
            return length
        case 0x82:
            let high = Int(try readByte())
            let length = high << 8 | Int(try readByte())
            guard length > 0xFF else { throw .lengthNotMinimal }
            return length
        case 0x83 where lengths == .ofLists:
            let high = Int(try readByte())
            let middle = Int(try readByte())
            let length = high << 16 | middle << 8 | Int(try readByte())
            guard length > 0xFFFF else { throw .lengthNotMinimal }
            return length
        case 0x83...0xFE: throw .truncated
        default: throw .lengthNotMinimal
        }
    }
}

/// The tags that certificates and revocation lists use (X.680 section 8.4; class and form included).
enum DERTag: UInt8 {
    case boolean = 0x01
    case integer = 0x02
    case bitString = 0x03
    case octetString = 0x04
    case objectIdentifier = 0x06
    case utcTime = 0x17
    case generalizedTime = 0x18
    case sequence = 0x30
    case set = 0x31
    /// `[0]`, primitive.
    case context0 = 0x80
    /// `[2]`, primitive.
    case context2 = 0x82
    /// `[0]`, constructed.
    case contextConstructed0 = 0xA0
    /// `[1]`, constructed.
    case contextConstructed1 = 0xA1
    /// `[3]`, constructed.
    case contextConstructed3 = 0xA3
}

/// One value found by `DERReader`.
struct DERValue {
    let bytes: [UInt8]
    let tag: UInt8
    let contents: Range<Int>
    /// Tag, length and contents.
    let encoding: Range<Int>

    var contentBytes: [UInt8] { Array(bytes[contents]) }

    var encodedBytes: [UInt8] { Array(bytes[encoding]) }

    /// The contents of a BOOLEAN (X.690 section 11.1).
    func boolean() throws(LeafCertificateError) -> Bool {
        guard contents.count == 1 else { throw .booleanMalformed }
        switch bytes[contents.lowerBound] {
        case 0x00: return false
        case 0xFF: return true
        default: throw .booleanMalformed
        }
    }

    /// Checks the contents of an INTEGER: not empty and as short as can be (X.690 section 8.3).
    func integerBytes() throws(LeafCertificateError) -> [UInt8] {
        let content = contentBytes
        guard let first = content.first else { throw .integerMalformed }
        if content.count > 1 {
            let second = content[1]
            if first == 0x00, second < 0x80 { throw .integerMalformed }
            if first == 0xFF, second >= 0x80 { throw .integerMalformed }
        }
        return content
    }

    /// The contents of an OBJECT IDENTIFIER, checked (X.690 section 8.19).
    func objectIdentifier() throws(LeafCertificateError) -> [UInt8] {
        let content = contentBytes
        guard let last = content.last, last < 0x80 else { throw .objectIdentifierMalformed }
        var startsArc = true
        for byte in content {
            if startsArc, byte == 0x80 { throw .objectIdentifierMalformed }
            startsArc = byte < 0x80
        }
        return content
    }

    /// The contents of a BIT STRING whose bits fill whole bytes, such as a key or a signature.
    func wholeBytesBitString() throws(LeafCertificateError) -> ArraySlice<UInt8> {
        guard let first = bytes[contents].first, first == 0 else { throw .bitStringMalformed }
        return bytes[contents].dropFirst()
    }

    /// The contents of a BIT STRING of named bits, which ends with a set bit
    /// (X.690 section 11.2.2).
    func namedBits() throws(LeafCertificateError) -> [UInt8] {
        guard let unused = bytes[contents].first, unused < 8 else { throw .bitStringMalformed }
        let bits = Array(bytes[contents].dropFirst())
        guard let last = bits.last else {
            guard unused == 0 else { throw .bitStringMalformed }
            return []
        }
        guard last.trailingZeroBitCount == Int(unused) else { throw .bitStringMalformed }
        return bits
    }

    /// The contents as text of 7-bit characters (IA5String).
    func ia5String() throws(LeafCertificateError) -> String {
        guard bytes[contents].allSatisfy({ $0 < 0x80 }) else { throw .nameNotIA5 }
        return String(decoding: bytes[contents], as: UTF8.self)
    }
}
