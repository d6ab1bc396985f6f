// SPDX-License-Identifier: Apache-2.0

internal import GRDB

/// Acts that others have to approve before they are done, and who has approved them.
///
/// Serial number, authority and node are those of the certificate that was shown; NULL for local
/// users of the server, and the node also where it is not on record. The same content of the same
/// actor is the same proposal; `more_nodes` are those from which he has made it again. What is asked
/// of all of them is beside the content, which is long and therefore last: `more_nodes`, `rights`,
/// `bound_ids` and `givers` are lists as JSON, NULL when they are empty.
enum Migration0018Proposals {
    static func apply(_ database: Database) throws {
        try database.execute(
            sql: """
                CREATE TABLE proposals (
                    id BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 8),
                    actor TEXT NOT NULL,
                    serial BLOB,
                    authority TEXT,
                    node TEXT,
                    more_nodes TEXT,
                    sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
                    made_at INTEGER NOT NULL,
                    ends_at INTEGER NOT NULL,
                    act TEXT NOT NULL,
                    subject TEXT NOT NULL,
                    change_count INTEGER NOT NULL,
                    rights TEXT,
                    bound_ids TEXT,
                    givers TEXT,
                    content BLOB NOT NULL,
                    UNIQUE (actor, sha256),
                    CHECK ((serial IS NULL) = (authority IS NULL)),
                    CHECK (node IS NULL OR serial IS NOT NULL)
                ) STRICT;

                CREATE TABLE approvals (
                    proposal BLOB NOT NULL REFERENCES proposals (id) ON DELETE CASCADE,
                    actor TEXT NOT NULL,
                    serial BLOB,
                    authority TEXT,
                    node TEXT,
                    approved_at INTEGER NOT NULL,
                    PRIMARY KEY (proposal, actor),
                    CHECK ((serial IS NULL) = (authority IS NULL)),
                    CHECK (node IS NULL OR serial IS NOT NULL)
                ) STRICT, WITHOUT ROWID;
                """
        )
    }
}
