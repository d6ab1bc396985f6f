// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials

/// Decides which batch of requests is signed next, so that one agent cannot take the signer from
/// the others and nothing expires while something less urgent is signed.
///
/// Each agent has a budget of certificates and few places in the line. While less than half of the
/// budget is left each identity on the node may take a share of it alone: a workload that asks
/// without end leaves the rest to its node's others, and one that is alone has the whole rate.
/// Batches that wait are ordered by the moment at which the first SVID to be renewed expires; what
/// renews nothing comes after all renewals. When the line is full the least urgent batch is refused,
/// be it the new one.
package struct SigningAdmission: Sendable {
    /// The limits of one server.
    package struct Limits: Hashable, Sendable {
        /// Certificates per second and agent: 10,000 workloads that renew every half hour need six;
        /// the rest is for a node that restarts all of them.
        package let agentRate: Double
        /// Certificates at once per agent: what an agent prefetches at start.
        package let agentBurst: Double
        /// Batches signed at the same time; about the number of cores.
        package let signingMax: Int
        /// Batches in the line, each at most 4 MiB of requests.
        package let waitingMax: Int
        /// Batches of one agent in the line: an agent has two under way, and one that restarts may
        /// have left as many behind.
        package let waitingPerAgentMax: Int

        package init(
            agentRate: Double = 100,
            agentBurst: Double = 1000,
            signingMax: Int = 2,
            waitingMax: Int = 64,
            waitingPerAgentMax: Int = 4
        ) {
            self.agentRate = agentRate
            self.agentBurst = agentBurst
            self.signingMax = signingMax
            self.waitingMax = waitingMax
            self.waitingPerAgentMax = waitingPerAgentMax
        }
    }

    /// One batch that wants to be signed.
    package struct Ticket: Hashable, Sendable, Identifiable {
        /// Chosen by the caller, unique among the batches that wait or are signed.
        package let id: UInt64
        /// The agent's name.
        package let agent: String
        /// How many certificates.
        package let count: Int
        /// When the first SVID that the batch renews expires; nil if it renews none.
        package let expiresAt: Date?
        /// Whom the certificates are for, one for each; none where identities have no shares.
        package let identities: [String]

        package init(
            id: UInt64,
            agent: String,
            count: Int,
            expiresAt: Date?,
            identities: [String] = []
        ) {
            self.id = id
            self.agent = agent
            self.count = count
            self.expiresAt = expiresAt
            self.identities = identities
        }
    }

    /// What the shell has to do with a batch.
    package enum Action: Hashable, Sendable {
        /// Answer "unavailable", to be tried again after the given time.
        case refuse(UInt64, retryAfter: Duration)
        /// Sign it now and report `finished`.
        case start(UInt64)
    }

    /// One identity may take this part of its agent's rate and burst while others may need the rest
    /// (`plentyShare`).
    package static let identityShare = 0.25
    /// While more than this part of an agent's burst is left nobody is asked for shares: whoever
    /// asks next finds enough.
    package static let plentyShare = 0.5
    /// When the line is full it moves by many batches in this time.
    static let fullLineRetry: Duration = .seconds(1)
    /// Below this number of agents nothing is gained by forgetting full budgets.
    private static let bucketsKeptMin = 1024

    private struct Waiting: Comparable {
        let ticket: Ticket
        let arrival: UInt64

        static func < (lhs: Self, rhs: Self) -> Bool {
            (lhs.ticket.expiresAt ?? .distantFuture, lhs.arrival)
                < (rhs.ticket.expiresAt ?? .distantFuture, rhs.arrival)
        }
    }

    /// An identity on one node.
    private struct Held: Hashable {
        let agent: String
        /// A hash, with a seed that nobody outside knows: an agent chooses the text, of any length.
        let identity: Int

        init(_ identity: String, on agent: String) {
            self.agent = agent
            self.identity = identity.hashValue
        }
    }

    private let limits: Limits
    private var buckets: [String: TokenBucket] = [:]
    private var identityBuckets: [Held: TokenBucket] = [:]
    private var pruneIdentitiesAtCount = bucketsKeptMin
    private var pruneAtCount = bucketsKeptMin
    /// Most urgent first.
    private var line: [Waiting] = []
    private var signing: Set<UInt64> = []
    private var arrivals: UInt64 = 0

    package init(limits: Limits = Limits()) {
        self.limits = limits
    }

    /// How many batches wait.
    package var waitingCount: Int { line.count }

    /// Judges an agent's requests in order, as if each was signed: all may be while plenty of its
    /// budget is left, then each identity has its share.
    ///
    /// Nothing is taken here: `requested` takes what the agent's budget has as well.
    ///
    /// - Parameters:
    ///   - identities: Whom the requests are for, one for each.
    ///   - agent: Who asks.
    ///   - now: Time since boot.
    /// - Returns: For each request nil, or how long until its identity has of its share again.
    package func waits(of identities: [String], agent: String, now: Duration) -> [Duration?] {
        let plenty = limits.agentBurst * Self.plentyShare
        var left = budget(of: agent, now: now)
        var shares: [Held: TokenBucket] = [:]
        return identities.map { identity in
            let held = Held(identity, on: agent)
            var share = shares[held] ?? identityBuckets[held] ?? newShare(now: now)
            let wait = share.take(1, now: now)
            shares[held] = share
            if let wait, Double(left) <= plenty { return wait }
            left -= 1
            return nil
        }
    }

    /// A batch has arrived; `now` is time since boot.
    package mutating func requested(_ ticket: Ticket, now: Duration) -> [Action] {
        guard line.count(where: { $0.ticket.agent == ticket.agent }) < limits.waitingPerAgentMax
        else { return [.refuse(ticket.id, retryAfter: Self.fullLineRetry)] }
        var bucket = buckets[ticket.agent] ?? newBucket(now: now)
        let wait = bucket.take(ticket.count, now: now)
        buckets[ticket.agent] = bucket
        prune(now: now)
        if let wait { return [.refuse(ticket.id, retryAfter: wait)] }
        takeShares(of: ticket, now: now)
        arrivals += 1
        let waiting = Waiting(ticket: ticket, arrival: arrivals)
        let position = line.firstIndex { waiting < $0 } ?? line.endIndex
        line.insert(waiting, at: position)
        var actions = startNext()
        if line.count > limits.waitingMax {
            let last = line.removeLast()
            actions.append(.refuse(last.ticket.id, retryAfter: Self.fullLineRetry))
        }
        return actions
    }

    /// How many an agent may ask for now; `now` is time since boot.
    package func budget(of agent: String, now: Duration) -> Int {
        (buckets[agent] ?? newBucket(now: now)).available(now: now)
    }

    /// A started batch has been answered, with or without success.
    package mutating func finished(_ id: UInt64) -> [Action] {
        signing.remove(id)
        return startNext()
    }

    /// The caller of a batch has gone away.
    package mutating func withdrawn(_ id: UInt64) -> [Action] {
        line.removeAll { $0.ticket.id == id }
        return startNext()
    }

    private mutating func startNext() -> [Action] {
        var actions: [Action] = []
        while signing.count < limits.signingMax, !line.isEmpty {
            let next = line.removeFirst()
            signing.insert(next.ticket.id)
            actions.append(.start(next.ticket.id))
        }
        return actions
    }

    private func newBucket(now: Duration) -> TokenBucket {
        TokenBucket(rate: limits.agentRate, burst: limits.agentBurst, now: now)
    }

    private func newShare(now: Duration) -> TokenBucket {
        TokenBucket(
            rate: limits.agentRate * Self.identityShare,
            burst: limits.agentBurst * Self.identityShare,
            now: now
        )
    }

    /// Takes what there is of the share of each identity; the rest was of the agent's plenty.
    ///
    /// After the agent's own budget, which so bounds how many identities it can have kept here.
    private mutating func takeShares(of ticket: Ticket, now: Duration) {
        for identity in ticket.identities {
            let held = Held(identity, on: ticket.agent)
            var share = identityBuckets[held] ?? newShare(now: now)
            _ = share.take(1, now: now)
            identityBuckets[held] = share
        }
        pruneIdentities(now: now)
    }

    /// Forgets the budgets that are as good as new, whenever their number has doubled.
    private mutating func prune(now: Duration) {
        guard buckets.count >= pruneAtCount else { return }
        buckets = buckets.filter { !$0.value.isFull(now: now) }
        pruneAtCount = max(Self.bucketsKeptMin, buckets.count * 2)
    }

    private mutating func pruneIdentities(now: Duration) {
        guard identityBuckets.count >= pruneIdentitiesAtCount else { return }
        identityBuckets = identityBuckets.filter { !$0.value.isFull(now: now) }
        pruneIdentitiesAtCount = max(Self.bucketsKeptMin, identityBuckets.count * 2)
    }
}
