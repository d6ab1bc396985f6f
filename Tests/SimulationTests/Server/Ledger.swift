// SPDX-License-Identifier: Apache-2.0

import Foundation
import SPIFFE

/// A registration entry as the admin wrote it, and what the server said it became.
struct EntryFact: Hashable, Sendable {
    let name: String
    /// The document's uid, the entry's ID.
    let uid: String
    let spiffeID: String
    let nodeSelectors: Set<String>
    let workloadSelectors: Set<String>
    let ttlSeconds: Int
    let expires: Date?
    let revision: UInt64

    /// The ID that the entry grants on a node; all nodes lie in one zone.
    func resolved(on node: String) -> String {
        spiffeID.replacing("{node.name}", with: node)
            .replacing("{node.zone}", with: SimulatedAgent.zone)
    }
}

/// A node as the server said it is.
struct NodeFact: Hashable, Sendable {
    var selectors: Set<String>
    var isBanned = false
    var keySHA256: [UInt8]
}

/// A certificate that the server let out.
struct IssuedFact: Hashable, Sendable {
    let serial: [UInt8]
    let spiffeID: String
    let entryID: String?
    let node: String
    let notBefore: Date
    let notAfter: Date
    let authorityID: String
    let tbsSHA256: [UInt8]
    let der: [UInt8]
}

/// An authority as the server published it.
struct AuthorityFact: Hashable, Sendable {
    let id: String
    let certificateDER: [UInt8]
    let notBefore: Date
    let notAfter: Date
    let publishedAt: Duration
    let bundleNumber: UInt64
}

/// A partner's bundle as the server said that it believes it.
struct PartnerFact: Hashable, Sendable {
    let trustDomain: TrustDomain
    /// Of the FederatedTrustDomain, with which what was fetched comes and goes.
    let documentUID: String
    let sequence: UInt64?
    let authorities: Set<[UInt8]>
    let at: Duration
}

/// A partner of whom there is a document.
struct PartnerStanding: Sendable {
    let since: Duration
    /// When its endpoint last served what is believed.
    var confirmedAt: Duration?
}

/// Everything that the server has claimed, kept apart from it: what checkers compare with.
///
/// It is written when the server says that something is committed, from what was asked for and
/// not from what the database holds.
final class Ledger {
    /// What was declared after a revision number.
    struct State {
        var entries: [String: EntryFact] = [:]
        var authorities: Set<String> = []
        /// The authorities of each partner that agents are told of.
        var partners: [TrustDomain: Set<[UInt8]>] = [:]
    }

    struct TokenFact {
        enum State { case unused, used, withdrawn }

        let name: String
        var state = State.unused
    }

    /// An authority began to sign.
    struct Activation {
        let id: String
        let retiring: String?
        let missing: [String]
        let at: Duration
        /// The server's wall clock.
        let wall: Date
        /// An admin wanted it at once.
        let isOrdered: Bool
    }

    /// When an authority was distrusted, and what the server's clock showed.
    struct Distrust {
        let at: Duration
        let wall: Date
    }

    private(set) var number: UInt64 = 0
    private(set) var history: [UInt64: State] = [0: State()]
    private(set) var nodes: [String: NodeFact] = [:]
    /// Join tokens by their hashes.
    private(set) var tokens: [[UInt8]: TokenFact] = [:]
    private(set) var issued: [[UInt8]: IssuedFact] = [:]
    private(set) var issuedInOrder: [IssuedFact] = []
    private(set) var authorities: [String: AuthorityFact] = [:]
    private var bundleNumbers: [UInt64] = []
    /// Which authority began to sign, and when.
    private(set) var activations: [Activation] = []
    /// Tainted authorities by ID, those that were revoked since included.
    private(set) var tainted: [String: Distrust] = [:]
    /// The authorities that an admin revoked, by ID.
    private(set) var revokedAuthorities: [String: Distrust] = [:]
    /// When each entry was last written, and by which number it was removed.
    private(set) var changedAt: [String: Duration] = [:]
    private(set) var removedBy: [String: UInt64] = [:]
    /// When a node was told no for an entry: agents ask again later.
    private(set) var refusedAt: [String: Duration] = [:]
    /// The versions of documents that are no entries, by uid.
    private(set) var documents: [String: UInt64] = [:]
    private(set) var refusals = RefusalRecord()
    /// In the order of their commits.
    private(set) var lists: [ListFact] = []
    private var newestLists: [String: Int] = [:]
    /// What was believed of partners, or confirmed, in this order.
    private(set) var beliefs: [PartnerFact] = []
    private(set) var partners: [TrustDomain: PartnerStanding] = [:]
    /// When agents were last told something else of a partner.
    private(set) var partnersChangedAt: [TrustDomain: Duration] = [:]
    /// Bundles that an endpoint served and that a rule refuses.
    private(set) var refusedBundleCount = 0

    var current: State { history[number] ?? State() }

    /// The state that whoever has applied `number` should have.
    func state(at number: UInt64) -> State? {
        guard number <= self.number else { return nil }
        var candidate = number
        while history[candidate] == nil { candidate -= 1 }
        return history[candidate]
    }

    /// The number of the newest bundle at a revision number.
    func bundleNumber(at number: UInt64) -> UInt64 {
        bundleNumbers.last { $0 <= number } ?? 0
    }

