// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import ControlAPI
internal import Datastore
internal import NodeSync
internal import PolicyDocuments
internal import Routing
internal import SPIFFE

/// What an order means for proxies, judged over what there is after all of it.
extension DocumentAct {
    /// A Proxy decides who gets keys of its identities, a DelegationPolicy who speaks for its
    /// subjects: whoever writes one may register each of them, those of the stored one too.
    ///
    /// To delete one takes no more than `delete`: it only ends what was given.
    func requireIdentities(of document: Document) throws {
        let named = Self.identities(named: document)
        let namespace = document.metadata.namespace
        for id in named.sorted() {
            try standing.require(
                .apply,
                kind: AdminRule.registrationKind,
                namespace: namespace,
                spiffeID: id.description
            )
        }
        for id in try storedIdentities(of: document).subtracting(named) {
            guard
                standing.may(
                    .apply,
                    kind: AdminRule.registrationKind,
                    namespace: namespace,
                    spiffeID: id.description
                )
            else { throw refusalOfStored(.apply, document.key) }
        }
    }

    /// For whom a document speaks, or gives keys out, as it is to be.
    private static func identities(named document: Document) -> Set<SPIFFEID> {
        if let proxy = document.proxy { return Set(proxy.identities) }
        if case .delegationPolicy(let policy) = document.spec { return Set(policy.subjects) }
        return []
    }

    /// For whom it speaks, or gives keys out, as it is.
    private func storedIdentities(of document: Document) throws -> Set<SPIFFEID> {
        if let proxy = document.proxy {
            let stored = try transaction.proxy(namespace: proxy.namespace, name: proxy.name)
            return Set(stored?.identities ?? [])
        }
        guard case .delegationPolicy = document.spec,
            let stored = try transaction.document(document.key),
            case .delegationPolicy(let before) = try Document(stored: stored).spec
        else { return [] }
        return Set(before.subjects)
    }

    /// The identities that a Proxy has had and is to have.
    func identities(of proxy: Proxy) throws -> [SPIFFEID] {
        let stored = try transaction.proxy(namespace: proxy.namespace, name: proxy.name)
        return Set(proxy.identities).union(stored?.identities ?? []).sorted()
    }

    /// Composes the states that may differ, and records those that do.
    ///
    /// - Throws: `APIError` naming what a Proxy lacks, or would lose.
    mutating func settleProxies(_ documents: [Document]) throws {
        guard !dataPath.isEmpty else { return }
        let bytesBefore = try transaction.proxyStateBytes()
        let countsBefore = try transaction.proxyCounts()
        var composer = ProxyComposer(in: transaction, now: standing.now)
        var written: [DocumentKey: Document] = [:]
        for document in documents where document.proxy != nil { written[document.key] = document }
        let stored = try transaction.proxies(namespace: dataPath.onlyNamespace)
        var known: [DocumentKey: ProxyRecord] = [:]
        for record in stored { known[record.key] = record }
        var review = ProxyReview()
        for key in Set(known.keys).union(written.keys).sorted() {
            let record = known[key]
            guard record.map({ dataPath.concern($0, at: key) }) ?? true,
                let current = try transaction.document(key)
            else { continue }
            let composition = try composer.compose(current)
            try review.add(
                composition,
                written[key],
                lostEntry: record.map(dataPath.concernEntries) ?? false
            )
            try requireCapabilities(composition, from: record)
            try change(composition.record, from: record)
        }
        try review.requireNothingInUse(visibleTo: standing)
        warnings += review.warnings
        for document in documents {
            guard document.accessPolicy == nil || dataPath.judges(document.key) else { continue }
            try review.check(document)
            warnings += review.warnings(of: document)
        }
        try requireRoom(
            since: bytesBefore,
            reserve: documents.allSatisfy { $0.key.namespace == AdminRole.rootNamespace }
                ? ProxyRecord.rootStateBytesMax : 0
        )
        try requireCounts(since: countsBefore)
    }

    /// What is too much has to become less; whoever takes no more than before is let through.
    private func requireCounts(since before: [String: Int]) throws {
        let after = try transaction.proxyCounts()
        for (namespace, count) in after
        where count > max(ProxyRecord.namespaceCountMax, before[namespace] ?? 0) {
            throw APIError(
                .exhausted,
                "tooManyProxies",
                "namespace \(namespace) may have at most \(ProxyRecord.namespaceCountMax) Proxies; "
                    + "one serves many machines"
            )
        }
        guard
            after.values.reduce(0, +) <= max(ProxyRecord.countMax, before.values.reduce(0, +))
        else {
            throw APIError(
                .exhausted,
                "tooManyProxies",
                "there may be at most \(ProxyRecord.countMax) Proxies; one serves many machines"
            )
        }
        // Else the namespace's Proxies could be composed no more, whoever changed what.
        for namespace in dataPath.withMoreTemplates where after[namespace] != nil {
            guard
                try transaction.templateCount(namespace: namespace) <= ProxyComposer.templatesMax
            else { throw ProxyComposer.tooManyEntries(of: namespace) }
        }
    }

