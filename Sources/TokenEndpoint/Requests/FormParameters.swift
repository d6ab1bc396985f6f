// SPDX-License-Identifier: Apache-2.0

/// The parameters of a form (`application/x-www-form-urlencoded`), read strictly.
///
/// What has two readings is refused: a name that comes twice (RFC 6749 section 3.2), a second `=` or
/// a `;` that is not escaped, bytes that are no UTF-8 or control something.
package struct FormParameters: Hashable, Sendable {
    /// Most parameters: the RFCs of the two requests name fourteen.
    package static let countMax = 32

    /// By name; a parameter without value is as if it were not there (RFC 6749 section 3.2).
    private let values: [String: String]

    /// Reads a form.
    ///
    /// - Parameter bytes: All of it.
    /// - Throws: `FormError`, which quotes nothing of the form.
    package init(parsing bytes: [UInt8]) throws(FormError) {
        var values: [String: String] = [:]
        var seen: Set<String> = []
        let pieces =
            bytes.isEmpty
            ? [] : bytes.split(separator: UInt8(ascii: "&"), omittingEmptySubsequences: false)
        guard pieces.count <= Self.countMax else { throw .tooMany }
        for piece in pieces {
            let sides = piece.split(
                separator: UInt8(ascii: "="),
                omittingEmptySubsequences: false
            )
            guard sides.count == 2 else { throw .malformed }
            let name = try Self.text(sides[0])
            guard !name.isEmpty else { throw .malformed }
            // Byte by byte: Swift's own comparison calls texts equal that others do not, and names
            // of ours are ASCII.
            guard name.utf8.allSatisfy({ $0 < 0x80 }) else { throw .malformed }
            guard seen.insert(name).inserted else { throw .repeated }
            let value = try Self.text(sides[1])
            if !value.isEmpty { values[name] = value }
        }
        self.values = values
    }

    /// The value of a parameter; nil if it is missing or empty.
    package subscript(name: String) -> String? { values[name] }

    /// The names of the parameters that have a value.
    package var names: Set<String> { Set(values.keys) }

    /// One side of a parameter, without its escapes.
    private static func text(_ side: ArraySlice<UInt8>) throws(FormError) -> String {
        var decoded: [UInt8] = []
        decoded.reserveCapacity(side.count)
        var index = side.startIndex
        while index < side.endIndex {
            switch side[index] {
            case UInt8(ascii: "%"):
                guard side.endIndex - index > 2, let high = digit(side[index + 1]),
                    let low = digit(side[index + 2])
                else { throw .escape }
                decoded.append(high << 4 | low)
                index += 3
                continue
            case UInt8(ascii: "+"): decoded.append(UInt8(ascii: " "))
            case let byte where isPlain(byte): decoded.append(byte)
            default: throw .malformed
            }
            index += 1
        }
        guard decoded.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else { throw .control }
        guard let text = String(validating: decoded, as: UTF8.self) else { throw .notUTF8 }
        return text
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        default: nil
        }
    }

    /// What may stand in a query (RFC 3986 section 3.4) but for what parts parameters somewhere.
    private static func isPlain(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: "-._~!$'()*,:@/?".utf8.contains(byte)
        }
    }
}

/// Why a form is not read; nothing of it is in it.
package enum FormError: Error, Hashable, Sendable, CustomStringConvertible {
    case control
    case escape
    case malformed
    case notUTF8
    case repeated
    case tooMany

    package var description: String {
        switch self {
        case .control: "a parameter has control characters"
        case .escape: "a percent sign is not followed by two hexadecimal digits"
        case .malformed:
            "the body is not name=value&name=value with everything else escaped; use curl "
                + "--data-urlencode"
        case .notUTF8: "a parameter is not UTF-8"
        case .repeated: "a parameter comes twice"
        case .tooMany: "the body has more than \(FormParameters.countMax) parameters"
        }
    }
}
