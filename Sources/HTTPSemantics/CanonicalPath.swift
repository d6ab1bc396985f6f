// SPDX-License-Identifier: Apache-2.0

/// The one reading of a path and a query (docs/decisions/0007).
///
/// Programs differ in what they make of `//`, `/./`, `;x`, `%2e`, `%2f`, `\` or a letter that is
/// escaped without need: some join, cut or decode before they look up, others do not. A path with
/// any of it is refused. What is left can still be spelled in two ways, `:` or `%3A`; it is compared
/// in one `spelling` and forwarded as it came.
package enum CanonicalPath {
    /// Checks an origin-form path: begins with `/`, no query.
    ///
    /// - Returns: nil if there is one reading only.
    package static func refusal(_ head: Span<UInt8>, _ path: ByteRange) -> HTTPRefusal? {
        let end = Int(path.upper)
        var index = Int(path.lower)
        guard index < end, head[index] == UInt8(ascii: "/") else { return .target }
        var segment = index + 1
        index += 1
        while index < end {
            let byte = head[index]
            if byte == UInt8(ascii: "/") {
                if let refusal = segmentRefusal(head, segment..<index, isLast: false) {
                    return refusal
                }
                segment = index + 1
                index += 1
            } else if byte == UInt8(ascii: "%") {
                let count = plainEscape(head, at: index, end: end)
                guard count > 0 else { return .pathEscape }
                index += count
            } else if byte == UInt8(ascii: ";") {
                return .pathParameter
            } else {
                guard Octet.isPath(byte) else { return .pathByte }
                index += 1
            }
        }
        return segmentRefusal(head, segment..<end, isLast: true)
    }

    /// Checks a query, without its question mark.
    ///
    /// Nothing compares it, so only its bytes and escapes have to
    /// be those of a URI.
    ///
    /// - Returns: nil if they are.
    package static func queryRefusal(_ head: Span<UInt8>, _ query: ByteRange) -> HTTPRefusal? {
        let end = Int(query.upper)
        var index = Int(query.lower)
        while index < end {
            let byte = head[index]
            if byte == UInt8(ascii: "%") {
                guard index + 2 < end, Octet.hexDigit(head[index + 1]) != nil,
                    Octet.hexDigit(head[index + 2]) != nil
                else { return .queryByte }
                index += 3
            } else {
                // Programs send these as they are, and no server reads them as something else.
                guard Octet.isQuery(byte) || isTolerated(byte) else { return .queryByte }
                index += 1
            }
        }
        return nil
    }

    private static func isTolerated(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "["), UInt8(ascii: "]"), UInt8(ascii: "{"), UInt8(ascii: "}"),
            UInt8(ascii: "|"), UInt8(ascii: "^"), UInt8(ascii: "`"), UInt8(ascii: "\""):
            true
        default: false
        }
    }

    private static func segmentRefusal(
        _ head: Span<UInt8>,
        _ segment: Range<Int>,
        isLast: Bool
    ) -> HTTPRefusal? {
        // A slash at the end is a path of its own; two in a row are one for some.
        if segment.isEmpty { return isLast ? nil : .pathEmptySegment }
        guard segment.count <= 2, segment.allSatisfy({ head[$0] == UInt8(ascii: ".") }) else {
            return nil
        }
        return .pathDotSegment
    }

    /// The byte of the escape at `index`; nil if there is none.
    private static func escaped(_ head: Span<UInt8>, at index: Int, end: Int) -> UInt8? {
        guard index + 2 < end, head[index] == UInt8(ascii: "%"),
            let high = Octet.hexDigit(head[index + 1]), let low = Octet.hexDigit(head[index + 2])
        else { return nil }
        return high << 4 | low
    }

    /// How many bytes the escapes of one character at `index` have; 0 if they are incomplete or
    /// decode to what has a second reading.
    private static func plainEscape(_ head: Span<UInt8>, at index: Int, end: Int) -> Int {
        guard let byte = escaped(head, at: index, end: end) else { return 0 }
        guard byte < 0x80 else { return character(head, at: index, end: end, first: byte) }
        let next = index + 3
        switch byte {
        case 0..<0x20, 0x7F: return 0
        // What is put back into a URI after decoding would be cut there.
        case UInt8(ascii: "/"), UInt8(ascii: "\\"), UInt8(ascii: ";"), UInt8(ascii: "?"),
            UInt8(ascii: "#"):
            return 0
        case UInt8(ascii: "%"):
            // Decoded twice it would be another byte.
            guard next + 1 < end, Octet.hexDigit(head[next]) != nil,
                Octet.hexDigit(head[next + 1]) != nil
            else { return 3 }
            return 0
        default: return Octet.isUnreserved(byte) ? 0 : 3
        }
    }

    /// How many bytes the escapes of a character beyond ASCII have; 0 unless they are UTF-8 in its
    /// one form (RFC 3629 section 4): decoders make different things of the rest.
    private static func character(
        _ head: Span<UInt8>,
        at index: Int,
        end: Int,
        first: UInt8
    ) -> Int {
        let (count, second): (Int, ClosedRange<UInt8>)
        switch first {
        case 0xC2...0xDF: (count, second) = (2, 0x80...0xBF)
        case 0xE0: (count, second) = (3, 0xA0...0xBF)
        case 0xE1...0xEC, 0xEE, 0xEF: (count, second) = (3, 0x80...0xBF)
        case 0xED: (count, second) = (3, 0x80...0x9F)
        case 0xF0: (count, second) = (4, 0x90...0xBF)
        case 0xF1...0xF3: (count, second) = (4, 0x80...0xBF)
        case 0xF4: (count, second) = (4, 0x80...0x8F)
        default: return 0
        }
        for place in 1..<count {
            guard let byte = escaped(head, at: index + 3 * place, end: end),
                (place == 1 ? second : 0x80...0xBF).contains(byte)
            else { return 0 }
        }
        return 3 * count
    }

    /// The spelling in which a path is compared.
    ///
    /// - Parameters:
    ///   - head: What it stands in.
    ///   - path: One that `refusal` lets through.
    /// - Returns: The path with escapes of bytes that may stand for themselves resolved, and capital
    ///   digits in the others.
    package static func spelling(_ head: Span<UInt8>, _ path: ByteRange) -> [UInt8] {
        let end = Int(path.upper)
        var index = Int(path.lower)
        var result: [UInt8] = []
        result.reserveCapacity(path.count)
        while index < end {
            switch escape(head, at: index, end: end) {
            case nil:
                result.append(head[index])
                index += 1
            case .resolved(let byte):
                result.append(byte)
                index += 3
            case .kept(let high, let low):
                result += [UInt8(ascii: "%"), high, low]
                index += 3
            }
        }
        return result
    }

    /// How the three bytes of an escape are spelled.
    package enum EscapeSpelling: Hashable, Sendable, BitwiseCopyable {
        /// As the byte that may stand for itself.
        case resolved(UInt8)
        /// As `%` and these digits.
        case kept(UInt8, UInt8)
    }

    /// How the escape at `index` is spelled, so that a path can be compared without a copy.
    ///
    /// - Returns: nil if no escape is there: the byte stands for itself.
    package static func escape(
        _ head: Span<UInt8>,
        at index: Int,
        end: Int
    ) -> EscapeSpelling? {
        guard let byte = escaped(head, at: index, end: end) else { return nil }
        if Octet.isPath(byte) { return .resolved(byte) }
        return .kept(capital(head[index + 1]), capital(head[index + 2]))
    }

    private static func capital(_ digit: UInt8) -> UInt8 {
        digit >= UInt8(ascii: "a") ? digit - 0x20 : digit
    }
}
