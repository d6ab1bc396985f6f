// SPDX-License-Identifier: Apache-2.0

internal import ControlAPI
internal import FoundationEssentials
internal import NodeSync
internal import Routing
internal import SPIFFE

/// What the machines inside ask for, carried out here or passed on to the shell.
extension AgentLogic {
    mutating func perform(
        _ actions: [SyncSubscriber.Action],
        now: ClockReading,
        using generator: inout some RandomNumberGenerator
    ) -> [Action] {
        var result: [Action] = []
        for action in actions {
            switch action {
            case .acknowledge(let acknowledgement):
                result.append(.sendAcknowledgement(acknowledgement))
            case .alarm(let alarm): result.append(.report(.sync(alarm)))
            case .apply(_, let changes):
                result += bringIntoForce(changes, now: now, using: &generator)
            case .connect: result += connect(now: now)
            case .disconnect(let violation):
                let reason = violation.map { "the server broke the protocol: \($0)" }
                result.append(.disconnect(reason: reason ?? "the server offers an older state"))
            case .persist: result.append(.persistSync)
            case .reconnect(let wait): reconnectAt = now.boot + wait
            case .sendHello(let hello): result.append(.sendHello(hello, audit.mark))
            }
        }
        return result
    }

    mutating func perform(
        _ actions: [NodeCache.Action],
        now: ClockReading,
        using generator: inout some RandomNumberGenerator
    ) -> [Action] {
        var result: [Action] = []
        for action in actions {
            switch action {
            case .demand(let changes):
                for change in changes { notAfters[change.key] = change.validity?.notAfter }
                result += perform(
                    queue.demandChanged(changes, now: now, using: &generator),
                    now: now,
                    using: &generator
                )
            case .discarded(let keys): result.append(.report(.discarded(keys)))
            case .scheduleTimer(let date): cacheAt = date
            case .wake(let subscribers):
                for id in subscribers where isAnswered(id) { patience.set(id, to: nil) }
                result.append(.wake(subscribers))
            }
        }
        return result
    }

    mutating func perform(
        _ actions: [RenewalQueue.Action],
        now: ClockReading,
        using generator: inout some RandomNumberGenerator
    ) -> [Action] {
        var result: [Action] = []
        for action in actions {
            switch action {
            case .scheduleTimer(let deadline): queueAt = deadline
            case .sign(let id, let keys):
                if isOnline {
                    result += sign(id, keys, now: now, using: &generator)
                } else {
                    held[id] = keys
                }
            }
        }
        return result
    }

    /// Connects, or waits until there is an SVID to connect with.
    mutating func connect(now: ClockReading) -> [Action] {
        guard own.standing(at: now.wall) == .valid else {
            awaitsIdentity = true
            return []
        }
        welcomeBy = now.boot + Self.welcomeTimeout
        return [.connect]
    }

    // MARK: - Resources

    /// Decodes changes and brings those that can be read into force, as one.
    private mutating func bringIntoForce(
        _ changes: [ResourceChange],
        now: ClockReading,
        using generator: inout some RandomNumberGenerator
    ) -> [Action] {
        var decoded: [NodeCache.Change] = []
        var refusals: [ResourceRefusal] = []
        var withdrawn: Set<ResourceKey> = []
        var result: [Action] = []
        let nodeBefore = node
        for change in changes {
            do throws(WireError) {
                guard var read = try self.decoded(change) else { continue }
                if let reason = strangeness(of: read) {
                    refusals.append(ResourceRefusal(key: change.key, reason: reason))
                    withdrawn.insert(change.key)
                    // What was in force was this node's; what is to be is not.
                    read =
                        change.key.type == .proxy
                        ? .proxyRemoved(change.key.name) : .entryRemoved(id: change.key.name)
                }
                if case .bundle(let new) = read, new.trustDomain == trustDomain, new != bundle {
                    bundle = new
                    result.append(.trust(new))
                }
                note(read)
                decoded.append(read)
            } catch {
                refusals.append(ResourceRefusal(key: change.key, reason: error.description))
            }
        }
        if node != nodeBefore { decoded.append(.node(node)) }
        if !refusals.isEmpty { result.append(.report(.resourcesRefused(refusals))) }
        result += perform(cache.received(decoded, now: now.wall), now: now, using: &generator)
        // Before anything is done with a certificate that counts no more.
        judgeOwnAuthority(now: now, using: &generator)
        result += perform(
            sync.applied(refusing: refusals, withdrawing: withdrawn),
            now: now,
            using: &generator
        )
        return result
    }

    /// Why something is not for this node; nil if it is, or if the node does not know what it is.
    ///
    /// The server sends only what is in the node's scope. That it does is its index's work; the
    /// agent compares for itself, so that a mistake there hands nothing to a node that it is not
    /// for. Before a certificate is signed the server compares again, with its own record.
    private func strangeness(of change: NodeCache.Change) -> String? {
        guard let attested = cache.attested else { return nil }
        let asked: [Selector]
        switch change {
        case .entry(let entry): asked = entry.nodeSelectors
        case .proxy(let proxy): asked = proxy.nodeSelectors
        default: return nil
        }
        // One is enough to see what is wrong, and all of them may be long.
        guard !asked.isEmpty else { return "it names no node selector" }
        return asked.first { !attested.contains($0) }.map {
            "it is for nodes with the selector \($0), which the server did not attest of this one"
        }
    }

