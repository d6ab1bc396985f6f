// SPDX-License-Identifier: Apache-2.0

internal import GRDB

/// Indexes for what is asked of a namespace and of a node's name as a whole.
enum Migration0007Lookups {
    static func apply(_ database: Database) throws {
        try database.execute(
            sql: """
                CREATE INDEX documents_by_namespace ON documents (namespace);
                CREATE INDEX join_tokens_by_name ON join_tokens (name);
                """
        )
    }
}
