// SPDX-License-Identifier: Apache-2.0

/// What a subscriber keeps on disk to serve after a restart without its publisher.
///
/// All or nothing: if any part of it is damaged (each file carries its length and SHA-256), the
/// shell restores nothing; the same if a revocation in it cannot be decoded. So no entry is served without the revocations that belong to it.
package struct PersistedSync: Hashable, Sendable {
    package let revision: Revision
    /// The last good state of each resource.
    package let resources: [ResourceKey: [UInt8]]
    /// Resources whose newest state could not be taken.
    ///
    /// They are asked for again after a restart, because the software may have been replaced by one
    /// that understands them.
    package let refused: Set<ResourceKey>
    /// Revocations of an earlier epoch that the current one does not know; never undone by it.
    package let retained: Set<ResourceKey>

    package init(
        revision: Revision,
        resources: [ResourceKey: [UInt8]],
        refused: Set<ResourceKey> = [],
        retained: Set<ResourceKey> = []
    ) {
        self.revision = revision
        self.resources = resources
        self.refused = refused
        self.retained = retained
    }
}
