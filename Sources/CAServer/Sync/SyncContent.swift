// SPDX-License-Identifier: Apache-2.0

internal import ControlAPI
package import Datastore
internal import Issuance
package import NodeSync
package import SPIFFE

/// What a subscriber is sent, read from the datastore in one consistent view.
package enum SyncContent {
    /// Most changes in one Delta; beyond it a snapshot costs less than the reading.
    package static let deltaChangesMax = 2000

    /// Everything that changed in a node's scope after `from`, or a snapshot if that is not known.
    ///
    /// `unknown`, `intermediates` and `leftOut` are as for `snapshot`.
    ///
    /// - Throws: `DatastoreError`, `WireError`.
    package static func delta(
        from: UInt64,
        node selectors: Set<Selector>,
        without unknown: Set<ResourceType> = [],
        intermediates: Bool = true,
        in transaction: ReadTransaction,
        leftOut: (ResourceKey) -> Void = { _ in }
    ) throws -> [SyncMessage] {
        func everything() throws -> [SyncMessage] {
            try snapshot(
                node: selectors,
                without: unknown,
                intermediates: intermediates,
                in: transaction,
                leftOut: leftOut
            )
        }
        let revision = try transaction.revision()
        let stored = try transaction.changes(after: from, limit: deltaChangesMax)
        guard case .delta(let changes) = stored else { return try everything() }
        var result: [ResourceChange] = []
        var size = 0
        for change in changes where !unknown.contains(change.key.type) {
            let item = try self.change(
                change,
                node: selectors,
                intermediates: intermediates,
                in: transaction
            )
            size += item.sizeBytes
            guard size <= SyncLimits.messageBytesMax else { return try everything() }
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

    /// Everything in a node's scope, in pages; what takes something away comes first.
    ///
    /// - Parameters:
    ///   - selectors: What the node shows.
    ///   - unknown: The types of resources that the agent does not know.
    ///   - intermediates: Whether the agent knows authorities that another one certified: others
    ///     would refuse the whole bundle for a key of one.
    ///   - transaction: What is known.
    ///   - leftOut: Told what no message can hold: agents refuse a longer one, so sent it would keep
    ///     everything else from the node too.
    /// - Returns: The messages in order.
    /// - Throws: `DatastoreError`, `WireError`.
    package static func snapshot(
        node selectors: Set<Selector>,
        without unknown: Set<ResourceType> = [],
        intermediates: Bool = true,
        in transaction: ReadTransaction,
        leftOut: (ResourceKey) -> Void = { _ in }
    ) throws -> [SyncMessage] {
        let revision = try transaction.revision()
        var resources: [Resource] = []
        let refused = try transaction.upstreamRevocations().filter { !$0.isWaiting }
        for key in refused { resources.append(try payload(ofRefused: key.id).resource) }
        // One name stands for one key.
        let told = Set(refused.map(\.id))
        for authority in try transaction.distrustedAuthorities()
        where !told.contains(authority.id) {
            if let payload = payload(of: authority) { resources.append(try payload.resource) }
        }
        for upstream in try transaction.upstreams() where !told.contains(upstream.id) {
            if let payload = payload(of: upstream) { resources.append(try payload.resource) }
        }
        for id in try transaction.revokedDownstreamIDs() where !told.contains(id) {
            resources.append(try revoked(id).resource)
        }
        for revocation in try transaction.revokedCertificates() {
            resources.append(try payload(of: revocation).resource)
        }
        for revocation in try transaction.revocations() {
            resources.append(try payload(of: revocation).resource)
        }
        if let bundle = try bundle(in: transaction) {
            resources.append(try resource(bundle, intermediates: intermediates))
        }
        if !unknown.contains(.federatedBundle) {
            resources += try transaction.federatedBundles().compactMap(resource)
        }
        if !unknown.contains(.revocationList) {
            resources += try transaction.revocationLists().map(resource)
        }
        for entry in try transaction.entries(node: selectors) {
            resources.append(try ResourcePayload.entry(entry).resource)
        }
        if !unknown.contains(.proxy) {
            resources += try transaction.proxies(node: selectors).map(resource)
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
        let authorities = try transaction.bundleAuthorities()
        guard !authorities.isEmpty else { return nil }
        let roots = try transaction.bundleRoots()
        return TrustBundle(
            trustDomain: identity.trustDomain,
            x509Authorities: roots.map(\.certificateDER)
                + authorities.filter { $0.ancestry == nil }.map(\.certificateDER),
            x509Intermediates: authorities.filter { $0.ancestry != nil }.map(\.certificateDER),
            // A second key that cannot be read takes nothing but tokens away.
            jwtAuthorities: try authorities.compactMap {
                let authority = try Authority($0, in: transaction)
                return (try? authority.tokenAuthority())?.published
            },
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
            let everything = CommittedChange(
                number: revision.number,
                scopes: nil,
                isUrgent: true,
                concernsLists: true,
                proxies: nil,
                proxyScopes: try transaction.proxyScopes()
            )
            return (revision, [everything])
        }
        var result: [CommittedChange] = []
        for change in changes {
            var proxyScopes: [String: [Selector]] = [:]
            if change.key.type == .proxy {
                let proxy = try transaction.proxyGrant(change.key.name)
                proxyScopes[change.key.name] = proxy?.nodeSelectors ?? []
            }
            let single = CommittedChange(
                number: change.number,
                scopes: try scopes(of: change, in: transaction),
                isUrgent: isUrgent(change),
                concernsLists: [.bundle, .revocation].contains(change.key.type),
                isListAlone: change.key.type == .revocationList,
                proxies: Set(proxyScopes.keys),
                proxyScopes: proxyScopes
            )
            if let last = result.last, last.number == change.number {
                result[result.count - 1] = last.union(single)
            } else {
                result.append(single)
            }
        }
        return (revision, result)
    }

    /// A list overtakes nothing, whatever it says or leaves out: proxies and agents go by revocations,
    /// which must not wait for it.
    private static func isUrgent(_ change: StoredChange) -> Bool {
        switch change.key.type {
        case .revocation: true
        case .revocationList: false
        case .bundle, .document, .entry, .federatedBundle, .proxy: change.isRemoval
        }
    }

    /// What nodes show that a change concerns; nil: it concerns all.
    private static func scopes(
        of change: StoredChange,
        in transaction: ReadTransaction
    ) throws -> [[Selector]]? {
        let now: [Selector]?
        switch change.key.type {
        case .entry: now = try transaction.entry(id: change.key.name)?.nodeSelectors
        case .proxy: now = try transaction.proxyGrant(change.key.name)?.nodeSelectors
        case .bundle, .document, .federatedBundle, .revocation, .revocationList: return nil
        }
        return [change.priorNodeSelectors, change.isRemoval ? nil : now].compactMap(\.self)
    }

    private static func change(
        _ change: StoredChange,
        node selectors: Set<Selector>,
        intermediates: Bool,
        in transaction: ReadTransaction
    ) throws -> ResourceChange {
        let resource: Resource? =
            switch change.key.type {
            case .bundle:
                try bundle(in: transaction).map {
                    try self.resource($0, intermediates: intermediates)
                }
            case .document: nil
            case .entry:
                try transaction.entry(id: change.key.name)
                    .flatMap { entry in
                        try entry.matches(node: selectors)
                            ? ResourcePayload.entry(entry).resource : nil
                    }
            case .federatedBundle:
                try transaction.federatedBundle(named: change.key.name).flatMap(self.resource)
            case .proxy:
                try transaction.proxy(change.key.name)
                    .flatMap { $0.matches(node: selectors) ? self.resource($0) : nil }
            case .revocation: try revocation(named: change.key.name, in: transaction)
            case .revocationList:
                try transaction.revocationList(of: change.key.name).map(self.resource)
            }
        guard let resource else { return .remove(change.key) }
        return .upsert(change.key, payload: resource.payload)
    }

    private static func revocation(
        named name: String,
        in transaction: ReadTransaction
    ) throws -> Resource? {
        if let id = AuthorityRecord.authority(ofRevocation: name) {
            if let key = try transaction.upstreamRevocation(id: id), !key.isWaiting {
                return try payload(ofRefused: id).resource
            }
            if let authority = try transaction.authority(id: id) {
                return try payload(of: authority)?.resource
            }
            if let upstream = try transaction.upstream(id: id) {
                return try payload(of: upstream)?.resource
            }
            let isRevoked = try transaction.downstreamAuthority(id: id)?.isRevoked ?? false
            return isRevoked ? try revoked(id).resource : nil
        }
        if let serial = RevokedCertificate.serial(ofName: name) {
            return try transaction.revokedCertificate(serial: serial).map {
                try payload(of: $0).resource
            }
        }
        return try transaction.revocation(named: name).map { try payload(of: $0).resource }
    }

    private static func payload(of revocation: RevokedCertificate) -> ResourcePayload {
        .revocation(
            name: revocation.name,
            .leaf(
                authorityKeyID: keyIdentifier(ofAuthority: revocation.authorityID),
                serial: revocation.serial,
                notAfter: revocation.notAfter
            )
        )
    }

    /// Nil for an authority that nobody distrusts.
    private static func payload(of authority: AuthorityRecord) -> ResourcePayload? {
        let name = AuthorityRecord.revocationName(of: authority.id)
        let keyID = keyIdentifier(ofAuthority: authority.id)
        return switch authority.state {
        case AuthorityRecord.revokedState: .revocation(name: name, .authority(keyID: keyID))
        case AuthorityRecord.taintedState: .revocation(name: name, .taintedAuthority(keyID: keyID))
        default: nil
        }
    }

    /// Of an authority of a server below.
    private static func revoked(_ id: String) -> ResourcePayload {
        let name = AuthorityRecord.revocationName(of: id)
        return .revocation(name: name, .authority(keyID: keyIdentifier(ofAuthority: id)))
    }

    /// Nil for a root or upstream authority that nobody distrusts.
    private static func payload(of upstream: UpstreamRecord) -> ResourcePayload? {
        let name = AuthorityRecord.revocationName(of: upstream.id)
        let keyID = keyIdentifier(ofAuthority: upstream.id)
        return switch upstream.standing {
        case .revoked: .revocation(name: name, .authority(keyID: keyID))
        case .tainted: .revocation(name: name, .taintedAuthority(keyID: keyID))
        case nil: nil
        }
    }

    /// A key that the upstream has revoked and nothing here has.
    private static func payload(ofRefused id: String) -> ResourcePayload {
        .revocation(
            name: AuthorityRecord.revocationName(of: id),
            .authority(keyID: keyIdentifier(ofAuthority: id))
        )
    }

    private static func payload(of revocation: RevokedIdentity) -> ResourcePayload {
        .revocation(
            name: revocation.name,
            .identity(revocation.spiffeID, issuedBefore: revocation.issuedBefore)
        )
    }

    private static func resource(
        _ bundle: TrustBundle,
        intermediates: Bool
    ) throws -> Resource {
        try ResourcePayload.bundle(intermediates ? bundle : bundle.withoutIntermediates).resource
    }

    private static func resource(_ list: RevocationListRecord) -> Resource {
        Resource(key: ResourceKey(.revocationList, list.authorityID), payload: list.der)
    }

    /// Nil before the first fetch, and while it is withheld.
    private static func resource(_ bundle: FederatedBundleRecord) -> Resource? {
        bundle.shownDocument.map {
            Resource(
                key: ResourceKey(.federatedBundle, bundle.trustDomain.name),
                payload: $0
            )
        }
    }

    /// Composed when something of it changed, so it is of the revision that is read here.
    private static func resource(_ proxy: ProxyRecord) -> Resource {
        Resource(key: ResourceKey(.proxy, proxy.reference), payload: proxy.state)
    }
}

/// What was committed under one number, as far as it decides who must hear of it.
package struct CommittedChange: Hashable, Sendable {
    package let number: UInt64
    /// What nodes show that the change concerns, before or after it; nil: it concerns all.
    package let scopes: [[Selector]]?
    /// Whether something is taken away, so that it overtakes what is under way.
    package let isUrgent: Bool
    /// Whether revocation lists may have to tell of it.
    package let concernsLists: Bool
    /// Whether it is of revocation lists and of nothing else, and concerns whoever takes these.
    package let isListAlone: Bool
    /// The Proxies whose state it changed, `namespace/name`; nil: perhaps all.
    package let proxies: Set<String>?
    /// What a node must show now for each of them; a Proxy that is gone shows up as one for nobody,
    /// or not at all.
    package let proxyScopes: [String: [Selector]]

    package init(
        number: UInt64,
        scopes: [[Selector]]?,
        isUrgent: Bool,
        concernsLists: Bool = false,
        isListAlone: Bool = false,
        proxies: Set<String>? = [],
        proxyScopes: [String: [Selector]] = [:]
    ) {
        self.number = number
        self.scopes = scopes
        self.isUrgent = isUrgent
        self.concernsLists = concernsLists
        self.isListAlone = isListAlone
        self.proxies = proxies
        self.proxyScopes = proxyScopes
    }

    /// Two parts of one number.
    func union(_ other: Self) -> Self {
        Self(
            number: number,
            scopes: scopes.flatMap { known in other.scopes.map { known + $0 } },
            isUrgent: isUrgent || other.isUrgent,
            concernsLists: concernsLists || other.concernsLists,
            isListAlone: isListAlone && other.isListAlone,
            proxies: proxies.flatMap { known in other.proxies.map { known.union($0) } },
            proxyScopes: proxyScopes.merging(other.proxyScopes) { $1 }
        )
    }

    /// Whether a process of a Proxy on a node that shows `selectors` is still one of the node's
    /// scope.
    func keeps(_ proxy: String, on selectors: Set<Selector>) -> Bool {
        guard proxies?.contains(proxy) ?? true else { return true }
        let needed = proxyScopes[proxy] ?? []
        return !needed.isEmpty && needed.allSatisfy(selectors.contains)
    }

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
