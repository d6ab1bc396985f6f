// SPDX-License-Identifier: Apache-2.0

package import ControlAPI
package import FoundationEssentials
package import NodeSync
internal import SPIFFE

/// What one process made of what it was told.
package struct ProxyStanding: Hashable, Sendable {
    /// Nil before the first.
    package var applied: Revision?
    /// Nil unless the newest state that was answered was refused.
    package var refused: Revision?
    package var refusedReason = ""
    package var listening: [ProxyListening] = []
    /// When the last SVID that it was given ends.
    package var newestNotAfter: Date?

    package init() {}
}

/// The agent's end of one proxy's stream: what to say next, and what the answers mean.
///
/// What takes effect at once (`trust`) is said whenever it changes and never answered, and so are
/// endpoints. Of states there is one unanswered; later changes merge. A state that was refused is
/// not said again before something of it changes. Who has heard nothing for a while is told that
/// there is nothing, because it may have to stop when its agent is silent. The shell performs the actions in order and calls one method for
/// each thing that happened.
package struct ProxyAttachment: Sendable {
    /// What the shell has to do.
    package enum Action: Equatable, Sendable {
        /// End the stream.
        case end(Violation)
        /// Call `timerFired` at that boot time; replaces the timer set before.
        case scheduleTimer(at: Duration)
        case sendEndpoints([ObservedEndpoints])
        case sendState(sequence: UInt64, ProxyOffer)
        case sendTrust(ProxyView.Trust)
        case sendWatermark(Revision)
        /// Say something that asks for nothing: the process is to know that the agent is there.
        case sendWord
        /// `standing` changed: tell the server.
        case report
    }

    /// How a process broke the protocol.
    package enum Violation: String, Error, Hashable, Sendable {
        /// An answer to a state that was not sent, or was answered before.
        case answerUnexpected
        /// The first message was not a hello, or did not come in time.
        case helloMissing
        /// A second hello.
        case helloRepeated
        /// A state was not answered in time.
        case unanswered
    }

    /// How long a process may take to say what it is.
    package static let helloTimeout: Duration = .seconds(10)
    /// How long a process may take to bring a state into force or to refuse it.
    package static let answerTimeout: Duration = .seconds(30)
    /// How long the agent says nothing at most.
    package static let quietInterval: Duration = .seconds(10)

    private struct Unanswered: Sendable {
        let sequence: UInt64
        let offer: ProxyOffer
        let until: Duration
    }

    package private(set) var standing = ProxyStanding()
    /// Whether it has said that it finishes what it has: it is sent no states any more.
    package private(set) var isDraining = false

    private var hello: ProxyHello?
    private let helloUntil: Duration
    private var trust: ProxyView.Trust?
    private var endpoints: [ObservedEndpoints] = []
    /// The newest view, which may not have been said yet.
    private var newest: ProxyOffer?
    /// What of the last state was declared, and its identities.
    private var said: ProxyOffer?
    private var unanswered: Unanswered?
    private var sequence: UInt64 = 0
    /// The revision of the last state or watermark.
    private var saidRevision: Revision?
    private var lastSaid: Duration

    /// The stream was opened.
    package init(now: Duration) {
        helloUntil = now + Self.helloTimeout
        lastSaid = now
    }

    /// When `timerFired` is to be called first.
    package var firstDeadline: Duration { helloUntil }

    // MARK: What the process says

    /// The process says what it is, as its first message.
    package mutating func received(hello: ProxyHello) -> [Action] {
        guard self.hello == nil else { return [.end(.helloRepeated)] }
        self.hello = hello
        return []
    }

    /// The process answers a state.
    ///
    /// - Parameters:
    ///   - sequence: Which.
    ///   - refusedReason: Empty if it is in force.
    ///   - now: The boot time.
    /// - Returns: What the shell has to do.
    package mutating func answered(
        _ sequence: UInt64,
        refusedReason: String,
        now: Duration
    ) -> [Action] {
        guard hello != nil else { return [.end(.helloMissing)] }
        // What was under way when it began to drain is nobody's concern any more.
        guard !isDraining else { return [] }
        guard let answered = unanswered, answered.sequence == sequence else {
            return [.end(.answerUnexpected)]
        }
        unanswered = nil
        if refusedReason.isEmpty {
            standing.applied = answered.offer.revision
            standing.refused = nil
            standing.refusedReason = ""
        } else {
            standing.refused = answered.offer.revision
            standing.refusedReason = AttachedProxy.cut(refusedReason)
        }
        return [.report] + next(now: now)
    }

    /// The process says where it accepts connections.
    package mutating func received(listening: [ProxyListening]) -> [Action] {
        guard hello != nil else { return [.end(.helloMissing)] }
        guard listening != standing.listening else { return [] }
        standing.listening = listening
        return [.report]
    }

    /// The process finishes what it has, and another one may take its place.
    package mutating func drains() -> [Action] {
        guard hello != nil else { return [.end(.helloMissing)] }
        guard !isDraining else { return [] }
        isDraining = true
        unanswered = nil
        return [.report]
    }

    /// The process says something else.
    package func receivedOther() -> [Action] { hello == nil ? [.end(.helloMissing)] : [] }

    // MARK: What there is to say

    /// There is a new view, or a new revision of the same.
    package mutating func offered(_ offer: ProxyOffer, now: Duration) -> [Action] {
        newest = offer
        var actions: [Action] = []
        if offer.view.trust != trust {
            trust = offer.view.trust
            lastSaid = now
            actions.append(.sendTrust(offer.view.trust))
        }
        if offer.endpoints != endpoints, !isDraining,
            hello?.capabilities.contains(SyncCapability.observedEndpoints) ?? false
        {
            endpoints = offer.endpoints
            lastSaid = now
            actions.append(.sendEndpoints(offer.endpoints))
        }
        return actions + next(now: now)
    }

    /// A time that was asked for has come; firing early or twice does no harm.
    package mutating func timerFired(now: Duration) -> [Action] {
        if hello == nil {
            return now >= helloUntil
                ? [.end(.helloMissing)] : [.scheduleTimer(at: helloUntil)]
        }
        if let unanswered, now >= unanswered.until { return [.end(.unanswered)] }
        var actions: [Action] = []
        if now >= lastSaid + Self.quietInterval {
            lastSaid = now
            actions.append(.sendWord)
        }
        let quiet = lastSaid + Self.quietInterval
        return actions + [.scheduleTimer(at: min(quiet, unanswered?.until ?? quiet))]
    }

    private mutating func next(now: Duration) -> [Action] {
        guard let newest, unanswered == nil, !isDraining else { return [] }
        guard said?.isSame(as: newest) != true else {
            return watermark(newest.revision, now: now)
        }
        // The first state waits for what is being signed; later ones wait for nothing.
        guard said != nil || newest.isDue else { return [] }
        sequence += 1
        said = newest
        saidRevision = newest.revision
        lastSaid = now
        let until = now + Self.answerTimeout
        unanswered = Unanswered(sequence: sequence, offer: newest, until: until)
        let ends = newest.view.identities.compactMap { $0.svid?.notAfter }
        let before = standing.newestNotAfter
        standing.newestNotAfter = (ends + [before].compactMap(\.self)).max()
        // Whoever is given keys is remembered from here on, even if it never answers.
        return [
            .sendState(sequence: sequence, newest), .scheduleTimer(at: now + Self.quietInterval),
        ]
            + (before == standing.newestNotAfter ? [] : [.report])
    }

    /// What was refused is not made newer by a word about its revision.
    private mutating func watermark(_ revision: Revision, now: Duration) -> [Action] {
        guard revision != saidRevision, standing.refused == nil, standing.applied != nil else {
            return []
        }
        saidRevision = revision
        lastSaid = now
        standing.applied = revision
        return [.sendWatermark(revision), .report]
    }
}

extension ProxyOffer {
    /// Whether a state made of either says the same, but for the revision.
    fileprivate func isSame(as other: ProxyOffer) -> Bool {
        view.proxy == other.view.proxy && view.identities == other.view.identities
    }
}
