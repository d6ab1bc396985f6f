// SPDX-License-Identifier: Apache-2.0

package import NodeSync
package import SPIFFE

/// A proxy process that is told what to do.
struct ProxySubscriber: Sendable {
    /// `namespace/name` of the Proxy it attested to.
    let proxy: String
    /// What it attested to.
    let selectors: Set<Selector>
}

/// What a proxy's stream is to do now.
package enum ProxyAnswer: Equatable, Sendable {
    /// The process may not have the Proxy any more: the stream ends.
    case ended(ProxyEnd)
    /// Nothing can be told yet: the stream ends and is opened again.
    case unavailable(String)
    case view(ProxyOffer)
}

/// A whole view, with the revision it is of.
package struct ProxyOffer: Hashable, Sendable {
    package let view: ProxyView
    /// What the agent has applied.
    package let revision: Revision
    /// Whether a first state is worth sending: nothing that is on its way is missing, or it was
    /// waited for long enough.
    package let isDue: Bool
    /// What is known of the observed ports that the Proxy names, sorted.
    package let endpoints: [ObservedEndpoints]

    package init(
        view: ProxyView,
        revision: Revision,
        isDue: Bool,
        endpoints: [ObservedEndpoints] = []
    ) {
        self.view = view
        self.revision = revision
        self.isDue = isDue
        self.endpoints = endpoints
    }
}

/// Why a process may not have its Proxy any more.
package enum ProxyEnd: String, Error, Hashable, Sendable {
    /// The Proxy was deleted or has left the scope of this node.
    case gone
    /// The Proxy asks for selectors that the process did not attest to when it connected.
    case selectorsChanged
}

extension AgentLogic {
    /// A process attached to the Proxy that it attested to.
    ///
    /// - Parameters:
    ///   - subscriber: Never used before.
    ///   - proxy: `namespace/name`, as `ProxyMatch` found it.
    ///   - selectors: What the process attested to.
    ///   - now: Both clocks.
    ///   - generator: Where jitter comes from.
    /// - Returns: What the shell has to do.
    package mutating func proxyAttached(
        _ subscriber: SubscriberID,
        proxy: String,
        selectors: Set<Selector>,
        now: ClockReading,
        using generator: inout some RandomNumberGenerator
    ) -> [Action] {
        var actions = observeClocks(now: now, using: &generator)
        proxies[subscriber] = ProxySubscriber(proxy: proxy, selectors: selectors)
        actions += perform(
            cache.subscribe(subscriber, proxy: proxy, now: now.wall),
            now: now,
            using: &generator
        )
        if isWaiting(subscriber) {
            patience.set(subscriber, to: now.boot + Self.firstAnswerPatience)
        }
        return actions + finish(now: now, using: &generator)
    }

    /// The server told lists of observed endpoints.
    package mutating func endpointsReceived(_ lists: [ObservedEndpoints]) -> [Action] {
        var changed: Set<ObservedPort> = []
        for list in lists {
            var addresses = list.addresses
            if list.isPartial {
                let known = endpoints[list.port] ?? []
                let new = Set(addresses)
                // Who is up for certain comes first.
                addresses += known.filter { !new.contains($0) }
                addresses = addresses.prefix(EndpointDirectory.listMax).sorted()
            }
            guard endpoints[list.port] != addresses else { continue }
            endpoints[list.port] = addresses
            changed.insert(list.port)
        }
        if endpoints.count > EndpointDirectory.portsMax {
            let named = cache.observedPorts
            endpoints = endpoints.filter { named.contains($0.key) }
        }
        let concerned = proxies.filter { _, attached in
            cache.proxy(attached.proxy)?.observed.contains(where: changed.contains) ?? false
        }
        return concerned.isEmpty ? [] : [.wake(concerned.keys.sorted())]
    }

    /// The Proxies that mean a process which attested to `selectors`, sorted.
    package func proxies(meaning selectors: Set<Selector>) -> [NodeProxy] {
        cache.proxies(meaning: selectors)
    }

    /// Every Proxy of this node, sorted.
    package var proxiesInForce: [NodeProxy] { cache.proxiesInForce }

    /// Which identities each Proxy names that a process here has.
    package var proxyIdentities: [String: Set<SPIFFEID>] {
        var result: [String: Set<SPIFFEID>] = [:]
        for attached in proxies.values where result[attached.proxy] == nil {
            result[attached.proxy] = Set(cache.proxy(attached.proxy)?.identities ?? [])
        }
        return result
    }

    /// What a proxy's stream is to do now.
    package func proxyAnswer(for subscriber: SubscriberID) -> ProxyAnswer {
        guard let attached = proxies[subscriber] else { return .ended(.gone) }
        guard let revision = sync.revision else {
            return .unavailable("the agent has not yet received its state; try again")
        }
        let view = cache.proxyView(for: subscriber)
        guard let proxy = view.proxy else { return .ended(.gone) }
        guard proxy.matches(attached.selectors) else { return .ended(.selectorsChanged) }
        return .view(
            ProxyOffer(
                view: view,
                // Not newer than what is in force of this one.
                revision: sync.revision(of: ResourceKey(.proxy, attached.proxy)) ?? revision,
                isDue: !isWaiting(subscriber),
                endpoints: proxy.observed.compactMap { port in
                    endpoints[port].map { ObservedEndpoints(port: port, addresses: $0) }
                }
            )
        )
    }

    /// Whether a first answer is held back for SVIDs that are being signed.
    func isWaiting(_ subscriber: SubscriberID) -> Bool {
        guard proxies[subscriber] != nil else { return answer(for: subscriber) == .wait }
        return cache.proxyView(for: subscriber).isAwaiting && !exhausted.contains(subscriber)
    }

    /// Tells proxies that the agent has applied something newer, whether it concerns them or not.
    mutating func wakeProxies() -> [Action] {
        guard sync.revision != toldRevision else { return [] }
        toldRevision = sync.revision
        return proxies.isEmpty ? [] : [.wake(proxies.keys.sorted())]
    }
}
