// SPDX-License-Identifier: Apache-2.0

package import ControlAPIProtos

/// The versions of one document for programs: what the table has, and the document.
package enum HistoryPrinter {
    /// A version without its document.
    private struct Head: Encodable {
        var version: UInt64
        var revision: UInt64
        var updatedAt: String
        var state: String
        var by: String

        init(_ version: Signet_Admin_V1alpha1_StoredDocument) {
            self.version = version.resourceVersion
            revision = version.revision
            updatedAt = Terminal.time(unixMilliseconds: version.updatedAtUnixMilliseconds)
            state = HistoryPrinter.state(version)
            by = version.updatedBy
        }
    }

    /// Whether the document was there in this version.
    static func state(_ version: Signet_Admin_V1alpha1_StoredDocument) -> String {
        version.deleted ? "deleted" : "present"
    }

    /// A JSON array; the document of a version that deleted it is null.
    package static func json(
        _ versions: [Signet_Admin_V1alpha1_StoredDocument]
    ) throws -> String {
        let objects = try versions.map { version in
            // The server's own text goes in as it is, so that no number and no order changes.
            let document = version.json.isEmpty ? "null" : version.json
            let head = String(try OutputOptions.jsonLine(Head(version)).dropLast())
            return "\(head),\"document\":\(document)}"
        }
        return "[" + objects.joined(separator: ",\n") + "]"
    }

    /// The same as a YAML list.
    package static func yaml(
        _ versions: [Signet_Admin_V1alpha1_StoredDocument]
    ) throws -> String {
        guard !versions.isEmpty else { return "[]" }
        let items = try versions.map { version in
            let head = Head(version)
            // Text in quotes, as JSON has it, is the same text in YAML.
            let updatedAt = try OutputOptions.jsonLine(head.updatedAt)
            let by = try OutputOptions.jsonLine(head.by)
            let lines = [
                "- version: \(head.version)", "  revision: \(head.revision)",
                "  updatedAt: \(updatedAt)", "  state: \(head.state)", "  by: \(by)",
            ]
            return (lines + document(version)).joined(separator: "\n")
        }
        return items.joined(separator: "\n")
    }

    private static func document(_ version: Signet_Admin_V1alpha1_StoredDocument) -> [String] {
        guard !version.yaml.isEmpty else {
            return ["  document: \(version.json.isEmpty ? "null" : version.json)"]
        }
        return ["  document:"] + version.yaml.split(separator: "\n").map { "    \($0)" }
    }
}
