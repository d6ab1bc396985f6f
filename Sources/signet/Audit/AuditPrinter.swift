// SPDX-License-Identifier: Apache-2.0

package import ControlAPIProtos
internal import Foundation

/// Audit records for people and programs.
package enum AuditPrinter {
    /// One line: the record with its index.
    package static func json(_ record: Signet_Admin_V1alpha1_AuditRecord) -> String {
        "{\"index\":\(record.index),\"record\":\(record.json)}"
    }

    /// A YAML list whose records are flow mappings.
    package static func yaml(_ records: [Signet_Admin_V1alpha1_AuditRecord]) -> String {
        records.map { "- index: \($0.index)\n  record: \($0.json)" }.joined(separator: "\n")
    }

    /// One row for each record.
    package static func table(_ records: [Signet_Admin_V1alpha1_AuditRecord]) -> Table {
        Table(
            empty: "no record matches",
            headings: ["INDEX", "TIME", "EVENT", "ACTOR", "WHAT"],
            rows: records.map { record in
                guard
                    let object = try? JSONSerialization.jsonObject(with: Data(record.json.utf8))
                        as? [String: Any]
                else { return [String(record.index), "-", "unreadable", "-", "-"] }
                let known: Set = ["v", "time", "event", "actor"]
                let rest = object.filter { !known.contains($0.key) }.sorted { $0.key < $1.key }
                let what = rest.map { "\($0.key)=\(Self.brief($0.value))" }.joined(separator: " ")
                return [
                    String(record.index), object["time"] as? String ?? "-",
                    object["event"] as? String ?? "-", object["actor"] as? String ?? "-",
                    what.count > 100 ? what.prefix(97) + "..." : what,
                ]
            }
        )
    }

    private static func brief(_ value: Any) -> String {
        switch value {
        case let list as [Any]:
            list.count == 1 ? brief(list[0]) : "[\(list.count)]"
        case let object as [String: Any]:
            "{"
                + object.sorted { $0.key < $1.key }.map { "\($0.key)=\(brief($0.value))" }
                .joined(separator: " ") + "}"
        default: "\(value)"
        }
    }
}
