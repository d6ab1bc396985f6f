// SPDX-License-Identifier: Apache-2.0

/// Selectors of type `unix`, which the agent gives to workloads (docs/attestation.md).
///
/// They are a closed set, so a slip is told here: stored, it would only never match. Other types
/// belong to others and stay free; where they are asked of a process that is warned of.
enum UnixSelector {
    static let type = "unix"

    private enum Kind: String, CaseIterable {
        case gid
        case group
        case path
        case sha256
        case supplementaryGID = "supplementary_gid"
        case supplementaryGroup = "supplementary_group"
        case uid
        case user
    }

    /// What may stand after `unix:`.
    static let kinds = Kind.allCases.map(\.rawValue)

    /// What is wrong with a value such as `uid:1000`; nil when nothing is.
    static func problem(in value: String) -> (what: String, remedy: String)? {
        let parts = value.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            .map(String.init)
        guard let kind = Kind(rawValue: parts[0]) else {
            return (
                "there is no selector unix:\(DocumentParser.shown(parts[0]))",
                Suggestion.remedy(for: parts[0], among: kinds)
            )
        }
        let start = "unix:\(kind.rawValue):"
        let text = parts.count == 2 ? parts[1] : ""
        switch kind {
        case .gid, .supplementaryGID, .uid:
            // As the agent writes it: decimal, without sign and leading zero.
            guard let number = UInt32(text), "\(number)" == text else {
                let named =
                    switch kind {
                    case .uid: "user"
                    case .gid: "group"
                    default: "supplementary_group"
                    }
                return (
                    "the value of \(start) is not a number",
                    "write a number such as \(start)1000, or unix:\(named): with a name"
                )
            }
        case .group, .supplementaryGroup, .user:
            guard !text.isEmpty else {
                return ("\(start) has no name", "write a name after the colon")
            }
        case .path:
            guard text.hasPrefix("/") else {
                return (
                    "the value of \(start) is not an absolute path",
                    "write the whole path, such as unix:path:/usr/bin/web"
                )
            }
        case .sha256:
            guard text.utf8.count == 64, text.utf8.allSatisfy(isLowerHexDigit) else {
                return (
                    "the value of \(start) is not a SHA-256 in hexadecimal",
                    "write 64 digits 0-9 and a-f in lower case, as sha256sum does"
                )
            }
        }
        return nil
    }

    private static func isLowerHexDigit(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"): true
        default: false
        }
    }
}
