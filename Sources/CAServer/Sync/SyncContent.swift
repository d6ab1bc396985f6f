// SPDX-License-Identifier: Apache-2.0

internal import ControlAPI
package import Datastore
package import NodeSync
package import SPIFFE

/// What a subscriber is sent, read from the datastore in one consistent view.
package enum SyncContent {
    /// Most changes in one Delta; beyond it a snapshot costs less than the reading.
    package static let deltaChangesMax = 2000

    /// Everything that changed in a node's scope after `from`, or a snapshot if that is not known.
    ///
    /// `leftOut` is as for `snapshot`.
    ///
    /// - Throws: `DatastoreError`, `WireError`.
    package static func delta(
        from: UInt64,
        node selectors: Set<Selector>,
        in transaction: ReadTransaction,
        leftOut: (ResourceKey) -> Void = { _ in }
    ) throws -> [SyncMessage] {
        let revision = try transaction.revision()
        let stored = try transaction.changes(after: from, limit: deltaChangesMax)
        guard case .delta(let changes) = stored else {
            return try snapshot(node: selectors, in: transaction, leftOut: leftOut)
        }
        var result: [ResourceChange] = []
        var size = 0
        for change in changes {
            let item = try self.change(change, node: selectors, in: transaction)
            size += item.sizeBytes
            guard size <= SyncLimits.messageBytesMax else {
                return try snapshot(node: selectors, in: transaction, leftOut: leftOut)
            }
            result.append(item)
        }
        return [
            .delta(
                SyncDelta(
                    epoch: revision.epoch,
                    from: from,
                    to: revision.number,
                    changes: result
                )
            )
        ]
    }

    /// Everything in a node's scope, in pages.
    ///
    /// `leftOut` is told what no message can hold: agents refuse a longer one, so sent it would
    /// keep everything else from the node too.
    ///
    /// - Throws: `DatastoreError`, `WireError`.
    package static func snapshot(
        node selectors: Set<Selector>,
        in transaction: ReadTransaction,
        leftOut: (ResourceKey) -> Void = { _ in }
    ) throws -> [SyncMessage] {
        let revision = try transaction.revision()
        var resources: [Resource] = []
        if let bundle = try bundle(in: transaction) {
            resources.append(try ResourcePayload.bundle(bundle).resource)
        }
        for entry in try transaction.entries(node: selectors) {
            resources.append(try ResourcePayload.entry(entry).resource)
        }
        var messages: [SyncMessage] = [.snapshotBegin(revision)]
        var page: [Resource] = []
        var pageBytes = 0
        var (index, count) = (0, 0)
        for resource in resources {
            guard resource.sizeBytes <= SyncLimits.messageBytesMax else {
                leftOut(resource.key)
                continue
            }
            count += 1
            if pageBytes + resource.sizeBytes > SyncLimits.messageBytesMax, !page.isEmpty {
                messages.append(.snapshotPage(index: index, resources: page))
                (page, pageBytes, index) = ([], 0, index + 1)
            }
            page.append(resource)
            pageBytes += resource.sizeBytes
        }
        if !page.isEmpty { messages.append(.snapshotPage(index: index, resources: page)) }
        messages.append(.snapshotEnd(resourceCount: count))
        return messages
    }

    /// The trust domain's own bundle; nil before the first authority was published.
    package static func bundle(in transaction: ReadTransaction) throws -> TrustBundle? {
        guard let identity = try transaction.identity() else { return nil }
        let authorities = try transaction.authorities()
        guard !authorities.isEmpty else { return nil }
        return TrustBundle(
            trustDomain: identity.trustDomain,
            x509Authorities: authorities.map(\.certificateDER),
            sequenceNumber: try transaction.bundleSequenceNumber(),
            refreshHintSeconds: 300
        )
    }

    /// What was committed after `number`; whom it concerns is decided when it is published, because
    /// an agent may connect in between.
    ///
    /// - Throws: `DatastoreError`.
    package static func committed(
        after number: UInt64,
        in transaction: ReadTransaction
    ) throws -> (revision: Revision, changes: [CommittedChange]) {
        let revision = try transaction.revision()
        guard revision.number > number else { return (revision, []) }
        let stored = try transaction.eachChange(after: number, limit: deltaChangesMax)
        guard case .delta(let changes) = stored else {
            let everything = CommittedChange(number: revision.number, scopes: nil, isUrgent: true)
            return (revision, [everything])
        }
        var result: [CommittedChange] = []
        for change in changes {
            var scopes: [[Selector]]?
            if change.key.type == .entry {
                var either = change.priorNodeSelectors.map { [$0] } ?? []
                if !change.isRemoval, let entry = try transaction.entry(id: change.key.name) {
                    either.append(entry.nodeSelectors)
                }
                scopes = either
            }
            let urgent = change.isRemoval || change.key.type == .revocation
            if let last = result.last, last.number == change.number {
                result[result.count - 1] = CommittedChange(
                    number: last.number,
                    scopes: last.scopes.flatMap { known in scopes.map { known + $0 } },
                    isUrgent: last.isUrgent || urgent
                )
            } else {
                result.append(
                    CommittedChange(number: change.number, scopes: scopes, isUrgent: urgent)
                )
            }
        }
        return (revision, result)
    }

    private static func change(
        _ change: StoredChange,
        node selectors: Set<Selector>,
        in transaction: ReadTransaction
    ) throws -> ResourceChange {
        let payload: ResourcePayload? =
            switch change.key.type {
            case .bundle: try bundle(in: transaction).map(ResourcePayload.bundle)
            case .entry:
                try transaction.entry(id: change.key.name)
                    .flatMap { $0.matches(node: selectors) ? .entry($0) : nil }
            case .document, .revocation: nil
            }
        guard let payload else { return .remove(change.key) }
        return .upsert(change.key, payload: try payload.resource.payload)
    }
}

/// What was committed under one number, as far as it decides who must hear of it.
package struct CommittedChange: Hashable, Sendable {
    package let number: UInt64
    /// What nodes show that the change concerns, before or after it; nil: it concerns all.
    package let scopes: [[Selector]]?
    /// Whether something is taken away, so that it overtakes what is under way.
    package let isUrgent: Bool

    /// Whom the change concerns, of those who are known now.
    package func agents(in scope: ScopeIndex) -> AffectedAgents {
        guard let scopes else { return .all }
        return .agents(scopes.reduce(into: []) { $0.formUnion(scope.agents(matching: $1)) })
    }
}

extension AffectedAgents {
    func union(_ other: Self) -> Self {
        switch (self, other) {
        case (.agents(let one), .agents(let two)): .agents(one.union(two))
        case (.all, _), (_, .all): .all
        }
    }

    var isNobody: Bool { self == .agents([]) }
}
