// SPDX-License-Identifier: Apache-2.0

/// A DNS name that may stand in a certificate: letters, digits and hyphens in labels of 1 to 63
/// bytes, at most 253 bytes, at least one letter in the last label (RFC 1123 section 2.1).
///
/// No wildcard and no trailing dot: an SVID names one workload, and two spellings of one name would
/// make two certificates of it. Upper case is refused, not folded.
enum DNSName {
    /// Longest name in bytes (RFC 1035 section 2.3.4, without the length bytes).
    static let bytesMax = 253
    /// Longest label in bytes (RFC 1035 section 2.3.4).
    static let labelBytesMax = 63

    static func isWellFormed(_ name: String) -> Bool {
        let bytes = name.utf8
        guard !bytes.isEmpty, bytes.count <= bytesMax else { return false }
        let labels = bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard labels.allSatisfy(isLabel), let last = labels.last else { return false }
        // A last label of digits only would read as an IPv4 address.
        return last.contains { !isDigit($0) }
    }

    private static func isLabel(_ label: Substring.UTF8View) -> Bool {
        guard (1...labelBytesMax).contains(label.count),
            label.first != UInt8(ascii: "-"), label.last != UInt8(ascii: "-")
        else { return false }
        return label.allSatisfy {
            isDigit($0) || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0)
                || $0 == UInt8(ascii: "-")
        }
    }

    private static func isDigit(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
    }
}
