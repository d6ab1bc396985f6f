// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import StrictYAML

/// Limits of metadata.
enum MetadataLimits {
    /// A name is a DNS name in form (RFC 1123), so that it can stand in one.
    static let nameBytesMax = 253
    /// A namespace is one DNS label.
    static let namespaceBytesMax = 63
    /// Labels are sent to agents and matched by policies.
    static let labelsMax = 64
    /// Room for a DNS prefix and a word.
    static let labelKeyBytesMax = 128
    /// A label is a word to match, not a text.
    static let labelValueBytesMax = 128
    /// With the next limit, a quarter of a mebibyte at most.
    static let annotationsMax = 64
    /// Annotations are for people and tools; bigger things have a place of their own.
    static let annotationBytesMax = 4096
    /// The longest mail address has 254 bytes (RFC 5321 section 4.5.3.1.3).
    static let ownerBytesMax = 256
    /// A paragraph; it is shown in lists and stands in the audit log.
    static let reasonBytesMax = 1024
    /// A UUID has 36 bytes.
    static let uidBytesMax = 64
}

extension DocumentParser {
    mutating func metadata(_ node: YAMLNode, of kind: DocumentKind) -> DocumentMetadata? {
        guard var fields = fields(of: node, path: "metadata") else { return nil }
        let name = required("name", of: &fields).flatMap { self.name($0, path: "metadata.name") }
        let namespace = namespace(fields.take("namespace"), of: kind)
        let labels = fields.take("labels").flatMap {
            self.labels($0, path: "metadata.labels")
        }
        let annotations = fields.take("annotations").flatMap { self.annotations($0) }
        let owner = fields.take("owner").flatMap {
            prose($0, path: "metadata.owner", bytesMax: MetadataLimits.ownerBytesMax)
        }
        let reason = fields.take("reason").flatMap {
            prose($0, path: "metadata.reason", bytesMax: MetadataLimits.reasonBytesMax)
        }
        let expires = expires(fields.take("expires"), of: kind)
        let uid = fields.take("uid").flatMap { self.uid($0) }
        let version = fields.take("resourceVersion").flatMap {
            number($0, path: "metadata.resourceVersion")
        }
        // What `get` shows may be applied again; these two are the server's, so they are read and
        // left out.
        _ = fields.take("creationTimestamp").flatMap {
            timestamp($0, path: "metadata.creationTimestamp")
        }
        _ = fields.take("revision").flatMap { number($0, path: "metadata.revision") }
        refuseUnknown(in: fields)
        guard let name, let namespace else { return nil }
        return DocumentMetadata(
            name: name,
            namespace: namespace,
            labels: labels ?? [:],
            annotations: annotations ?? [:],
            owner: owner,
            reason: reason,
            expires: expires,
            uid: uid,
            resourceVersion: version
        )
    }

    /// Reads a name of the form of a DNS name: labels of `[a-z0-9-]` joined by dots.
    mutating func name(_ node: YAMLNode, path: String) -> String? {
        guard let text = string(node, path: path, bytesMax: MetadataLimits.nameBytesMax) else {
            return nil
        }
        guard DNSName.isSubdomain(text) else {
            report(
                node.position,
                "\(path): \"\(Self.shown(text))\" is not a name",
                "write lower-case letters, digits, \"-\" and \".\", for example web-1"
            )
            return nil
        }
        return text
    }

    /// Reads a namespace: one DNS label.
    mutating func namespaceName(_ node: YAMLNode, path: String) -> String? {
        guard let text = string(node, path: path, bytesMax: MetadataLimits.namespaceBytesMax)
        else { return nil }
        guard DNSName.isLabel(text) else {
            report(
                node.position,
                "\(path): \"\(Self.shown(text))\" is not the name of a namespace",
                "write lower-case letters, digits and \"-\", for example team-a"
            )
            return nil
        }
        return text
    }

    private mutating func namespace(_ node: YAMLNode?, of kind: DocumentKind) -> String? {
        guard let node else {
            return kind.isNamespaced ? DocumentMetadata.defaultNamespace : ""
        }
        guard kind.isNamespaced else {
            report(
                node.position,
                "a \(kind.rawValue) belongs to the whole cluster, not to a namespace",
                "remove metadata.namespace"
            )
            return nil
        }
        return namespaceName(node, path: "metadata.namespace")
    }

