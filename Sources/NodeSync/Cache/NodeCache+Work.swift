// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import SPIFFE

/// When something stops to be served.
enum CacheDeadline: Hashable, Comparable, Sendable {
    case entry(String)
    case svid(IdentityKey)
}

/// What a batch of events leaves to be computed, once, at its end.
struct CacheWork: Sendable {
    /// Classes whose entries may have changed.
    var rematch: Set<WorkloadClassID> = []
    /// Classes whose view may have changed.
    var review: Set<WorkloadClassID> = []
    /// Identities whose demand may have changed.
    var identities: Set<IdentityKey> = []
    /// Identities to tell the renewal queue of even if their demand is as before.
    var announce: Set<IdentityKey> = []
    /// Identities whose entry now says something else than their SVID.
    var outdated: Set<IdentityKey> = []
    /// Authorities that are tainted since now.
    var newlyTainted: Set<[UInt8]> = []
    /// Identities whose SVID is by one of these.
    var tainted: Set<IdentityKey> = []
    /// Entries that were put or removed.
    var changedEntries: Set<String> = []
    /// Proxies that were put or removed.
    var changedProxies: Set<String> = []
    var recheckRevocations = false
}

extension NodeCache {
    /// Notes everything that hangs on an entry.
    mutating func touch(_ id: String) {
        pending.changedEntries.insert(id)
        pending.rematch.formUnion(classesByEntry[id] ?? [])
        pending.identities.formUnion(identitiesByEntry[id] ?? [])
        rematchProxies(naming: entries[id]?.nodeIdentity?.spiffeID)
    }

    /// Notes the classes that are shown a trust domain's bundle.
    mutating func reviewUsers(of bundle: TrustDomain) {
        guard bundle != trustDomain else {
            pending.review.formUnion(classes.keys)
            return
        }
        for (id, users) in classesByEntry
        where entries[id]?.entry.federatesWith.contains(bundle.name) == true {
            pending.review.formUnion(users)
        }
    }

    /// Takes a class off the identities it is shown.
    mutating func leave(_ id: WorkloadClassID, _ keys: [IdentityKey]) {
        for key in keys {
            identities[key]?.classes.remove(id)
            pending.identities.insert(key)
            classesByEntry[key.entryID]?.remove(id)
            if classesByEntry[key.entryID]?.isEmpty == true { classesByEntry[key.entryID] = nil }
        }
    }

    /// Finds out again what the noted classes are granted.
    mutating func rematchClasses() {
        for id in pending.rematch {
            guard let workloads = classes[id] else { continue }
            let granted =
                switch workloads.audience {
                case .proxy(let reference): identities(ofProxy: reference)
                case .workloads(let selectors): identities(for: selectors)
                }
            pending.review.insert(id)
            guard granted != workloads.identities else { continue }
            leave(id, workloads.identities)
            classes[id]?.identities = granted
            for key in granted {
                identities[key, default: CachedIdentity()].classes.insert(id)
                identitiesByEntry[key.entryID, default: []].insert(key)
                classesByEntry[key.entryID, default: []].insert(id)
                pending.identities.insert(key)
            }
        }
    }

    /// Whether an entry means the workload of a stream and gives it nothing.
    ///
    /// As long as not all is known of the node, it may be only for that: an ID of what a node was
    /// attested to be cannot be said without it.
    package func mayBeGranted(_ subscriber: SubscriberID) -> Bool {
        guard let id = classesBySubscriber[subscriber],
            case .workloads(let selectors)? = classes[id]?.audience
        else { return false }
        return mayBeGranted(to: selectors)
    }

    /// What the entries grant to a workload, the oldest entry first.
    func identities(for selectors: Set<Selector>) -> [IdentityKey] {
        var granted: [(createdAt: Date, key: IdentityKey)] = []
        for anchor in selectors {
            for id in entriesByAnchor[anchor] ?? [] {
                guard let cached = entries[id] else { continue }
                let key = cached.identity(for: selectors, trustDomain: trustDomain, node: node)
                if let key { granted.append((cached.entry.createdAt, key)) }
            }
        }
        return granted.sorted { ($0.createdAt, $0.key) < ($1.createdAt, $1.key) }.map(\.key)
    }

