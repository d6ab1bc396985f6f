// SPDX-License-Identifier: Apache-2.0

internal import SPIFFE
internal import GRDB
package import NodeSync

extension ReadTransaction {
    /// The sequence number of the bundle that the authorities make up (SPIFFE Trust Domain and
    /// Bundle section 4.1.1); 0 before the first publication.
    package func bundleSequenceNumber() throws(DatastoreError) -> UInt64 {
        let number = try first("SELECT sequence FROM bundle") { row in
            try row.number("sequence")
        }
        guard let number else { throw .corrupt("the row of the bundle is missing") }
        return number
    }
}

extension Transaction {
    /// Records that this transaction changes the set of authorities.
    ///
    /// The sequence number becomes the revision number, so it grows with each change, and only
    /// then.
    ///
    /// - Throws: `DatastoreError.notEstablished`.
    @discardableResult
    package func recordBundleChange() throws(DatastoreError) -> Revision {
        guard let identity = try identity() else { throw .notEstablished }
        let revision = try advanceRevision()
        try execute("UPDATE bundle SET sequence = ?", [revision.number.stored])
        try recordChange(
            ResourceKey(.bundle, identity.trustDomain.name),
            number: revision.number,
            isRemoval: false
        )
        return revision
    }
}
