// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
package import SPIFFE

/// Proxies in force on this node: what their processes are told, and which keys are theirs.
///
/// A proxy gets an identity only if its document names it and an entry of its own namespace grants
/// it here without needing anything of a workload (decision 0009). The key is the proxy's own, and
/// it is signed only while a process is there.
extension NodeCache {
    /// The Proxies that mean a process which shows `selectors`, sorted.
    package func proxies(meaning selectors: Set<Selector>) -> [NodeProxy] {
        proxiesInForce.filter { $0.matches(selectors) }
    }

    /// Every Proxy of this node, sorted.
    package var proxiesInForce: [NodeProxy] {
        proxies.values.sorted { $0.reference < $1.reference }
    }

    /// A Proxy in force here by `namespace/name`.
    package func proxy(_ reference: String) -> NodeProxy? { proxies[reference] }

    package var proxyCount: Int { proxies.count }

    /// Every observed port that a Proxy of this node names.
    package var observedPorts: Set<ObservedPort> { Set(proxies.values.flatMap(\.observed)) }

    /// A process that attested to the Proxy attached; what it is told is `proxyView(for:)`.
    package mutating func subscribe(
        _ subscriber: SubscriberID,
        proxy reference: String,
        now: Date
    ) -> [Action] {
        join(subscriber, .proxy(reference), interest: .svids, now: now)
    }

    /// What a process is told now; a view without a proxy if it is unknown.
    package func proxyView(for subscriber: SubscriberID) -> ProxyView {
        classesBySubscriber[subscriber].flatMap { classes[$0]?.proxyView } ?? .gone
    }

    // MARK: Steps

    mutating func put(_ proxy: NodeProxy) {
        removeProxy(proxy.reference)
        guard attested.map({ proxy.matches(node: $0) }) ?? true else {
            proxiesOfOthers[proxy.reference] = proxy
            return
        }
        proxies[proxy.reference] = proxy
        for id in proxy.identities {
            proxiesByIdentity[id, default: []].insert(proxy.reference)
        }
    }

    mutating func removeProxy(_ reference: String) {
        pending.changedProxies.insert(reference)
        if let id = classesByAudience[.proxy(reference)] {
            pending.rematch.insert(id)
            pending.review.insert(id)
        }
        // Keys that are kept for a process that went away are looked at as well.
        for key in idle where key.holder == .proxy(reference) { pending.identities.insert(key) }
        for id in proxies[reference]?.identities ?? [] {
            proxiesByIdentity[id]?.remove(reference)
            if proxiesByIdentity[id]?.isEmpty == true { proxiesByIdentity[id] = nil }
        }
        proxies[reference] = nil
        proxiesOfOthers[reference] = nil
    }

    /// Judges every Proxy anew, because something else is known of the node.
    mutating func judgeProxies() {
        for proxy in Array(proxies.values) + Array(proxiesOfOthers.values) {
            let isOfNode = attested.map { proxy.matches(node: $0) } ?? true
            if isOfNode != (proxies[proxy.reference] != nil) { put(proxy) }
        }
    }

    /// Notes the proxies that an entry for an identity concerns.
    mutating func rematchProxies(naming id: SPIFFEID?) {
        guard let id else { return }
        for reference in proxiesByIdentity[id] ?? [] {
            if let id = classesByAudience[.proxy(reference)] { pending.rematch.insert(id) }
        }
    }

    /// Notes every proxy with a process: what concerns all of them changed.
    mutating func reviewProxies() {
        for (audience, id) in classesByAudience {
            if case .proxy = audience { pending.review.insert(id) }
        }
    }

    /// What a proxy may present, each with the oldest entry that grants it.
    func identities(ofProxy reference: String) -> [IdentityKey] {
        guard let proxy = proxies[reference] else { return [] }
        return proxy.identities.compactMap { id in
            let entry = (entriesByNodeIdentity[id] ?? [])
                .compactMap { entries[$0] }
                .filter { $0.isActive && $0.entry.namespace == proxy.namespace }
                .min { ($0.entry.createdAt, $0.entry.id) < ($1.entry.createdAt, $1.entry.id) }
            return entry.map {
                IdentityKey(entryID: $0.entry.id, spiffeID: id, holder: .proxy(reference))
            }
        }
    }

    /// Whether the entry grants the identity now, to whom the key is for.
    func isGranted(_ key: IdentityKey) -> Bool {
        guard let cached = entries[key.entryID], cached.isActive else { return false }
        guard let reference = key.holder.proxy else { return true }
        guard let proxy = proxies[reference], proxy.namespace == cached.entry.namespace else {
            return false
        }
        return cached.nodeIdentity?.spiffeID == key.spiffeID
            && proxy.identities.contains(key.spiffeID)
    }

    func proxyView(of reference: String, _ processes: WorkloadClass) -> ProxyView {
        guard let proxy = proxies[reference] else { return .gone }
        var federations: [SPIFFEID: [TrustDomain]] = [:]
        var isAwaiting = false
        var granted: [ProxyView.Identity] = []
        for key in processes.identities {
            let names = entries[key.entryID]?.entry.federatesWith ?? []
            let others = others(named: Set(names))
            if !others.isEmpty { federations[key.spiffeID] = others }
            let identity = identities[key]
            let issued = identity?.issued
            granted.append(ProxyView.Identity(id: key.spiffeID, svid: issued?.svid))
            if issued == nil, identity?.isRefused != true { isAwaiting = true }
        }
        // Keys for tokens are none of theirs, and no reason to tell them anything; peers present what
        // is between them and the bundle.
        let own = [bundles[trustDomain]?.anchorsOnly].compactMap(\.self)
        return ProxyView(
            proxy: proxy,
            trust: ProxyView.Trust(
                bundles: own
                    + Set(federations.values.joined()).sorted()
                    .compactMap { bundles[$0]?.withoutJWTAuthorities },
                revocations: revocations.forProxies,
                granted: granted.map(\.id),
                federations: federations
            ),
            identities: granted,
            isAwaiting: isAwaiting
        )
    }
}
