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
    /// What the agent said it understands when all of this was told to it: who understands more
    /// lacks what he was not told.
    package let capabilities: Set<String>
    /// The epochs that were followed by others, the last ones, the oldest first: nobody goes back.
    package let leftEpochs: [Epoch]

    package init(
        revision: Revision,
        resources: [ResourceKey: [UInt8]],
        refused: Set<ResourceKey> = [],
        retained: Set<ResourceKey> = [],
        capabilities: Set<String> = [],
        leftEpochs: [Epoch] = []
    ) {
        self.revision = revision
        self.resources = resources
        self.refused = refused
        self.retained = retained
        self.capabilities = capabilities
        self.leftEpochs = leftEpochs
    }

    /// The same without the resources of a type, which is not wanted any more.
    package func without(_ type: ResourceType) -> Self {
        Self(
            revision: revision,
            resources: resources.filter { $0.key.type != type },
            refused: refused.filter { $0.type != type },
            retained: retained,
            capabilities: capabilities,
            leftEpochs: leftEpochs
        )
    }
}
