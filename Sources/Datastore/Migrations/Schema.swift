// SPDX-License-Identifier: Apache-2.0

internal import GRDB

/// The schema as the sum of its migrations.
///
/// A published migration is never edited; a change of the schema is a new file and a new line at
/// the end of the list.
package enum Schema {
    /// "SGNT", by which file(1) and this code know the file (SQLite file format 1.3.17).
    static let applicationID: Int32 = 0x5347_4E54

    struct Migration: Sendable {
        let name: String
        let apply: @Sendable (Database) throws -> Void
    }

    static let migrations = [
        Migration(name: "0001-identity", apply: Migration0001Identity.apply),
        Migration(name: "0002-documents", apply: Migration0002Documents.apply),
        Migration(name: "0003-entries", apply: Migration0003Entries.apply),
        Migration(name: "0004-nodes", apply: Migration0004Nodes.apply),
        Migration(name: "0005-issuance", apply: Migration0005Issuance.apply),
        Migration(name: "0006-audit", apply: Migration0006Audit.apply),
        Migration(name: "0007-lookups", apply: Migration0007Lookups.apply),
        Migration(name: "0008-node-scope", apply: Migration0008NodeScope.apply),
        Migration(name: "0009-withdrawn-keys", apply: Migration0009WithdrawnKeys.apply),
        Migration(name: "0010-data-path", apply: Migration0010DataPath.apply),
        Migration(name: "0011-authority-life", apply: Migration0011AuthorityLife.apply),
        Migration(
            name: "0012-revoked-certificates",
            apply: Migration0012RevokedCertificates.apply
        ),
        Migration(name: "0013-token-keys", apply: Migration0013TokenKeys.apply),
        Migration(name: "0014-revocation-lists", apply: Migration0014RevocationLists.apply),
        Migration(name: "0015-federated-bundles", apply: Migration0015FederatedBundles.apply),
        Migration(name: "0016-delegation", apply: Migration0016Delegation.apply),
        Migration(name: "0017-recheck", apply: Migration0017Recheck.apply),
        Migration(name: "0018-proposals", apply: Migration0018Proposals.apply),
        Migration(name: "0020-log-origin", apply: Migration0020LogOrigin.apply),
        Migration(name: "0021-upstreams", apply: Migration0021Upstreams.apply),
        Migration(
            name: "0022-upstream-revocations",
            apply: Migration0022UpstreamRevocations.apply
        ),
        Migration(name: "0023-downstream", apply: Migration0023Downstream.apply),
    ]

    static let migrator = migrator(upTo: migrations.count)

    /// How many versions of the schema there were.
    package static var versionCount: Int { migrations.count }

    /// Creates a file as the release with the first `version` migrations left it, to prove that
    /// today's code opens it.
    package static func create(path: String, version: Int) throws(DatastoreError) {
        do {
            let queue = try DatabaseQueue(path: path)
            try migrator(upTo: version).migrate(queue)
            try queue.close()
        } catch {
            throw DatastoreError(error)
        }
    }

    static func migrator(upTo version: Int) -> DatabaseMigrator {
        var migrator = DatabaseMigrator()
        for migration in migrations.prefix(version) {
            migrator.registerMigration(migration.name, foreignKeyChecks: .immediate) {
                try migration.apply($0)
            }
        }
        return migrator
    }
}
