// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import MTLSProxy
import NodeAgent
import NodeSync
import Reactor
import SPIFFE

/// A proxy on an agent's machine: what it takes of the agent's words is the real one's, its
/// handshakes are verifications of chains.
///
/// It outlives the agent's processes, as its own does.
final class SimulatedProxy {
    /// The name of its document, and who it presents itself as.
    static let reference = "default/gate"
    static let identity = "spiffe://\(ServerProcess.trustDomainName)/door"
    private static let user = "unix:uid:1002"

    private let selectors: Set<Selector>
    private let ownTrustDomain: TrustDomain
    private var gate = ConfigurationGate()
    /// What is in force; nil before the first word.
    private(set) var trust: ProxyTrust?
    private var subscriber: SubscriberID?
    /// For each trust domain a verifier of the authorities that were in force last.
    private var verifiers: [TrustDomain: (authorities: [[UInt8]], verifier: PeerVerifier)] = [:]

    init() throws {
        selectors = [try Selector(Self.user)]
        ownTrustDomain = try TrustDomain(ServerProcess.trustDomainName)
    }

    /// The entry of every node's proxy.
    static func entry(ttlSeconds: Int, federatesWith partners: [TrustDomain]) -> EntryPlan {
        EntryPlan(
            name: "door",
            spiffeID: identity,
            nodeSelectors: ["zone:\(SimulatedAgent.zone)"],
            workloadSelectors: [user],
            ttlSeconds: ttlSeconds,
            expires: nil,
            federatesWith: partners
        )
    }

    /// The document of every node's proxy.
    static let document = """
        apiVersion: core.signet/v1alpha1
        kind: Proxy
        metadata: {name: gate}
        spec:
          mode: sidecar
          nodeSelectors: ["zone:\(SimulatedAgent.zone)"]
          selectors: ["\(user)"]
          identities: ["\(identity)"]
          inbound:
          - name: in
            address: 127.0.0.1:8443
            identity: "\(identity)"
            protocol: http
            workloadPort: 80
            forward: {unix: /run/demo/app.sock}
        """

    // MARK: - The agent's stream

    func processStarted(on agent: SimulatedAgent) {
        attach(to: agent, after: agent.random.duration(0.05...3))
    }

    func processEnded() { subscriber = nil }

    private func attach(to agent: SimulatedAgent, after delay: Duration) {
        agent.after(delay, "\(agent.name) proxy attaches") { [self] in
            guard subscriber == nil, let process = agent.process else { return }
            let isKnown = process.logic.proxies(meaning: selectors)
                .contains { $0.reference == Self.reference }
            guard isKnown else { return attach(to: agent, after: agent.random.duration(1...5)) }
            try await process.attach(self, selectors) { subscriber = $0 }
        }
    }

    /// The stream says something; when it ends the proxy comes back a little later.
    func told(_ answer: ProxyAnswer, on agent: SimulatedAgent) async throws {
        switch answer {
        case .view(let offer): take(offer.view.trust, on: agent)
        case .ended, .unavailable:
            guard let subscriber else { return }
            self.subscriber = nil
            try await agent.process?.detach(subscriber)
            attach(to: agent, after: agent.random.duration(1...5))
        }
    }

    private func take(_ told: ProxyView.Trust, on agent: SimulatedAgent) {
        if agent.sabotage == .deafProxy, trust != nil { return }
        guard let new = ProxyTrust(told, in: ownTrustDomain) else { return }
        trust = gate.received(agent.sabotage == .forgivingProxy ? new.forgiving : new)
    }
}

extension SimulatedProxy {
    /// The authorities by which a peer of a trust domain is verified; nil if none of it is believed.
    func authorities(of trustDomain: TrustDomain) -> [[UInt8]]? {
        guard let trust, let identity = try? SPIFFEID(Self.identity) else { return nil }
        let isBelieved =
            trustDomain == trust.trustDomain
            || trust.federations[identity]?.contains(trustDomain) == true
        return isBelieved ? trust.bundles[trustDomain]?.x509Authorities : nil
    }

    /// Whether a chain verifies with the bundle of a trust domain, as in a handshake.
    func verifies(_ chain: [[UInt8]], of trustDomain: TrustDomain, now: Date) async -> Bool {
        guard let authorities = authorities(of: trustDomain),
            let bundle = trust?.bundles[trustDomain]
        else { return false }
        let known = verifiers[trustDomain].flatMap {
            $0.authorities == authorities ? $0.verifier : nil
        }
        let verifier = known ?? PeerVerifier(bundles: [trustDomain: bundle])
        verifiers[trustDomain] = (authorities, verifier)
        return (try? await verifier.verify(chain: chain, now: now)) != nil
    }
}

extension ProxyTrust {
    /// Sabotage: the same without what is said of revoked authorities.
    fileprivate var forgiving: Self {
        Self(
            trustDomain: trustDomain,
            bundles: bundles,
            revocations: revocations,
            authorities: authorities.filter { $0.value != .revoked },
            leaves: leaves,
            granted: granted,
            federations: federations
        )
    }

    /// What a proxy reads of the message that is made of a view; nil if it refuses that.
    init?(_ told: ProxyView.Trust, in trustDomain: TrustDomain) {
        let bundles = Dictionary(
            told.bundles.map { ($0.trustDomain, $0) },
            uniquingKeysWith: { first, _ in first }
        )
        guard bundles[trustDomain] != nil else { return nil }
        var identities: [SPIFFEID: Date] = [:]
        var authorities: [[UInt8]: AuthorityStanding] = [:]
        var leaves: [PeerRevocations.Leaf: Date] = [:]
        for revocation in told.revocations {
            switch revocation {
            case .authority(let keyID): authorities[keyID] = .revoked
            case .identity(let id, let before):
                identities[id] = max(identities[id] ?? .distantPast, before)
            case .leaf(let keyID, let serial, let notAfter):
                leaves[.init(authorityKeyID: keyID, serial: serial)] = notAfter
            case .node: return nil
            case .taintedAuthority(let keyID):
                authorities[keyID] = authorities[keyID] ?? .tainted
            }
        }
        self.init(
            trustDomain: trustDomain,
            bundles: bundles,
            revocations: identities,
            authorities: authorities,
            leaves: leaves,
            granted: Set(told.granted),
            federations: told.federations.mapValues(Set.init)
        )
    }
}

/// A proxy at an agent's process.
struct AttachedProxy {
    let subscriber: SubscriberID
    let proxy: SimulatedProxy
}

extension AgentProcess {
    /// Attaches a proxy; it learns its number before it is told anything.
    func attach(
        _ proxy: SimulatedProxy,
        _ selectors: Set<Selector>,
        _ accepted: (SubscriberID) -> Void
    ) async throws {
        subscriberNumber += 1
        let id = SubscriberID(subscriberNumber)
        attached = AttachedProxy(subscriber: id, proxy: proxy)
        accepted(id)
        try await perform(
            logic.proxyAttached(
                id,
                proxy: SimulatedProxy.reference,
                selectors: selectors,
                now: now,
                using: &machine.random
            )
        )
        try await tellProxy()
    }

    func detach(_ id: SubscriberID) async throws {
        guard attached?.subscriber == id else { return }
        attached = nil
        try await perform(logic.unsubscribed(id, now: now, using: &machine.random))
    }

    /// Tells the proxy what it is to do now.
    func tellProxy() async throws {
        guard let attached else { return }
        try await attached.proxy.told(logic.proxyAnswer(for: attached.subscriber), on: machine)
    }
}