    func wrote(_ entry: EntryFact, at now: Duration) {
        var state = current
        state.entries[entry.uid] = entry
        record(state, entry.revision)
        changedAt[entry.uid] = now
        removedBy[entry.uid] = nil
    }

    func deleted(entry uid: String, number: UInt64, at now: Duration) {
        var state = current
        state.entries[uid] = nil
        record(state, number)
        changedAt[uid] = now
        removedBy[uid] = number
    }

    func wrote(document uid: String, _ version: UInt64) {
        documents[uid] = version
        record(current, version)
    }

    func published(_ authority: AuthorityFact) {
        var state = current
        state.authorities.insert(authority.id)
        bundleNumbers.append(authority.bundleNumber)
        record(state, authority.bundleNumber)
        authorities[authority.id] = authority
    }

    func activated(
        _ id: String,
        retiring: String?,
        missing: [String],
        isOrdered: Bool,
        at now: Duration,
        wall: Date
    ) {
        activations.append(
            Activation(
                id: id,
                retiring: retiring,
                missing: missing,
                at: now,
                wall: wall,
                isOrdered: isOrdered
            )
        )
    }

    func removed(authority id: String, number: UInt64) {
        var state = current
        state.authorities.remove(id)
        bundleNumbers.append(number)
        record(state, number)
    }

    /// What the authority signed is to be replaced; tokens that pin it are gone.
    func tainted(authority id: String, number: UInt64, at now: Duration, wall: Date) {
        tainted[id] = Distrust(at: now, wall: wall)
        record(current, number)
        withdrawUnusedTokens()
    }

    /// What the authority signed counts no more; tokens that pin it are gone, with a taint already.
    func revoked(authority id: String, number: UInt64, at now: Duration, wall: Date) {
        removed(authority: id, number: number)
        revokedAuthorities[id] = Distrust(at: now, wall: wall)
        if tainted[id] == nil { withdrawUnusedTokens() }
    }

    private func withdrawUnusedTokens() {
        for (hash, token) in tokens where token.state == .unused {
            tokens[hash]?.state = .withdrawn
        }
    }

    private func record(_ state: State, _ number: UInt64) {
        history[number] = state
        self.number = max(self.number, number)
    }

    func created(token hash: [UInt8], for name: String) {
        tokens[hash] = TokenFact(name: name)
    }

    func admitted(_ name: String, _ node: NodeFact, token: [UInt8]?) {
        nodes[name] = node
        if let token { tokens[token]?.state = .used }
    }

    func banned(_ name: String) {
        nodes[name]?.isBanned = true
        withdrawTokens(of: name)
    }

    func unbanned(_ name: String) { nodes[name]?.isBanned = false }

    func evicted(_ name: String) {
        nodes[name] = nil
        withdrawTokens(of: name)
    }

    /// Whoever is shut out does not come back with a token made before.
    private func withdrawTokens(of name: String) {
        for (hash, token) in tokens where token.name == name && token.state == .unused {
            tokens[hash]?.state = .withdrawn
        }
    }

    func issued(_ fact: IssuedFact) {
        issued[fact.serial] = fact
        issuedInOrder.append(fact)
    }

    func refused(node: String, entry: String, at now: Duration) {
        refusedAt["\(node) \(entry)"] = now
    }

    // MARK: - Revocations

    /// One certificate is refused.
    func revoked(serial: [UInt8], number: UInt64, at now: Duration) {
        record(current, number)
        // One of an act after which the server crashed was given to nobody.
        guard let fact = issued[serial] else { return }
        refusals.revoked(fact, at: now)
    }

    /// What was issued for an identity before a moment is refused.
    func revoked(
        identity: String,
        before moment: Date,
        number: UInt64,
        at now: Duration,
        wall: Date
    ) {
        record(current, number)
        refusals.revoked(
            identity: identity,
            before: moment,
            of: issuedInOrder,
            at: now,
            wall: wall
        )
    }

    func listed(_ list: ListFact, number: UInt64) {
        record(current, number)
        newestLists[list.authorityID] = lists.count
        lists.append(list)
    }

    /// The newest list of an authority.
    func list(of authorityID: String) -> ListFact? {
        newestLists[authorityID].map { lists[$0] }
    }

    // MARK: - Partners

    /// A FederatedTrustDomain is there since then.
    func federates(with trustDomain: TrustDomain, at now: Duration) {
        partners[trustDomain] = PartnerStanding(since: now)
    }

    func parted(from trustDomain: TrustDomain) { partners[trustDomain] = nil }

    func deleted(document uid: String, _ number: UInt64) {
        documents[uid] = nil
        record(current, number)
    }

    /// What was fetched is believed, anew or still.
    func believed(_ fact: PartnerFact, number: UInt64) {
        var state = current
        if state.partners[fact.trustDomain] != fact.authorities {
            partnersChangedAt[fact.trustDomain] = fact.at
        }
        state.partners[fact.trustDomain] = fact.authorities
        record(state, number)
        partners[fact.trustDomain]?.confirmedAt = fact.at
        beliefs.append(fact)
    }

    /// Nothing is believed of a partner.
    func disbelieved(_ trustDomain: TrustDomain, number: UInt64, at now: Duration) {
        var state = current
        state.partners[trustDomain] = nil
        record(state, number)
        partnersChangedAt[trustDomain] = now
    }

    func refusedBundle() { refusedBundleCount += 1 }
}