    private mutating func uid(_ node: YAMLNode) -> String? {
        let path = "metadata.uid"
        guard let text = string(node, path: path, bytesMax: MetadataLimits.uidBytesMax) else {
            return nil
        }
        guard text.utf8.allSatisfy(DNSName.isLetterDigitOrHyphen) else {
            report(node.position, "\(path) is malformed", "remove it, or copy it from signet get")
            return nil
        }
        return text
    }

    mutating func labels(_ node: YAMLNode, path: String) -> [String: String]? {
        entries(node, path: path, max: MetadataLimits.labelsMax) {
            parser,
            node,
            path in
            guard
                let text = parser.string(
                    node,
                    path: path,
                    bytesMax: MetadataLimits.labelValueBytesMax
                )
            else { return nil }
            guard LabelText.isValue(text) else {
                parser.report(
                    node.position,
                    "\(path): \"\(Self.shown(text))\" is not a label value",
                    "write letters, digits, \".\", \"-\" and \"_\", with a letter or digit at "
                        + "both ends; other text belongs in annotations"
                )
                return nil
            }
            return text
        }
    }

    private mutating func annotations(_ node: YAMLNode) -> [String: String]? {
        entries(node, path: "metadata.annotations", max: MetadataLimits.annotationsMax) {
            $0.string($1, path: $2, bytesMax: MetadataLimits.annotationBytesMax)
        }
    }

    private mutating func entries(
        _ node: YAMLNode,
        path: String,
        max: Int,
        value read: (inout Self, YAMLNode, String) -> String?
    ) -> [String: String]? {
        guard case .mapping(let pairs) = node.content, !pairs.isEmpty else {
            reportType(of: node, path: path, expected: "a mapping with at least one key")
            return nil
        }
        guard pairs.count <= max else {
            report(
                node.position,
                "\(path) has \(pairs.count) keys, more than the \(max) allowed",
                "remove some"
            )
            return nil
        }
        var result: [String: String] = [:]
        for pair in pairs {
            guard LabelText.isKey(pair.key) else {
                report(
                    pair.keyPosition,
                    "\(path): \"\(Self.shown(pair.key))\" is not a key",
                    "write at most \(MetadataLimits.labelKeyBytesMax) letters, digits, \".\", "
                        + "\"-\", \"_\" and \"/\", with a letter or digit at both ends"
                )
                continue
            }
            result[pair.key] = read(&self, pair.value, "\(path).\(pair.key)")
        }
        return result.count == pairs.count ? result : nil
    }

    private mutating func expires(_ node: YAMLNode?, of kind: DocumentKind) -> Date? {
        guard let node else { return nil }
        guard kind.isGrant else {
            let grants = DocumentKind.allCases.filter(\.isGrant).map(\.rawValue)
            let most = grants.dropLast().joined(separator: ", ")
            report(
                node.position,
                "\(kind.article) \(kind.rawValue) does not expire; only \(most) and "
                    + "\(grants.suffix(1).joined()) do",
                "remove metadata.expires"
            )
            return nil
        }
        return timestamp(node, path: "metadata.expires")
    }

    mutating func timestamp(_ node: YAMLNode, path: String) -> Date? {
        // A timestamp is the one thing that YAML reads as a date and that is meant as one.
        guard case .scalar(let text, _) = node.content, let date = Timestamp.date(parsing: text)
        else {
            reportType(of: node, path: path, expected: "a time such as 2027-01-31T00:00:00Z")
            return nil
        }
        return date
    }
}

/// The texts that labels are made of.
enum LabelText {
    static func isKey(_ text: String) -> Bool {
        text.utf8.count <= MetadataLimits.labelKeyBytesMax && hasAllowedEnds(text)
            && text.utf8.allSatisfy { allows($0) || $0 == UInt8(ascii: "/") }
    }

    static func isValue(_ text: String) -> Bool {
        hasAllowedEnds(text) && text.utf8.allSatisfy(allows)
    }

    private static func hasAllowedEnds(_ text: String) -> Bool {
        guard let first = text.utf8.first, let last = text.utf8.last else { return false }
        return isAlphanumeric(first) && isAlphanumeric(last)
    }

    private static func allows(_ byte: UInt8) -> Bool {
        isAlphanumeric(byte) || byte == UInt8(ascii: ".") || byte == UInt8(ascii: "-")
            || byte == UInt8(ascii: "_")
    }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: false
        }
    }
}