    /// Reads a change; nil if it says nothing that matters here.
    private func decoded(_ change: ResourceChange) throws(WireError) -> NodeCache.Change? {
        switch change {
        case .upsert(let key, let payload):
            switch try ResourcePayload(key, payload) {
            case .bundle(let new):
                guard new.trustDomain == trustDomain else {
                    throw .field("\(key)", "it is not the bundle of \(trustDomain)")
                }
                // After a restart the bundle beside the SVID may be the newer one.
                if isRestoring, new.sequenceNumber < bundle.sequenceNumber {
                    return .bundle(bundle.keepingJWTAuthorities(of: new))
                }
                guard new.x509Authorities.contains(where: { Self.isReadable($0) }) else {
                    throw .field("\(key)", "no authority of it can be read")
                }
                return .bundle(new)
            case .entry(let entry): return .entry(entry)
            case .federatedBundle(let other):
                guard other.trustDomain != trustDomain else {
                    throw .field("\(key)", "the own bundle comes as itself alone")
                }
                return .bundle(other)
            case .proxy(let state): return .proxy(try proxy(state, payload))
            case .revocation(let name, let revocation):
                return .revocation(name: name, revocation)
            case .revocationList(let list): return .revocationList(try readable(list, key))
            }
        case .remove(let key):
            switch key.type {
            case .bundle:
                guard key.name != trustDomain.name else {
                    throw .field("\(key)", "the own trust domain always has a bundle")
                }
                // None was ever taken, so there is nothing to remove.
                return nil
            case .entry: return .entryRemoved(id: key.name)
            case .federatedBundle:
                guard key.name != trustDomain.name, let other = try? TrustDomain(key.name) else {
                    throw .field("\(key)", "no other trust domain has the name")
                }
                return .bundleRemoved(other)
            case .proxy: return .proxyRemoved(key.name)
            case .revocation: return .revocationRemoved(name: key.name)
            case .revocationList: return .revocationListRemoved(authorityID: key.name)
            // None was ever taken, so there is nothing to remove.
            case .document: return nil
            }
        }
    }

    /// A list that may be kept: its authority has signed it, or is not known yet.
    private func readable(
        _ list: CertificateRevocationList,
        _ key: ResourceKey
    ) throws(WireError) -> CertificateRevocationList {
        do throws(RevocationListError) {
            // Of one step of the server the bundle comes first.
            _ = try list.verify(in: bundle)
            return list
        } catch {
            throw .field("\(key)", error.description)
        }
    }

    private func proxy(
        _ state: ProxyState,
        _ payload: [UInt8]
    ) throws(WireError) -> NodeProxy {
        let proxy = state.proxy
        for id in proxy.identities where id.trustDomain != trustDomain {
            throw .field("proxy.identities", "\(id) is not of trust domain \(trustDomain)")
        }
        return NodeProxy(
            reference: proxy.reference,
            namespace: proxy.namespace,
            nodeSelectors: proxy.nodeSelectors,
            selectors: proxy.selectors,
            identities: proxy.identities,
            observed: state.observedPorts,
            payload: payload
        )
    }

    private static func isReadable(_ authority: [UInt8]) -> Bool {
        (try? authoritySPKISHA256(authority)) != nil
    }

    private mutating func note(_ change: NodeCache.Change) {
        switch change {
        case .entry(let entry): replace(entry.id, with: entry)
        case .entryRemoved(let id): replace(id, with: nil)
        default: break
        }
    }

    private mutating func replace(_ id: String, with entry: RegistrationEntry?) {
        for selector in entries[id]?.nodeSelectors ?? [] {
            let left = nodeSelectorCounts[selector, default: 1] - 1
            nodeSelectorCounts[selector] = left > 0 ? left : nil
        }
        for selector in entry?.nodeSelectors ?? [] {
            nodeSelectorCounts[selector, default: 0] += 1
        }
        entries[id] = entry
    }

    /// All that the server attested of this node; nil from a server that does not say, and before
    /// one has answered.
    ///
    /// Every node shows a selector of its name, so that what is empty was not said.
    var attested: Set<Selector>? {
        attestedSelectors.isEmpty ? nil : withOwnName(attestedSelectors)
    }

    /// What the server is known to have attested of this node.
    ///
    /// That is the node's name and what the server said. While it has not said anything, every node
    /// selector of an entry it put into this agent's scope, because such an entry names only those.
    var node: TemplateNode {
        TemplateNode(
            name: name,
            selectors: attested ?? withOwnName(Set(nodeSelectorCounts.keys))
        )
    }

    private func withOwnName(_ selectors: Set<Selector>) -> Set<Selector> {
        guard let own = try? Selector(type: "agent", value: name) else { return selectors }
        return selectors.union([own])
    }
}
