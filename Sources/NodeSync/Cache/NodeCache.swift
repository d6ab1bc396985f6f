// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
package import SPIFFE

/// What a workload's stream shows.
package enum WorkloadInterest: Hashable, Sendable {
    /// Bundles only: rotated SVIDs do not wake it.
    case bundles
    /// SVIDs and bundles.
    case svids
}

/// What one agent may serve to the workloads of its node, and whom to wake when that changes.
///
/// It serves what its entries grant and its revocations leave, and nothing else: an SVID without
/// an entry is dropped. A change is matched against those it concerns by index; workloads with the
/// same selectors share one view; a subscriber is woken only if its view differs. The shell limits
/// the number of subscribers with the number of connections.
package struct NodeCache: Sendable {
    /// What the shell has to do.
    package enum Action: Equatable, Sendable {
        /// Tell the renewal queue; sorted by key. Where the demand is `.none`, forget the key pair.
        case demand([DemandChange])
        /// These SVIDs are not served, because no entry grants them (any more) or they carry more
        /// than it grants, are expired or revoked: report them as failed to the renewal queue.
        case discarded([IdentityKey])
        /// Call `timerFired` when the wall clock shows that; replaces the timer set before.
        case scheduleTimer(at: Date)
        /// Send these subscribers their new view; sorted.
        case wake([SubscriberID])
    }

    /// What a decoded resource change does.
    package enum Change: Hashable, Sendable {
        /// All that the node was attested to be: what names other node selectors grants nothing.
        /// Nil while that is not known, and before the first of these: then nothing is compared.
        case attested(Set<Selector>?)
        case bundle(TrustBundle)
        case bundleRemoved(TrustDomain)
        case entry(RegistrationEntry)
        case entryRemoved(id: String)
        /// What the server attested of the node; entries are resolved again.
        case node(TemplateNode)
        case proxy(NodeProxy)
        case proxyRemoved(String)
        case revocation(name: String, Revocation)
        case revocationRemoved(name: String)
        /// A list that was read; it is shown once it verifies with an authority of the bundle.
        case revocationList(CertificateRevocationList)
        case revocationListRemoved(authorityID: String)
    }

    /// Most SVIDs kept for workloads that went away, in case they come back: each a few KiB.
    package static let idleIdentitiesMax = 1_000

    package let trustDomain: TrustDomain
    package private(set) var node: TemplateNode
    /// What the node was attested to be; nil while that is not known.
    package private(set) var attested: Set<Selector>?

    var entries: [String: CachedEntry] = [:]
    var identities: [IdentityKey: CachedIdentity] = [:]
    var bundles: [TrustDomain: TrustBundle] = [:]
    var classes: [WorkloadClassID: WorkloadClass] = [:]
    /// Entries by the first of their workload selectors.
    var entriesByAnchor: [Selector: Set<String>] = [:]
    /// Entries by the identity they grant without anything of a workload.
    var entriesByNodeIdentity: [SPIFFEID: Set<String>] = [:]
    /// Proxies in force here, by `namespace/name`.
    var proxies: [String: NodeProxy] = [:]
    /// Proxies that are for other nodes than what this one was attested to be.
    var proxiesOfOthers: [String: NodeProxy] = [:]
    var proxiesByIdentity: [SPIFFEID: Set<String>] = [:]
    var identitiesByEntry: [String: Set<IdentityKey>] = [:]
    var classesByEntry: [String: Set<WorkloadClassID>] = [:]
    var idle: Set<IdentityKey> = []
    var pending = CacheWork()
    private var classIndex = SelectorIndex<WorkloadClassID>()
    private(set) var classesByAudience: [Audience: WorkloadClassID] = [:]
    private(set) var classesBySubscriber: [SubscriberID: WorkloadClassID] = [:]
    private var classNumber = 0
    private(set) var revocations = RevocationSet()
    private(set) var lists = RevocationListShelf()
    /// Authorities that left the own bundle when it changed last: peers believe what they signed no
    /// more.
    private var leftAuthorities: Set<[UInt8]> = []
    private var deadlines = DeadlineQueue<Date, CacheDeadline>()
    private var timerAt: Date?

    package init(trustDomain: TrustDomain, node: TemplateNode) {
        self.trustDomain = trustDomain
        self.node = node
    }

    package var entryCount: Int { entries.count }
    /// Streams of workloads, not those of proxies.
    package var subscriberCount: Int {
        classes.values.reduce(0) { count, one in
            if case .workloads = one.audience { count + one.subscribers.count } else { count }
        }
    }
    /// Identities with an SVID at hand.
    package var svidCount: Int { identities.values.count { $0.issued != nil } }

    /// How an authority is distrusted; nil if nothing was said of it.
    package func standing(ofAuthority keyID: [UInt8]) -> AuthorityStanding? {
        revocations.distrust(of: keyID)
    }

    /// How the authorities of a verified path are distrusted; nil if nothing was said of any.
    package func standing(ofPath path: [[UInt8]]) -> AuthorityStanding? {
        AuthorityStanding.worst(of: path) { revocations.distrust(of: $0) }
    }

    /// Before which moment what was issued for an identity is refused; nil if it is not revoked.
    package func revokedBefore(_ id: SPIFFEID) -> Date? { revocations.before(of: id) }

    /// Why an entry's ID cannot be said on this node; nil if it can, or if the entry is unknown.
    package func problem(ofEntry id: String) -> IDTemplateError? { entries[id]?.problem }

    /// The DNS names and lifetime to ask for; nil if the entry grants nothing now.
    package func entry(of key: IdentityKey) -> RegistrationEntry? {
        guard identities[key] != nil, isGranted(key) else { return nil }
        return entries[key.entryID]?.entry
    }

    // MARK: Subscribers

    /// A workload that attested to `selectors` opened a stream; its first message is
    /// `view(for:)` right after.
    package mutating func subscribe(
        _ subscriber: SubscriberID,
        selectors: Set<Selector>,
        interest: WorkloadInterest = .svids,
        now: Date
    ) -> [Action] {
        join(subscriber, .workloads(selectors), interest: interest, now: now)
    }

    mutating func join(
        _ subscriber: SubscriberID,
        _ audience: Audience,
        interest: WorkloadInterest,
        now: Date
    ) -> [Action] {
        precondition(classesBySubscriber[subscriber] == nil, "subscriber numbers are used once")
        let id: WorkloadClassID
        if let known = classesByAudience[audience] {
            id = known
        } else {
            classNumber += 1
            id = WorkloadClassID(number: classNumber)
            classes[id] = WorkloadClass(audience)
            classesByAudience[audience] = id
            if case .workloads(let selectors) = audience {
                classIndex.insert(id, selectors: selectors)
            }
            pending.rematch.insert(id)
        }
        classesBySubscriber[subscriber] = id
        // Whoever joins reads the view itself: it is put in after the others were woken.
        let actions = finish(now: now)
        classes[id]?.subscribers[subscriber] = interest
        return actions
    }

    /// The workload's stream ended.
    package mutating func unsubscribe(_ subscriber: SubscriberID, now: Date) -> [Action] {
        guard let id = classesBySubscriber.removeValue(forKey: subscriber) else { return [] }
        classes[id]?.subscribers[subscriber] = nil
        guard let left = classes[id], left.subscribers.isEmpty else { return [] }
        leave(id, left.identities)
        classes[id] = nil
        classesByAudience[left.audience] = nil
        if case .workloads = left.audience { classIndex.remove(id) }
        return finish(now: now)
    }

    /// The shell does not want to keep this subscriber waiting any longer: it is shown what SVIDs
    /// there are, even if the one of its default identity is missing.
    package mutating func patienceEnded(_ subscriber: SubscriberID, now: Date) -> [Action] {
        guard let id = classesBySubscriber[subscriber], classes[id]?.hasOpened == false else {
            return []
        }
        classes[id]?.hasOpened = true
        pending.review.insert(id)
        return finish(now: now)
    }

    /// What a subscriber may have now; denied if it is unknown.
    package func view(for subscriber: SubscriberID) -> WorkloadView {
        classesBySubscriber[subscriber].flatMap { classes[$0]?.view } ?? .denied
    }

    // MARK: Resources

    /// Resource changes that come into force as one: a subscriber is woken at most once for all.
    package mutating func received(_ changes: [Change], now: Date) -> [Action] {
        var revocationChanges: [String: Revocation?] = [:]
        let (nodeBefore, attestedBefore) = (node, attested)
        for change in changes {
            switch change {
            case .attested(let new): attested = new
            case .bundle(let bundle):
                noteLeaving(of: bundle)
                bundles[bundle.trustDomain] = bundle
                reviewUsers(of: bundle.trustDomain)
            case .bundleRemoved(let trustDomain):
                bundles[trustDomain] = nil
                reviewUsers(of: trustDomain)
            case .entry(let entry): put(entry, now: now)
            case .entryRemoved(let id): removeEntry(id)
            case .node(let new): node = new
            case .proxy(let proxy): put(proxy)
            case .proxyRemoved(let reference): removeProxy(reference)
            case .revocation(let name, let revocation):
                revocationChanges[name] = .some(revocation)
            case .revocationRemoved(let name): revocationChanges[name] = .some(nil)
            case .revocationList(let list): lists.put(list)
            case .revocationListRemoved(let id): lists.remove(authorityID: id)
            }
        }
        if changes.contains(where: \.concernsLists), lists.judge(beside: bundles[trustDomain]) {
            pending.review.formUnion(classes.keys)
        }
        if node != nodeBefore || attested != attestedBefore {
            putEntriesAgain(now: now)
            judgeProxies()
            pending.recheckRevocations = true
        }
        if !revocationChanges.isEmpty {
            let distrusted = revocations.authorities
            pending.newlyTainted = revocations.change(revocationChanges, now: now)
            pending.recheckRevocations = true
            // Whose key has signed tokens shows in every bundle.
            if revocations.authorities != distrusted { pending.review.formUnion(classes.keys) }
            reviewProxies()
        }
        return finish(now: now)
    }

    /// SVIDs were signed; all of a batch are shown together.
    package mutating func received(_ issued: [IssuedSVID], now: Date) -> [Action] {
        store(issued, isRestored: false, now: now)
    }

    /// SVIDs were read back after a restart, once the entries and revocations were received.
    package mutating func restored(_ issued: [IssuedSVID], now: Date) -> [Action] {
        store(issued, isRestored: true, now: now)
    }

    /// The server refuses to sign for these identities; others are not kept waiting for them.
    package mutating func signingRefused(_ keys: [IdentityKey], now: Date) -> [Action] {
        for key in keys {
            guard let identity = identities[key] else { continue }
            identities[key]?.isRefused = true
            pending.review.formUnion(identity.classes)
        }
        return finish(now: now)
    }

    // MARK: Time

    /// The scheduled time has come; firing early or twice does no harm.
    package mutating func timerFired(now: Date) -> [Action] {
        timerAt = nil
        expire(now: now)
        return finish(now: now)
    }

    /// The wall clock was stepped: everything is judged again, in both directions.
    package mutating func clockStepped(now: Date) -> [Action] {
        timerAt = nil
        for id in entries.keys {
            guard let cached = entries[id] else { continue }
            deadlines.set(.entry(id), to: cached.entry.expires)
            setActive(id, cached.isActive(at: now))
        }
        // Certificates that seemed to have ended may be good, and be refused, again.
        _ = revocations.change([:], now: now)
        pending.recheckRevocations = true
        reviewProxies()
        expire(now: now)
        return finish(now: now)
    }

    // MARK: Steps

    /// Notes which authorities the own bundle has lost, usually after all that they signed has ended.
    private mutating func noteLeaving(of bundle: TrustBundle) {
        guard bundle.trustDomain == trustDomain, let before = bundles[trustDomain],
            before.allAuthorities != bundle.allAuthorities
        else { return }
        leftAuthorities = before.authorityKeyIDs.subtracting(bundle.authorityKeyIDs)
        pending.recheckRevocations = true
    }

    private mutating func put(_ entry: RegistrationEntry, now: Date) {
        let old = entries[entry.id]
        if old?.entry.workloadSelectors != entry.workloadSelectors {
            removeAnchor(of: entry.id)
            if let anchor = entry.workloadSelectors.first {
                entriesByAnchor[anchor, default: []].insert(entry.id)
            }
        }
        let new = CachedEntry(
            entry,
            trustDomain: trustDomain,
            node: node,
            attested: attested,
            now: now
        )
        index(entry.id, from: old?.nodeIdentity?.spiffeID, to: new.nodeIdentity?.spiffeID)
        entries[entry.id] = new
        deadlines.set(.entry(entry.id), to: new.isActive ? entry.expires : nil)
        touch(entry.id)
        if let key = new.nodeIdentity { pending.identities.insert(key) }
        pending.rematch.formUnion(classIndex.members(showing: entry.workloadSelectors))
        // Without an old entry there are SVIDs only if it was removed by the same batch.
        let isOutdated =
            old?.entry.dnsNames != entry.dnsNames
            || old?.entry.x509SVIDTTLSeconds != entry.x509SVIDTTLSeconds
        for key in identitiesByEntry[entry.id] ?? [] where isOutdated {
            pending.outdated.insert(key)
            if let issued = identities[key]?.issued, !isWithin(issued, entry) { withdraw(key) }
        }
    }

    /// Resolves every entry anew, because something else is known of the node.
    private mutating func putEntriesAgain(now: Date) {
        for id in entries.keys.sorted() {
            if let cached = entries[id] { put(cached.entry, now: now) }
        }
    }

    private mutating func removeEntry(_ id: String) {
        touch(id)
        removeAnchor(of: id)
        index(id, from: entries[id]?.nodeIdentity?.spiffeID, to: nil)
        entries[id] = nil
        deadlines.set(.entry(id), to: nil)
    }

    private mutating func removeAnchor(of id: String) {
        guard let anchor = entries[id]?.entry.workloadSelectors.first else { return }
        entriesByAnchor[anchor]?.remove(id)
        if entriesByAnchor[anchor]?.isEmpty == true { entriesByAnchor[anchor] = nil }
    }

    /// Keeps the index of entries by identity, and notes the proxies that lose or gain one.
    private mutating func index(_ id: String, from old: SPIFFEID?, to new: SPIFFEID?) {
        guard old != new else { return }
        if let old {
            entriesByNodeIdentity[old]?.remove(id)
            if entriesByNodeIdentity[old]?.isEmpty == true { entriesByNodeIdentity[old] = nil }
            rematchProxies(naming: old)
        }
        if let new { entriesByNodeIdentity[new, default: []].insert(id) }
    }

    private mutating func setActive(_ id: String, _ isActive: Bool) {
        guard let cached = entries[id], cached.isActive != isActive else { return }
        entries[id]?.isActive = isActive
        touch(id)
        if let key = cached.nodeIdentity { pending.identities.insert(key) }
        pending.rematch.formUnion(classIndex.members(showing: cached.entry.workloadSelectors))
    }

    private mutating func store(
        _ issued: [IssuedSVID],
        isRestored: Bool,
        now: Date
    ) -> [Action] {
        var discarded: [IdentityKey] = []
        for new in issued {
            let key = new.key
            guard let identity = identities[key], let entry = entry(of: key),
                new.svid.notAfter > now, isWithin(new, entry),
                !revocations.revokes(new, on: node.name),
                !leftAuthorities.contains(new.authorityKeyID)
            else {
                discarded.append(key)
                continue
            }
            // An answer that was overtaken by a newer one changes nothing. Which is newer is said by the
            // clock of the server, which does not go back as a node's may.
            if let present = identity.issued, present.notBefore > new.notBefore { continue }
            identities[key]?.issued = new
            identities[key]?.isRefused = false
            deadlines.set(.svid(key), to: new.svid.notAfter)
            pending.review.formUnion(identity.classes)
            if isRestored {
                pending.announce.insert(key)
                if Set(new.dnsNames) != Set(entry.dnsNames) { pending.outdated.insert(key) }
            }
        }
        let actions = finish(now: now)
        return discarded.isEmpty ? actions : [.discarded(discarded.sorted())] + actions
    }

    /// Takes an SVID out of service; a new one is wanted if the identity is.
    private mutating func withdraw(_ key: IdentityKey) {
        guard let identity = identities[key], identity.issued != nil else { return }
        identities[key]?.issued = nil
        deadlines.set(.svid(key), to: nil)
        pending.review.formUnion(identity.classes)
        pending.announce.insert(key)
        pending.identities.insert(key)
    }

    private mutating func expire(now: Date) {
        while let deadline = deadlines.popDue(at: now) {
            switch deadline {
            case .entry(let id): setActive(id, false)
            case .svid(let key): withdraw(key)
            }
        }
    }

    private func isWithin(_ issued: IssuedSVID, _ entry: RegistrationEntry) -> Bool {
        Set(issued.dnsNames).isSubset(of: entry.dnsNames)
    }

    /// Carries out what is pending, and says what changed by it.
    private mutating func finish(now: Date) -> [Action] {
        // What was due before these events must not be shown because of them.
        expire(now: now)
        if pending.recheckRevocations {
            for (key, identity) in identities {
                guard let issued = identity.issued else { continue }
                if revocations.revokes(issued, on: node.name)
                    || leftAuthorities.contains(issued.authorityKeyID)
                {
                    withdraw(key)
                } else if pending.newlyTainted.contains(issued.authorityKeyID) {
                    pending.tainted.insert(key)
                }
            }
        }
        rematchClasses()
        let demand = settleDemand()
        for key in demand.forgotten { deadlines.set(.svid(key), to: nil) }
        let woken = reviewClasses()
        pending = CacheWork()
        var actions: [Action] = []
        if !demand.changes.isEmpty { actions.append(.demand(demand.changes)) }
        if !woken.isEmpty { actions.append(.wake(woken)) }
        if let earliest = deadlines.earliest, earliest < timerAt ?? .distantFuture {
            timerAt = earliest
            actions.append(.scheduleTimer(at: earliest))
        }
        return actions
    }
}

extension NodeCache.Change {
    /// Whether it may change which lists are shown.
    fileprivate var concernsLists: Bool {
        switch self {
        case .bundle, .revocationList, .revocationListRemoved: true
        default: false
        }
    }
}
