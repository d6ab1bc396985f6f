// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import ControlAPI
package import FoundationEssentials
internal import NodeSync
package import Reactor
internal import Routing
internal import SPIFFE

/// Makes snapshots of what the agent says; keeps what did not change since the last one, because
/// contexts and compiled policies are costly and connections are pooled by context.
package struct SnapshotBuilder {
    /// Why a state cannot be brought into force; for the admin who applied it.
    package struct Problem: Error, CustomStringConvertible {
        package let description: String
    }

    private struct ContextKey: Hashable {
        let identity: ProxyIdentity
        let role: TLSContext.Role
    }

    /// What the connections of an outbound listener stand on.
    private struct Footing: Hashable {
        let identity: ProxyIdentity
        /// Of the trust domains whose servers may answer, as far as they are believed: another one
        /// has nothing to do with the connections.
        let bundles: [TrustDomain: TrustBundle]
    }

    private let provider: TLSProvider
    private let recording: ProxyRecording
    private var generation: UInt64 = 0
    private var contexts: [ContextKey: TLSContext] = [:]
    private var policySets: [[[UInt8]]: CompiledPolicySet] = [:]
    private var authorities: (of: [TrustDomain: TrustBundle], made: TLSAuthorities)?
    private var leaves: (of: [PeerRevocations.Leaf: Date], made: Set<PeerRevocations.Leaf>)?
    /// By the listener's name.
    private var footings: [String: (Footing, generation: UInt64)] = [:]

    package init(provider: TLSProvider, recording: ProxyRecording) {
        self.provider = provider
        self.recording = recording
    }

    /// A snapshot that listens nowhere, for when trust cannot be brought into force.
    mutating func empty(revision: UInt64) -> ProxySnapshot {
        generation += 1
        return ProxySnapshot(
            generation: generation,
            revision: revision,
            inbound: [],
            outbound: []
        )
    }

    /// Everything of the state that may be served under the trust.
    ///
    /// A listener whose identity has no usable key is left out: nothing listens in the name of who
    /// is not granted.
    ///
    /// - Throws: `Problem`; nothing of the state may then be brought into force.
    package mutating func snapshot(
        of configuration: ProxyConfiguration,
        under trust: ProxyTrust,
        observed: ProxyEndpoints = [:],
        now: Date
    ) throws(Problem) -> ProxySnapshot {
        let state = configuration.state
        let policies = try unknownPolicies(of: state)
        var usedContexts: [ContextKey: TLSContext] = [:]
        var usedSets: [[[UInt8]]: CompiledPolicySet] = [:]
        let authorities = authorities(of: trust.bundles)
        let revocations = PeerRevocations(
            leaves: leaves(of: trust.leaves),
            identities: trust.revocations.mapValues {
                $0.addingTimeInterval(-X509SVID.backdatingSeconds)
            },
            authorities: trust.authorities(standing: .revoked),
            taintedAuthorities: trust.authorities(standing: .tainted)
        )
        var inbound: [InboundRoute] = []
        for (index, listener) in state.proxy.inbound.enumerated() {
            let places = state.inboundPolicies[index]
            let bytes = places.map { state.policies[$0] }
            let set: CompiledPolicySet
            if let known = policySets[bytes] ?? usedSets[bytes] {
                set = known
            } else {
                set = try Self.compiled(places.compactMap { policies[$0] }, for: listener.name)
            }
            usedSets[bytes] = set
            guard let identity = usable(listener.identity, configuration, trust, now) else {
                continue
            }
            inbound.append(
                InboundRoute(
                    listener: listener,
                    context: try context(identity, .server, &usedContexts),
                    requirements: PeerRequirements(
                        authorities: authorities,
                        in: trust.trustDomain,
                        federatingWith: trust.federations[listener.identity] ?? [],
                        revocations: revocations
                    ),
                    policies: set
                )
            )
        }
        let outbound = try outboundRoutes(
            of: configuration,
            under: trust,
            now: now,
            believing: (authorities, revocations),
            observed,
            &usedContexts
        )
        (contexts, policySets) = (usedContexts, usedSets)
        generation += 1
        let names = Set(outbound.map(\.listener.name))
        footings = footings.filter { names.contains($0.key) }
        return ProxySnapshot(
            generation: generation,
            revision: configuration.revision.number,
            inbound: inbound,
            outbound: outbound,
            unserved: unserved(of: configuration, under: trust, now: now),
            recording: recording
        )
    }

    private mutating func outboundRoutes(
        of configuration: ProxyConfiguration,
        under trust: ProxyTrust,
        now: Date,
        believing believed: (authorities: TLSAuthorities, revocations: PeerRevocations),
        _ observed: ProxyEndpoints,
        _ used: inout [ContextKey: TLSContext]
    ) throws(Problem) -> [OutboundRoute] {
        let state = configuration.state
        var outbound: [OutboundRoute] = []
        for listener in state.proxy.outbound {
            guard let service = state.service(named: listener.service),
                let port = service.port(named: listener.port)
            else {
                throw Problem(
                    description: "listener \(listener.name): Service \(listener.service) has no "
                        + "port \(listener.port)"
                )
            }
            guard let identity = usable(listener.identity, configuration, trust, now) else {
                continue
            }
            let requirements = PeerRequirements(
                authorities: believed.authorities,
                in: trust.trustDomain,
                federatingWith: trust.federations[listener.identity] ?? [],
                revocations: believed.revocations,
                expected: Set(service.identities)
            )
            let needed = Set(service.identities.map(\.trustDomain)).filter(requirements.believe)
            let footing = Footing(
                identity: identity,
                bundles: trust.bundles.filter { needed.contains($0.key) }
            )
            outbound.append(
                OutboundRoute(
                    listener: listener,
                    trafficProtocol: port.trafficProtocol,
                    context: try context(identity, .client, &used),
                    requirements: requirements,
                    serverName: service.serverName,
                    endpoints: endpoints(of: service, port.name, observed),
                    connectionGeneration: stand(listener.name, on: footing)
                )
            )
        }
        return outbound
    }

    /// Those of the document first, each once.
    private func endpoints(
        of service: Service,
        _ port: String,
        _ observed: ProxyEndpoints
    ) -> [SocketAddress] {
        guard service.isObserved else { return service.endpoints }
        let key = ObservedPort(namespace: service.namespace, service: service.name, name: port)
        let known = Set(service.endpoints)
        return service.endpoints + (observed[key] ?? []).filter { !known.contains($0) }
    }

    private mutating func authorities(of bundles: [TrustDomain: TrustBundle]) -> TLSAuthorities {
        if let (known, made) = authorities, known == bundles { return made }
        let made = TLSAuthorities(
            provider: provider,
            bundles: bundles,
            reusing: authorities?.made
        )
        authorities = (bundles, made)
        return made
    }

    /// Certificates that are refused: there may be tens of thousands, and they seldom change.
    private mutating func leaves(
        of revoked: [PeerRevocations.Leaf: Date]
    ) -> Set<PeerRevocations.Leaf> {
        if let (known, made) = leaves, known == revoked { return made }
        let made = Set(revoked.keys)
        leaves = (revoked, made)
        return made
    }

    private mutating func stand(_ listener: String, on footing: Footing) -> UInt64 {
        if let (known, generation) = footings[listener], known == footing { return generation }
        footings[listener] = (footing, generation + 1)
        return generation + 1
    }

    private func usable(
        _ id: SPIFFEID,
        _ configuration: ProxyConfiguration,
        _ trust: ProxyTrust,
        _ now: Date
    ) -> ProxyIdentity? {
        lack(of: id, configuration, trust, now) == nil ? configuration.identities[id] : nil
    }

    /// Why an identity has no certificate that may be presented; nil if it has one.
    private func lack(
        of id: SPIFFEID,
        _ configuration: ProxyConfiguration,
        _ trust: ProxyTrust,
        _ now: Date
    ) -> UnservedListener.Lack? {
        guard trust.granted.contains(id) else { return .notGranted }
        guard let identity = configuration.identities[id] else {
            // One that was revoked is not part of a state that came afterwards.
            return trust.revocations[id] == nil ? .missing : .revoked
        }
        guard !trust.revokes(identity) else { return .revoked }
        return identity.notAfter > now ? nil : .ended
    }

    private func unserved(
        of configuration: ProxyConfiguration,
        under trust: ProxyTrust,
        now: Date
    ) -> [UnservedListener] {
        let proxy = configuration.state.proxy
        let listeners =
            proxy.inbound.map { ($0.name, $0.identity) }
            + proxy.outbound.map { ($0.name, $0.identity) }
        return listeners.compactMap { name, identity in
            lack(of: identity, configuration, trust, now)
                .map { UnservedListener(name: name, identity: identity, lack: $0) }
        }
    }

    private func context(
        _ identity: ProxyIdentity,
        _ role: TLSContext.Role,
        _ used: inout [ContextKey: TLSContext]
    ) throws(Problem) -> TLSContext {
        let key = ContextKey(identity: identity, role: role)
        if let known = contexts[key] ?? used[key] {
            used[key] = known
            return known
        }
        do throws(TLSContextError) {
            let made = try TLSContext(
                provider: provider,
                role: role,
                identities: [
                    TLSIdentity(
                        chain: identity.certificateChain,
                        privateKeyPKCS8: identity.privateKeyPKCS8
                    )
                ]
            )
            used[key] = made
            return made
        } catch {
            throw Problem(description: "identity \(identity.id): \(error)")
        }
    }

    /// The policies of a state by their places, but for those that are compiled already wherever
    /// they hold: the others change far less often than trust and endpoints do.
    private func unknownPolicies(of state: ProxyState) throws(Problem) -> [Int: AccessPolicy] {
        var unread = Set(state.policies.indices)
        var needed: Set<Int> = []
        for places in state.inboundPolicies {
            if policySets[places.map { state.policies[$0] }] == nil {
                needed.formUnion(places)
            } else {
                unread.subtract(places)
            }
        }
        var policies: [Int: AccessPolicy] = [:]
        // What no listener has is read too: a state is taken whole or not at all.
        for place in unread.union(needed).sorted() {
            do { policies[place] = try AccessPolicy(decoding: state.policies[place]) } catch {
                throw Problem(
                    description: "policy \(place) cannot be read by this version of the proxy: "
                        + "\(error)"
                )
            }
        }
        return policies
    }

    private static func compiled(
        _ policies: [AccessPolicy],
        for listener: String
    ) throws(Problem) -> CompiledPolicySet {
        do { return try CompiledPolicySet(policies) } catch {
            throw Problem(description: "listener \(listener): \(error)")
        }
    }
}
