// SPDX-License-Identifier: Apache-2.0

/// What a subscriber says first on a stream.
package struct SyncHello: Hashable, Sendable {
    /// What is applied and stays in force until something newer is; nil asks for everything.
    package let have: Revision?
    /// What the subscriber understands beyond the first version of the protocol.
    package let capabilities: Set<String>

    package init(have: Revision?, capabilities: Set<String>) {
        self.have = have
        self.capabilities = capabilities
    }
}

/// What the publisher says.
package enum SyncMessage: Hashable, Sendable {
    case delta(SyncDelta)
    /// Everything in scope at a revision follows in pages.
    case snapshotBegin(Revision)
    /// One page, of at most `SyncLimits.messageBytesMax`; pages count from 0.
    case snapshotPage(index: Int, resources: [Resource])
    /// The snapshot is complete and was this big; only now is anything of it applied.
    case snapshotEnd(resourceCount: Int)
    /// Nothing in scope changed up to here.
    case watermark(Revision)

    /// Bytes of resources in it, as `SyncLimits.messageBytesMax` counts them.
    package var sizeBytes: Int {
        switch self {
        case .delta(let delta): delta.changes.reduce(0) { $0 + $1.sizeBytes }
        case .snapshotPage(_, let resources): resources.reduce(0) { $0 + $1.sizeBytes }
        case .snapshotBegin, .snapshotEnd, .watermark: 0
        }
    }

    /// The messages of a whole snapshot, its pages within `SyncLimits.messageBytesMax`.
    ///
    /// - Parameters:
    ///   - revision: The revision at which all of `resources` were read.
    ///   - resources: Each at most once, and none bigger than a page: documents are limited to
    ///     less where they come in.
    /// - Returns: Beginning, pages in order of the resources' keys, end.
    package static func snapshot(at revision: Revision, _ resources: [Resource]) -> [SyncMessage] {
        var messages = [SyncMessage.snapshotBegin(revision)]
        var page: [Resource] = []
        var pageBytes = 0
        for resource in resources.sorted(by: { $0.key < $1.key }) {
            if !page.isEmpty, pageBytes + resource.sizeBytes > SyncLimits.messageBytesMax {
                messages.append(.snapshotPage(index: messages.count - 1, resources: page))
                page = []
                pageBytes = 0
            }
            page.append(resource)
            pageBytes += resource.sizeBytes
        }
        if !page.isEmpty {
            messages.append(.snapshotPage(index: messages.count - 1, resources: page))
        }
        return messages + [.snapshotEnd(resourceCount: resources.count)]
    }
}

/// All changes in scope between two numbers of an epoch, at most one per resource.
package struct SyncDelta: Hashable, Sendable {
    package let epoch: Epoch
    /// What the subscriber has applied.
    package let from: UInt64
    /// What it has once it applied the changes; never below `from`.
    package let to: UInt64
    package let changes: [ResourceChange]

    package init(epoch: Epoch, from: UInt64, to: UInt64, changes: [ResourceChange]) {
        self.epoch = epoch
        self.from = from
        self.to = to
        self.changes = changes
    }

    /// Whether the Delta is small enough to be sent; if not, a snapshot is.
    package var fits: Bool {
        changes.reduce(0) { $0 + $1.sizeBytes } <= SyncLimits.messageBytesMax
    }
}

/// A resource that the subscriber could not take; its last good state stays in force.
package struct ResourceRefusal: Hashable, Sendable, Comparable {
    package let key: ResourceKey
    package let reason: String

    package init(key: ResourceKey, reason: String) {
        self.key = key
        self.reason = reason
    }

    package static func < (lhs: Self, rhs: Self) -> Bool {
        (lhs.key, lhs.reason) < (rhs.key, rhs.reason)
    }
}

/// What a subscriber has applied, and what of it it could not take.
package struct SyncAcknowledgement: Hashable, Sendable {
    package let applied: Revision
    /// All refusals in force, not just those of the last message; sorted, at most
    /// `SyncLimits.refusalsReportedMax`.
    package let refused: [ResourceRefusal]

    package init(applied: Revision, refused: [ResourceRefusal]) {
        self.applied = applied
        self.refused = refused
    }
}

/// Limits of the sync protocol; both ends keep them, the subscriber checks them.
package enum SyncLimits {
    /// Biggest Delta or snapshot page, counted in `sizeBytes`: below gRPC's message limit of 4 MiB
    /// with room for encoding, and what an agent decodes at a time.
    package static let messageBytesMax = 1 << 20
    /// Most resources of one subscriber: far above the entries of one machine, and what keeps a
    /// broken server from filling its memory.
    package static let resourcesMax = 130_000
    /// Most bytes of one subscriber's resources, for the same reason.
    package static let resourceBytesMax = 256 << 20
    /// Most entries of one subscriber; what comes above is refused, so that entries never take the
    /// place of anything else: there is room for all revocations and proxies beside them.
    package static let entriesMax = 80_000
    /// Most bytes of one subscriber's entries, for the same reason: beside them there is room for all
    /// proxies.
    package static let entryBytesMax = 64 << 20
    /// Most refusals named in one acknowledgement; the first ones show what is wrong.
    package static let refusalsReportedMax = 64
}
