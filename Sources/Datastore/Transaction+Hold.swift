// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
internal import GRDB
package import SPIFFE

/// Why a server signs nothing.
package enum HoldReason: String, Sendable {
    /// Somebody has to look at what may be missing.
    case restored
    /// It was set back without a restore, and only a restore leads on.
    case rollbackProved
}

/// That a server was restored, or set back, and signs nothing until somebody has looked at what may
/// be missing (docs/decisions/0022-backup-and-restore.md, "Held").
package struct HoldRecord: Hashable, Sendable {
    /// The name of the log that was brought forward.
    package let logOrigin: String
    /// How many records it had.
    package let logSize: UInt64
    /// The time of the last one, after which nothing is known; nil: records before it are missing
    /// too, from a moment on that nobody knows.
    package let lastRecordAt: Date?
    package let restoredAt: Date
    package let reason: HoldReason

    package init(
        logOrigin: String,
        logSize: UInt64,
        lastRecordAt: Date?,
        restoredAt: Date,
        reason: HoldReason = .restored
    ) {
        self.logOrigin = logOrigin
        self.logSize = logSize
        self.lastRecordAt = lastRecordAt
        self.restoredAt = restoredAt
        self.reason = reason
    }
}

/// What a document became last on record.
package struct HeldDocument: Hashable, Sendable {
    package let key: DocumentKey
    /// SHA-256 of its canonical JSON; nil: it was deleted.
    package let sha256: [UInt8]?

    package init(key: DocumentKey, sha256: [UInt8]?) {
        self.key = key
        self.sha256 = sha256
    }
}

/// Of what the log alone knew.
package enum HeldKind: String, Sendable {
    case authority
    case node
}

extension ReadTransaction {
    /// The hold; nil of a server that was not restored, or has been recovered.
    package func hold() throws(DatastoreError) -> HoldRecord? {
        try first("SELECT * FROM hold") { row throws(DatastoreError) in
            let word = try row.value("reason", as: String.self)
            guard let reason = HoldReason(rawValue: word) else {
                throw .corrupt("the server is held for \"\(word)\"")
            }
            return HoldRecord(
                logOrigin: try row.value("log_origin"),
                logSize: try row.number("log_size"),
                lastRecordAt: try row.optionalDate("last_record_at"),
                restoredAt: try row.date("restored_at"),
                reason: reason
            )
        }
    }

    /// The documents that changed since the backup, in order of their keys.
    package func heldDocuments() throws(DatastoreError) -> [HeldDocument] {
        try all(
            "SELECT * FROM hold_documents ORDER BY api_group, kind, namespace, name"
        ) { row in
            HeldDocument(
                key: DocumentKey(
                    group: try row.value("api_group"),
                    kind: try row.value("kind"),
                    namespace: try row.value("namespace"),
                    name: try row.value("name")
                ),
                sha256: try row.optionalBytes("sha256")
            )
        }
    }

    /// What the log alone knew of a kind, sorted: IDs of authorities, names of nodes.
    package func heldNames(_ kind: HeldKind) throws(DatastoreError) -> [String] {
        try all("SELECT name FROM hold_names WHERE kind = ? ORDER BY name", [kind.rawValue]) {
            row in
            try row.value("name")
        }
    }
}

extension Transaction {
    /// Holds the server.
    ///
    /// - Throws: `DatastoreError.constraint` when it is held already.
    package func put(
        _ hold: HoldRecord,
        documents: [HeldDocument],
        authorities: Set<String>,
        nodes: Set<String>
    ) throws(DatastoreError) {
        try execute(
            """
            INSERT INTO hold (id, log_origin, log_size, last_record_at, restored_at, reason)
            VALUES (1, ?, ?, ?, ?, ?)
            """,
            [
                hold.logOrigin, hold.logSize.stored, hold.lastRecordAt?.storedMilliseconds,
                hold.restoredAt.storedMilliseconds, hold.reason.rawValue,
            ]
        )
        for document in documents {
            try execute(
                """
                INSERT INTO hold_documents (api_group, kind, namespace, name, sha256)
                VALUES (?, ?, ?, ?, ?)
                """,
                [
                    document.key.group, document.key.kind, document.key.namespace,
                    document.key.name, document.sha256?.stored,
                ]
            )
        }
        let names = [(HeldKind.authority, authorities), (.node, nodes)]
        for (kind, names) in names {
            for name in names.sorted() {
                try execute(
                    "INSERT INTO hold_names (kind, name) VALUES (?, ?)",
                    [kind.rawValue, name]
                )
            }
        }
    }

    /// Ends the hold.
    package func endHold() throws(DatastoreError) {
        try execute("DELETE FROM hold")
        try execute("DELETE FROM hold_documents")
        try execute("DELETE FROM hold_names")
    }
}