    /// A node may be in the scope of every Proxy, and an agent that is sent more than it takes
    /// applies nothing any more.
    ///
    /// Who takes no more than before is let through: what is too large has to become smaller.
    private func requireRoom(since before: [String: Int], reserve: Int) throws {
        let after = try transaction.proxyStateBytes()
        for (namespace, bytes) in after
        where bytes > max(ProxyRecord.namespaceStateBytesMax + reserve, before[namespace] ?? 0) {
            throw APIError(
                .exhausted,
                "proxiesTooLarge",
                "the Proxies of namespace \(namespace) have \(bytes) bytes with their Services and "
                    + "policies, more than the \(ProxyRecord.namespaceStateBytesMax) allowed; narrow "
                    + "the targets of policies, or let one Proxy serve several machines"
            )
        }
        let total = after.values.reduce(0, +)
        let most = ProxyRecord.stateBytesMax + reserve
        guard total <= max(most, before.values.reduce(0, +)) else {
            throw APIError(
                .exhausted,
                "proxiesTooLarge",
                "all Proxies have \(total) bytes with their Services and policies, more than the "
                    + "\(most) allowed; narrow the targets of policies"
            )
        }
    }

    /// Writes what differs.
    private mutating func change(
        _ record: ProxyRecord,
        from stored: ProxyRecord?
    ) throws {
        guard let stored, stored.id == record.id, stored.state == record.state,
            stored.nodeSelectors == record.nodeSelectors, stored.identities == record.identities
        else {
            let number = try revision().number
            return try transaction.put(record, number: number)
        }
        if stored.revision != record.revision || stored.expires != record.expires {
            try transaction.setRevision(
                of: record.id,
                to: record.revision,
                expires: record.expires
            )
        }
        if stored.changesAt != record.changesAt {
            try transaction.setChange(of: record.id, at: record.changesAt)
        }
    }

    /// What brings in the need for a capability waits for who lacks it.
    ///
    /// Whatever else changes goes through with a warning, a Proxy that is written once more included:
    /// a process that says it understands nothing must not keep a policy from being changed or an
    /// entry from being deleted. It refuses what it cannot read, and keeps what it has.
    private mutating func requireCapabilities(
        _ composition: ProxyComposer.Composition,
        from stored: ProxyRecord?
    ) throws {
        let reference = composition.record.reference
        var ofAgents = composition.capabilities.intersection([SyncCapability.observedEndpoints])
        let selectors = composition.record.nodeSelectors
        if stored?.nodeSelectors != selectors { ofAgents.insert(SyncCapability.proxy) }
        let agents = ofAgents.sorted().map { ($0, peers.agentsLacking(selectors, $0)) }
            .filter { !$0.1.isEmpty }
        let proxies =
            composition.capabilities.isEmpty
            ? [] : peers.proxiesLacking(reference, composition.capabilities)
        guard !agents.isEmpty || !proxies.isEmpty else { return }
        let known = stored.map { $0.capabilities.union([SyncCapability.proxy]) } ?? []
        for (capability, names) in agents {
            let lacking = Self.lacking("agents of its scope", names, of: reference)
            guard known.contains(capability) else { throw lacking }
            warnings.append(lacking.message)
        }
        guard !proxies.isEmpty else { return }
        let lacking = Self.lacking("its attached processes", proxies, of: reference)
        let new = composition.capabilities.subtracting(known)
        guard new.isEmpty || peers.proxiesLacking(reference, new).isEmpty else { throw lacking }
        warnings.append(lacking.message)
    }

    /// Says which documents reach no machine: most often a node selector has a slip of the pen.
    ///
    /// To who may list agents, because it tells what they show. Before the first one has joined, all
    /// documents are early.
    mutating func warnOfStrangeNodes(_ documents: [Document]) {
        guard standing.may(.nodeList) else { return }
        for document in documents {
            let selectors: [Selector]
            switch document.spec {
            case .registrationEntry(let spec): selectors = spec.nodeSelectors
            case .proxy(let spec): selectors = spec.nodeSelectors
            default: continue
            }
            guard peers.nobodyShows(selectors) else { continue }
            let shown = selectors.map(\.description).joined(separator: ", ")
            warnings.append(
                "\(document.key): no agent that has joined shows \(shown), so it reaches nobody yet"
            )
        }
    }

    private static func lacking(
        _ who: String,
        _ names: [String],
        of proxy: String
    ) -> APIError {
        APIError(
            .failedPrecondition,
            "capabilityMissing",
            "Proxy \(proxy): \(who) are of a release that does not know this: "
                + "\(ProxyReview.list(names)); update them first"
        )
    }
}

extension ProxyRecord {
    /// What its processes must understand already; nothing if this version cannot read it.
    fileprivate var capabilities: Set<String> {
        let payload = try? ResourcePayload(ResourceKey(.proxy, reference), state)
        guard case .proxy(let state) = payload else { return [] }
        return state.capabilities
    }

    /// The key of its document.
    var key: DocumentKey {
        DocumentKey(
            group: DocumentKey.nativeGroup,
            kind: DataPathKind.proxy,
            namespace: namespace,
            name: name
        )
    }
}
