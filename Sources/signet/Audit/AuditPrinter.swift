// SPDX-License-Identifier: Apache-2.0

package import ControlAPIProtos
internal import Foundation

/// Audit records for people and programs.
package enum AuditPrinter {
    /// What a line of a terminal takes beside the other columns; into a pipe nothing is cut.
    private static let whatCharactersMax = 100
    /// A hash is recognised by its beginning; `-o json` has it whole.
    private static let hashCharactersMax = 12
    /// Elements of a list that are named; the others are counted.
    private static let elementsMax = 3
    /// Fields that stand first, because a reader looks for them.
    private static let first = [
        "subject", "reason", "namespace", "svids", "documents", "agent", "what",
    ]
    /// Fields with columns of their own.
    private static let columns: Set = ["v", "time", "event", "actor"]
    /// Fields of base64 that tell a reader nothing; `-o json` has them.
    private static let leftOut: Set = ["certificate", "tokenKey"]

    /// One line: the record with its index.
    package static func json(_ record: Signet_Admin_V1alpha1_AuditRecord) -> String {
        "{\"index\":\(record.index),\"record\":\(record.json)}"
    }

    /// A YAML list whose records are flow mappings.
    package static func yaml(_ records: [Signet_Admin_V1alpha1_AuditRecord]) -> String {
        records.map { "- index: \($0.index)\n  record: \($0.json)" }.joined(separator: "\n")
    }

    /// One record on a line of its own.
    ///
    /// - Parameters:
    ///   - record: The record.
    ///   - isCut: Whether what does not fit into a line of a terminal is left out.
    /// - Returns: The line.
    package static func line(
        _ record: Signet_Admin_V1alpha1_AuditRecord,
        isCut: Bool = Terminal.isOutputWatched
    ) -> String {
        row(record, isCut).map(Terminal.printable).joined(separator: "  ")
    }

    /// One row for each record.
    ///
    /// - Parameters:
    ///   - records: The records.
    ///   - isCut: Whether what does not fit into a line of a terminal is left out.
    /// - Returns: The table.
    package static func table(
        _ records: [Signet_Admin_V1alpha1_AuditRecord],
        isCut: Bool = Terminal.isOutputWatched
    ) -> Table {
        Table(
            empty: "no record matches",
            headings: ["INDEX", "TIME", "EVENT", "ACTOR", "WHAT"],
            rows: records.map { row($0, isCut) }
        )
    }

    private static func row(
        _ record: Signet_Admin_V1alpha1_AuditRecord,
        _ isCut: Bool
    ) -> [String] {
        guard
            let object = try? JSONSerialization.jsonObject(with: Data(record.json.utf8))
                as? [String: Any]
        else { return [String(record.index), "-", "unreadable", "-", "-"] }
        let what = what(object)
        return [
            String(record.index), object["time"] as? String ?? "-",
            object["event"] as? String ?? "-", object["actor"] as? String ?? "-",
            isCut && what.count > whatCharactersMax
                ? what.prefix(whatCharactersMax - 3) + "..." : what,
        ]
    }

    /// The fields of one event, the telling ones first, empty ones left out.
    private static func what(_ record: [String: Any]) -> String {
        let aside = columns.union(leftOut).union(first)
        let names = record.keys.filter { !aside.contains($0) }.sorted()
        return (first + names).compactMap { name in
            guard let value = record[name] else { return nil }
            // Of an agent's own act it is in a column.
            let isSaid = record["svids"] != nil || value as? String == record["actor"] as? String
            guard name != "agent" || !isSaid else { return nil }
            let text = brief(value)
            return text.isEmpty ? nil : "\(name)=\(text)"
        }
        .joined(separator: " ")
    }

    private static func brief(_ value: Any) -> String {
        switch value {
        case let list as [Any]:
            let named = list.prefix(elementsMax).map(brief).joined(separator: ",")
            let rest = list.count - elementsMax
            return rest > 0 ? "\(named) and \(rest) more" : named
        case let object as [String: Any]:
            if let id = object["spiffeID"] as? String { return id }
            if let kind = object["kind"] as? String, let name = object["name"] as? String {
                let verb = (object["verb"] as? String).map { "\($0) " } ?? ""
                let namespace = (object["namespace"] as? String).map { "\($0)/" } ?? ""
                return "\(verb)\(kind)/\(namespace)\(name)"
            }
            let fields = object.sorted { $0.key < $1.key }.map { "\($0.key)=\(brief($0.value))" }
            return "{\(fields.joined(separator: " "))}"
        case let text as String:
            let isHash = text.count >= 32 && text.allSatisfy(\.isHexDigit)
            return isHash ? "\(text.prefix(hashCharactersMax)).." : text
        default: return "\(value)"
        }
    }
}