    /// Finds out how much the noted identities are wanted now, and forgets what nobody may have.
    mutating func settleDemand() -> (changes: [DemandChange], forgotten: [IdentityKey]) {
        var changes: [DemandChange] = []
        var forgotten: [IdentityKey] = []
        let keys = pending.identities.union(pending.announce).union(pending.outdated)
            .union(pending.tainted)
        for key in keys.sorted() {
            let cached = entries[key.entryID]
            let isGranted = self.isGranted(key)
            let isPrefetched = isGranted && cached?.nodeIdentity == key
            let known = identities[key]
            let demand: IdentityDemand =
                if isGranted, let known, !known.classes.isEmpty {
                    .subscribed
                } else {
                    isPrefetched ? .prefetch : .none
                }
            if demand == .none {
                if known == nil { continue }
                if isGranted, mayIdle(key) {
                    idle.insert(key)
                    identities[key]?.announced = .none
                } else {
                    forget(key)
                    forgotten.append(key)
                }
            } else {
                idle.remove(key)
                identities[key, default: CachedIdentity()].announced = demand
                identitiesByEntry[key.entryID, default: []].insert(key)
            }
            let isNoted =
                pending.announce.contains(key) || pending.outdated.contains(key)
                || pending.tainted.contains(key)
            if demand != known?.announced ?? .none || (isNoted && demand != .none) {
                let validity = identities[key]?.issued?.validity
                changes.append(
                    DemandChange(
                        key: key,
                        demand: demand,
                        validity: validity,
                        isOutdated: pending.outdated.contains(key),
                        isTainted: pending.tainted.contains(key)
                    )
                )
            }
        }
        return (changes, forgotten)
    }

    /// Whether the SVID of a workload that went away is kept, in case it comes back.
    private func mayIdle(_ key: IdentityKey) -> Bool {
        guard identities[key]?.issued != nil else { return false }
        // A changed entry may not grant the identity any more: better signed again than wrong; and
        // nobody replaces what is idle.
        guard !pending.outdated.contains(key), !pending.tainted.contains(key),
            !pending.changedEntries.contains(key.entryID),
            key.holder.proxy.map({ !pending.changedProxies.contains($0) }) ?? true
        else { return false }
        return idle.contains(key) || idle.count < Self.idleIdentitiesMax
    }

    private mutating func forget(_ key: IdentityKey) {
        identities[key] = nil
        idle.remove(key)
        identitiesByEntry[key.entryID]?.remove(key)
        if identitiesByEntry[key.entryID]?.isEmpty == true { identitiesByEntry[key.entryID] = nil }
    }

    /// Computes the noted views again.
    ///
    /// - Returns: Who sees a difference, sorted.
    mutating func reviewClasses() -> [SubscriberID] {
        var woken: [SubscriberID] = []
        for id in pending.review {
            guard let workloads = classes[id] else { continue }
            if case .proxy(let reference) = workloads.audience {
                let view = proxyView(of: reference, workloads)
                guard view != workloads.proxyView else { continue }
                classes[id]?.proxyView = view
                woken += workloads.subscribers.keys
                continue
            }
            let view = view(of: workloads)
            classes[id]?.hasOpened =
                view.state == .ready || (workloads.hasOpened && view.state != .denied)
            guard view != workloads.view else { continue }
            classes[id]?.view = view
            let areBundlesSame =
                (view.state == .denied) == (workloads.view.state == .denied)
                && view.bundle == workloads.view.bundle
                && view.federatedBundles == workloads.view.federatedBundles
                && view.lists == workloads.view.lists
            for (subscriber, interest) in workloads.subscribers
            where interest == .svids || !areBundlesSame {
                woken.append(subscriber)
            }
        }
        return woken.sorted()
    }

    private func view(of workloads: WorkloadClass) -> WorkloadView {
        guard !workloads.identities.isEmpty else { return .denied }
        var svids: [X509SVID] = []
        var federated: Set<String> = []
        var isAwaiting = false
        for key in workloads.identities {
            guard let identity = identities[key], let entry = entries[key.entryID]?.entry else {
                continue
            }
            federated.formUnion(entry.federatesWith)
            if let issued = identity.issued {
                svids.append(issued.svid.with(hint: entry.hint))
            } else if !identity.isRefused {
                isAwaiting = true
            }
        }
        let bundle = tokenBundle
        let isReady =
            !svids.isEmpty && bundle != nil && (workloads.hasOpened || !isAwaiting)
        return WorkloadView(
            state: isReady ? .ready : .awaitingSVIDs,
            svids: isReady ? WorkloadView.uniqueHints(svids) : [],
            bundle: bundle,
            federatedBundles: bundles(federatedWith: federated),
            lists: lists.shown
        )
    }

    func bundles(federatedWith names: Set<String>) -> [TrustBundle] {
        others(named: names).compactMap { bundles[$0] }
    }

    /// Other trust domains, sorted by name.
    func others(named names: Set<String>) -> [TrustDomain] {
        names.filter { $0 != trustDomain.name }.sorted().compactMap { try? TrustDomain($0) }
    }
}
