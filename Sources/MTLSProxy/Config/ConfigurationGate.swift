// SPDX-License-Identifier: Apache-2.0

internal import ControlAPI
internal import FoundationEssentials
package import NodeSync
internal import Reactor
internal import Routing
internal import SPIFFE

/// What of an agent's words is brought into force.
///
/// It outlives the streams: the last state, its keys and what is known of revocations stay in force
/// while the agent is away, and bind what the next stream may say.
package struct ConfigurationGate: Sendable {
    /// What a state comes to.
    enum Verdict: Sendable {
        case apply(ProxyConfiguration)
        /// The answer to the agent.
        case refuse(String)
    }

    /// How an agent broke the protocol; the stream ends, what is in force stays.
    package enum Violation: String, Error, Hashable, Sendable, CustomStringConvertible {
        case sequenceNotNext
        case stateBeforeTrust
        case watermarkNotOfState

        package var description: String {
            switch self {
            case .sequenceNotNext: "a state does not follow the one before"
            case .stateBeforeTrust: "a state came before trust"
            case .watermarkNotOfState: "a watermark is of another epoch, or of no state"
            }
        }
    }

    /// Most revocations remembered, those included that the agent does not name any more.
    package static let revocationsKeptMax = 2 * AgentMessageLimits.revocationsMax

    /// Most distrusted authorities remembered, those included that the agent does not name any more:
    /// a server has as many as its operators have distrusted in eight days.
    package static let authoritiesKeptMax = 1_024

    /// Nil before the first.
    package private(set) var trust: ProxyTrust?
    /// Of the state in force; nil before the first.
    package private(set) var revision: Revision?
    /// What is in force, with the keys that it began with; nil before the first.
    private var inForce: ProxyConfiguration?
    private var held: [SPIFFEID: ProxyIdentity] = [:]
    private var lastSequence: UInt64 = 0
    private var hasTrust = false

    package init() {}

    /// A stream was opened: sequences begin anew, and trust comes first.
    mutating func streamOpened() {
        lastSequence = 0
        hasTrust = false
    }

    /// Takes trust, which nothing can refuse once it was read.
    ///
    /// - Returns: What is in force: revocations that were known before included, because they are
    ///   never undone.
    package mutating func received(_ new: ProxyTrust) -> ProxyTrust {
        hasTrust = true
        var revocations = new.revocations
        if let trust, trust.trustDomain == new.trustDomain {
            revocations.merge(trust.revocations) { max($0, $1) }
        }
        if revocations.count > Self.revocationsKeptMax {
            // The oldest refuse what has expired by now.
            let newest = revocations.sorted { $0.value > $1.value }
                .prefix(Self.revocationsKeptMax)
            revocations = Dictionary(uniqueKeysWithValues: newest.map { ($0.key, $0.value) })
        }
        let merged = ProxyTrust(
            trustDomain: new.trustDomain,
            bundles: new.bundles,
            revocations: revocations,
            authorities: distrusted(new),
            leaves: revokedLeaves(new),
            granted: new.granted,
            federations: new.federations
        )
        trust = merged
        held = held.filter { isGood($0.value) }
        return merged
    }

    /// How authorities are distrusted.
    ///
    /// One that was revoked stays so, whatever the agent says, while there is room to remember it.
    /// That one is tainted is the agent's to know.
    private func distrusted(_ new: ProxyTrust) -> [[UInt8]: AuthorityStanding] {
        guard let trust, trust.trustDomain == new.trustDomain else { return new.authorities }
        var result = new.authorities
        for (keyID, standing) in trust.authorities
        where standing == .revoked
            && (result[keyID] != nil || result.count < Self.authoritiesKeptMax)
        {
            result[keyID] = .revoked
        }
        return result
    }

    /// Revoked certificates, with those that were known before, of which the ones that end first go
    /// when there is no room.
    private func revokedLeaves(_ new: ProxyTrust) -> [PeerRevocations.Leaf: Date] {
        guard let trust, trust.trustDomain == new.trustDomain else { return new.leaves }
        let all = new.leaves.merging(trust.leaves) { new, _ in new }
        guard all.count > Self.revocationsKeptMax else { return all }
        let room = max(0, Self.revocationsKeptMax - new.leaves.count)
        let kept = trust.leaves.filter { new.leaves[$0.key] == nil }
            .sorted { $0.value > $1.value }.prefix(room)
        return new.leaves.merging(kept.map { ($0.key, $0.value) }) { new, _ in new }
    }

    /// Judges a state that could be read.
    mutating func received(_ new: ReceivedState) throws(Violation) -> Verdict {
        try follows(new.sequence)
        var revision = new.revision
        if let inForce = self.revision, inForce.epoch == revision.epoch,
            revision.number < inForce.number
        {
            guard new.state == self.inForce?.state else {
                return .refuse(
                    "revision \(revision.number) is below \(inForce.number) of the same epoch"
                )
            }
            // An agent that was started again may know an earlier revision of the same state.
            revision = inForce
        }
        var identities: [SPIFFEID: ProxyIdentity] = [:]
        for (id, identity) in new.identities {
            if let usable = identity ?? held[id], isGood(usable) { identities[id] = usable }
        }
        return .apply(
            ProxyConfiguration(
                revision: revision,
                sequence: new.sequence,
                state: new.state,
                identities: identities
            )
        )
    }

    /// A state that could not be read is refused in its turn.
    mutating func refused(_ sequence: UInt64) throws(Violation) { try follows(sequence) }

    /// A state is in force.
    mutating func applied(_ configuration: ProxyConfiguration) {
        revision = configuration.revision
        inForce = configuration
        held = configuration.identities.filter { isGood($0.value) }
    }

    /// The state in force with the newer keys of one that was refused, so that the last good state
    /// does not end with its certificates; nil if nothing changes.
    ///
    /// Only for what that state names and trust grants.
    func renewed(with keys: [SPIFFEID: ProxyIdentity?]) -> ProxyConfiguration? {
        guard let inForce, let revision else { return nil }
        var identities = held
        for (id, key) in keys where inForce.state.proxy.identities.contains(id) {
            guard let key, isGood(key) else { continue }
            if let old = held[id], key.notAfter <= old.notAfter { continue }
            identities[id] = key
        }
        guard identities != held else { return nil }
        return ProxyConfiguration(
            revision: revision,
            sequence: inForce.sequence,
            state: inForce.state,
            identities: identities
        )
    }

    /// The state in force is also that of a later revision.
    mutating func raised(to new: Revision) throws(Violation) {
        guard let revision, revision.epoch == new.epoch else { throw .watermarkNotOfState }
        if new.number > revision.number { self.revision = new }
    }

    private mutating func follows(_ sequence: UInt64) throws(Violation) {
        guard hasTrust else { throw .stateBeforeTrust }
        guard sequence == lastSequence + 1 else { throw .sequenceNotNext }
        lastSequence = sequence
    }

    private func isGood(_ identity: ProxyIdentity) -> Bool {
        guard let trust, trust.granted.contains(identity.id) else { return false }
        return !trust.revokes(identity)
    }
}
