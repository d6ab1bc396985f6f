// SPDX-License-Identifier: Apache-2.0

internal import ControlAPI
package import FoundationEssentials
package import NodeSync
package import SPIFFE

/// Everything an agent decides, without clock, disk, network or lock.
///
/// It joins the machines of NodeSync with the agent's own SVID, its memory of the audit log and its
/// clock rules. The daemon and the simulation drive the same value: they call one method for each
/// thing that happened and perform the actions it returns, in order. Every method takes both clocks
/// and the randomness for jitter. One caller at a time; messages of a stream in their order.
///
/// A life: `started`, then `connected` -> `welcomed` -> `received`... -> `disconnected` for each
/// `.connect`; `subscribed`/`unsubscribed` for each workload stream; `signed` for each `.sign`;
/// `ownSVIDRenewed`/`ownSVIDRenewalFailed` for each `.renewOwnSVID`; `timerFired` for the timer.
package struct AgentLogic: Sendable {
    /// How long a workload's first answer may wait for the signing of its SVIDs; clients of the
    /// Workload API commonly give up after 30 s, so it must learn why before that.
    package static let firstAnswerPatience: Duration = .seconds(10)
    /// From `.connect` to the server's Welcome; then another server is tried.
    package static let welcomeTimeout: Duration = .seconds(20)
    /// How often the clocks are compared when nothing else happens.
    package static let clockCheckInterval: Duration = .seconds(10)

    package let trustDomain: TrustDomain
    /// The name the agent was attested under.
    package let name: String

    package internal(set) var sync: SyncSubscriber
    package internal(set) var cache: NodeCache
    package internal(set) var own: OwnSVID
    package internal(set) var audit: AuditWatch
    package internal(set) var skew = ClockSkew()
    /// The bundle of the own trust domain.
    package internal(set) var bundle: TrustBundle {
        didSet { own.bundleChanged(bundle) }
    }
    /// The entries in force, by ID.
    package internal(set) var entries: [String: RegistrationEntry] = [:]

    var queue = RenewalQueue()
    var steps: ClockStepDetector
    /// Whether the server has welcomed the open stream.
    var isOnline = false
    /// Whether the open stream has brought the state that it began with.
    var isCurrent = false
    /// A connection is wanted as soon as there is a valid SVID to make it with.
    var awaitsIdentity = false
    /// The open connection shows an SVID that was replaced, and would be drained at its end.
    var showsOldSVID = false
    /// Why the server sent this agent away the last time; nil if it did not.
    var refusedBecause: AgentRefusal?
    /// What the server said it attested of this node; empty if it did not say.
    var attestedSelectors: Set<Selector> = []
    /// Whether the server has said so since the process began.
    var knowsNode = false
    var isRestoring = false
    var helloAt: ClockReading?
    var welcomeBy: Duration?
    var reconnectAt: Duration?
    var queueAt: Duration?
    var cacheAt: Date?
    var clockCheckAt: Duration?
    var scheduledAt: Duration?
    /// Batches that wait for a connection.
    var held: [SigningBatchID: [IdentityKey]] = [:]
    /// Batches that the shell was given.
    var inFlight: Set<SigningBatchID> = []
    /// When the SVIDs at hand expire.
    var notAfters: [IdentityKey: Date] = [:]
    /// What open streams attested to.
    var subscribers: [SubscriberID: Set<Selector>] = [:]
    var interests: [SubscriberID: WorkloadInterest] = [:]
    /// Proxy processes with an open stream.
    var proxies: [SubscriberID: ProxySubscriber] = [:]
    /// Open streams of servers below.
    var downstream: [SubscriberID: DownstreamWatcher] = [:]
    /// The revision that proxies were told of last.
    var toldRevision: Revision?
    /// The newest lists of observed endpoints; of ports that are missing nothing is known.
    var endpoints: [ObservedPort: [String]] = [:]
    /// Until when a subscriber waits for its first answer.
    var patience = DeadlineQueue<Duration, SubscriberID>()
    /// Subscribers whose patience has ended without an answer.
    var exhausted: Set<SubscriberID> = []
    /// How many entries in force name a node selector.
    var nodeSelectorCounts: [Selector: Int] = [:]
    var reported: [Condition: String?] = [:]
    var isSkewReported = false

    /// Begins with what is on disk.
    ///
    /// - Parameters:
    ///   - stored: What was read and found to belong together.
    ///   - name: The agent's name, the last segment of its ID.
    ///   - capabilities: What this version understands beyond the first of the protocol.
    ///   - now: Both clocks.
    ///   - generator: Where jitter comes from.
    package init(
        _ stored: StoredAgent,
        name: String,
        capabilities: Set<String> = [],
        now: ClockReading,
        using generator: inout some RandomNumberGenerator
    ) {
        trustDomain = stored.identity.trustDomain
        self.name = name
        let takesLists = capabilities.contains(SyncCapability.revocationLists)
        sync = SyncSubscriber(
            // What is not asked for any more would be shown as it was for ever.
            restoring: takesLists ? stored.sync : stored.sync?.without(.revocationList),
            capabilities: capabilities
        )
        cache = NodeCache(
            trustDomain: stored.identity.trustDomain,
            node: TemplateNode(name: name, selectors: [])
        )
        own = OwnSVID(
            SVIDValidity(issuedAt: stored.identity.issuedAt, notAfter: stored.identity.notAfter),
            authorityKeyID: stored.identity.authorityKeyID,
            bundle: stored.identity.bundle,
            using: &generator
        )
        audit = AuditWatch(stored.memory, alarm: stored.auditAlarm)
        bundle = stored.identity.bundle
        steps = ClockStepDetector(startingAt: now)
    }

    /// What to write when told `.persistSync`; nil before anything is applied.
    package var persistedSync: PersistedSync? { sync.persisted }

    // MARK: - The stream

    /// The agent starts: what was restored comes into force, then the stream is opened.
    package mutating func started(
        now: ClockReading,
        using generator: inout some RandomNumberGenerator
    ) -> [Action] {
        isRestoring = true
        var actions = perform(
            cache.received([.bundle(bundle), .node(node)], now: now.wall),
            now: now,
            using: &generator
        )
        actions += perform(sync.started(), now: now, using: &generator)
        isRestoring = false
        return actions + finish(now: now, using: &generator)
    }

    /// The stream that `.connect` asked for is open.
    package mutating func connected(
        now: ClockReading,
        using generator: inout some RandomNumberGenerator
    ) -> [Action] {
        var actions = observeClocks(now: now, using: &generator)
        helloAt = now
        actions += perform(sync.connected(), now: now, using: &generator)
        return actions + finish(now: now, using: &generator)
    }

    /// The server's first message came.
    ///
    /// - Parameters:
    ///   - trustDomain: For which it speaks.
    ///   - serverTime: Its wall clock.
    ///   - nodeSelectors: What it attested of this node; empty from a server that does not say.
    ///   - now: Both clocks.
    ///   - generator: Where jitter comes from.
    /// - Returns: What the shell has to do.
    package mutating func welcomed(
        trustDomain: String,
        serverTime: Date,
        nodeSelectors: Set<Selector>,
        now: ClockReading,
        using generator: inout some RandomNumberGenerator
    ) -> [Action] {
        var actions = observeClocks(now: now, using: &generator)
        guard trustDomain == self.trustDomain.name else {
            let reason = "the server speaks for trust domain \"\(trustDomain)\""
            actions.append(.disconnect(reason: reason))
            return actions + finish(now: now, using: &generator)
        }
        skew.observed(serverTime: serverTime, asked: helloAt ?? now, answered: now)
        actions += reportSkew()
        welcomeBy = nil
        isOnline = true
        refusedBecause = nil
        own.wasWelcomed()
        knowsNode = true
        if nodeSelectors != attestedSelectors {
            attestedSelectors = nodeSelectors
            actions += perform(
                cache.received([.node(node), .attested(attested)], now: now.wall),
                now: now,
                using: &generator
            )
        }
        for (id, keys) in held.sorted(by: { $0.key < $1.key }) {
            held[id] = nil
            actions += sign(id, keys, now: now, using: &generator)
        }
        return actions + finish(now: now, using: &generator)
    }

    /// A message that carries state came in.
    package mutating func received(
        _ message: SyncMessage,
        now: ClockReading,
        using generator: inout some RandomNumberGenerator
    ) -> [Action] {
        var actions = observeClocks(now: now, using: &generator)
        switch message {
        case .snapshotBegin, .snapshotPage: break
        default: isCurrent = isOnline
        }
        actions += perform(sync.received(message, now: now.boot), now: now, using: &generator)
        return actions + finish(now: now, using: &generator)
    }

    /// The connection or its stream has ended, or was never made.
    ///
    /// - Parameters:
    ///   - refusal: What the server said if it does not want this agent; nil for any other end.
    ///   - isTurnedAway: Whether the server does not take the certificate it was shown.
    ///   - now: Both clocks.
    ///   - generator: Where jitter comes from.
    /// - Returns: What the shell has to do.
    package mutating func disconnected(
        refusal: AgentRefusal? = nil,
        isTurnedAway: Bool = false,
        now: ClockReading,
        using generator: inout some RandomNumberGenerator
    ) -> [Action] {
        var actions = observeClocks(now: now, using: &generator)
        refusedBecause = refusal
        isOnline = false
        isCurrent = false
        showsOldSVID = false
        helloAt = nil
        welcomeBy = nil
        own.connectionEnded()
        if isTurnedAway { own.wasTurnedAway() }
        for id in inFlight.sorted() {
            inFlight.remove(id)
            actions += perform(
                queue.signed(id, outcomes: [:], now: now, using: &generator),
                now: now,
                using: &generator
            )
        }
        actions += perform(sync.disconnected(using: &generator), now: now, using: &generator)
        return actions + finish(now: now, using: &generator)
    }

    // MARK: - The agent's own SVID

    /// A new SVID came, was verified and is used from the next connection on.
    ///
    /// - Parameters:
    ///   - validity: Of the new SVID.
    ///   - authorityKeyID: Which authority signed it.
    ///   - new: The bundle that came with it; an older one than what is known is ignored.
    ///   - now: Both clocks.
    ///   - generator: Where jitter comes from.
    /// - Returns: What the shell has to do.
    package mutating func ownSVIDRenewed(
        _ validity: SVIDValidity,
        authorityKeyID: [UInt8],
        bundle new: TrustBundle,
        now: ClockReading,
        using generator: inout some RandomNumberGenerator
    ) -> [Action] {
        var actions = observeClocks(now: now, using: &generator)
        own.renewed(validity, authorityKeyID: authorityKeyID, now: now, using: &generator)
        showsOldSVID = isOnline
        if new.trustDomain == trustDomain, new.sequenceNumber > bundle.sequenceNumber {
            // Of the answer only its certificates count.
            let new = new.keepingJWTAuthorities(of: bundle)
            bundle = new
            actions.append(.trust(new))
            actions += perform(
                cache.received([.bundle(new)], now: now.wall),
                now: now,
                using: &generator
            )
        }
        // Whatever was waited for, the reason for waiting is gone.
        if reconnectAt != nil { reconnectAt = now.boot }
        return actions + finish(now: now, using: &generator)
    }

    /// A new SVID was not to be had.
    package mutating func ownSVIDRenewalFailed(
        _ reason: String,
        now: ClockReading,
        using generator: inout some RandomNumberGenerator
    ) -> [Action] {
        let actions = observeClocks(now: now, using: &generator)
        own.failed(reason, now: now, using: &generator)
        return actions + finish(now: now, using: &generator)
    }

    // MARK: - The audit log

    /// A checkpoint came with an answer.
    ///
    /// - Parameters:
    ///   - note: The signed note; empty if the server has nothing newer.
    ///   - path: The consistency proof.
    ///   - successions: How its log follows the one that was remembered.
    ///   - asked: `audit.mark` when the question was sent.
    ///   - now: Both clocks.
    ///   - generator: Where jitter comes from.
    /// - Returns: What the shell has to do.
    package mutating func checkpointReceived(
        note: [UInt8],
        path: [[UInt8]],
        successions: [ReceivedSuccession] = [],
        asked: CheckpointMark?,
        now: ClockReading,
        using generator: inout some RandomNumberGenerator
    ) -> [Action] {
        let actions = audit.followed(successions).flatMap { following in
            [.followLog(following), .report(.logFollowed(following))] as [Action]
        }
        guard !note.isEmpty else { return actions }
        switch audit.received(note: note, path: path, asked: asked) {
        case .nothing: return actions
        case .formerLog(let key): return actions + [.report(.formerLog(key))]
        case .remember(let note): return actions + [.rememberCheckpoint(note: note)]
        case .alarm(let reason):
            return actions
                + [.recordAuditAlarm(reason, note: note), .report(.auditContradiction(reason))]
                + finish(now: now, using: &generator)
        }
    }
}
