// SPDX-License-Identifier: Apache-2.0

/// The listeners of one agent's machine, and which of them are in use.
struct EndpointNode: Sendable {
    struct Listener: Hashable, Sendable {
        let kind: ListenerKind
        let address: EndpointAddress
    }

    fileprivate struct Known: Sendable {
        var listener: Listener
        var standing: Standing
    }

    fileprivate enum Standing: Hashable, Sendable {
        /// Said on the open stream.
        case up
        /// Said on the open stream, and in use from then on.
        case damped(until: Duration)
        case leased(until: Duration)
        case lost(since: Duration, until: Duration)
    }

    /// How often something came and went, and when it went last.
    private struct Flaps: Sendable {
        var count = 0
        var wentAt: Duration
    }

    /// The open stream.
    private(set) var session: SessionID?
    private var known: [ListenerPlace: Known] = [:]
    private var flaps: [ListenerPlace: Flaps] = [:]

    var count: Int { known.count }
    /// How many it knows of each namespace.
    var counts: [String: Int] {
        known.values.reduce(into: [:]) { $0[$1.listener.kind.namespace, default: 0] += 1 }
    }
    var isEmpty: Bool { session == nil && known.isEmpty && flaps.isEmpty }

    func knows(_ place: ListenerPlace) -> Bool { known[place] != nil }

    var used: [Listener] {
        known.values.filter {
            switch $0.standing {
            case .leased, .up: true
            case .damped, .lost: false
            }
        }
        .map(\.listener)
    }

    var lost: [Listener] {
        known.values.filter { if case .lost = $0.standing { true } else { false } }
            .map(\.listener)
    }

    var deadline: Duration? {
        let standings = known.values.compactMap { known -> Duration? in
            switch known.standing {
            case .up: nil
            case .damped(let until), .leased(let until), .lost(_, let until): until
            }
        }
        let calm = flaps.compactMap { place, past -> Duration? in
            if case .damped = known[place]?.standing { return nil }
            return past.wentAt + EndpointDirectory.calmTime
        }
        return (standings + calm).min()
    }

    /// For people.
    func statuses(of agent: AgentName) -> [EndpointStatus] {
        known.map { place, known in
            EndpointStatus(
                agent: agent,
                place: place,
                kind: known.listener.kind,
                address: known.listener.address.text,
                state: known.standing.shown
            )
        }
    }

    // MARK: Streams

    mutating func begin(_ session: SessionID, now: Duration) {
        end(now: now)
        self.session = session
        // It is there again, and has a lease's time to say what is.
        for (place, entry) in known {
            guard case .lost(let since, let until) = entry.standing else { continue }
            known[place]?.standing = .lost(
                since: since,
                until: min(until, now + EndpointDirectory.lease)
            )
        }
    }

    mutating func end(now: Duration) {
        session = nil
        for (place, entry) in known {
            switch entry.standing {
            case .up: known[place]?.standing = .leased(until: now + EndpointDirectory.lease)
            case .damped, .leased, .lost: break
            }
        }
    }

    /// Forgets everything, and the stream: nothing is leased when it ends.
    mutating func clear() { self = EndpointNode() }

    // MARK: Reports

    /// Takes a report.
    ///
    /// - Parameters:
    ///   - report: What it came to.
    ///   - room: How many listeners there is room for; those that are known have theirs.
    ///   - now: The boot time.
    /// - Returns: How many there was no room for.
    mutating func say(_ report: ListenerReport, room: Int, now: Duration) -> Int {
        for (place, entry) in known where report.permitted[place] != entry.listener.kind {
            drop(place, now: now)
        }
        for (place, entry) in known where report.up[place] == nil {
            lose(place, entry, report, now: now)
        }
        var refused = 0
        for (place, address) in report.up.sorted(by: { $0.key < $1.key }) {
            guard let kind = report.permitted[place] else { continue }
            let listener = Listener(kind: kind, address: address)
            if let entry = known[place], entry.listener != listener { drop(place, now: now) }
            guard known[place] != nil || known.count < room else {
                refused += 1
                continue
            }
            come(place, listener, now: now)
        }
        return refused
    }

    private mutating func lose(
        _ place: ListenerPlace,
        _ entry: Known,
        _ report: ListenerReport,
        now: Duration
    ) {
        let isOutOfSight =
            report.displaced.contains(place) || report.departed.contains(place.proxy)
        switch entry.standing {
        case .up where isOutOfSight:
            known[place]?.standing = .leased(until: now + EndpointDirectory.lease)
        case .up: drop(place, now: now)
        case .damped, .leased, .lost:
            // Of a process that was not heard on this stream nothing is known.
            if report.settled.contains(place.proxy), !isOutOfSight { drop(place, now: now) }
        }
    }

    private mutating func come(_ place: ListenerPlace, _ listener: Listener, now: Duration) {
        switch known[place]?.standing {
        case .damped, .up: return
        case .leased, .lost:
            known[place]?.standing = .up
            return
        case nil: break
        }
        // The first time it may have moved, or been restarted on purpose.
        let returns = flaps[place]?.count ?? 0
        flaps[place]?.count += 1
        guard returns > 0 else {
            known[place] = Known(listener: listener, standing: .up)
            return
        }
        let wait = EndpointDirectory.returnDelayMin * (1 << min(returns - 1, 30))
        known[place] = Known(
            listener: listener,
            standing: .damped(until: now + min(wait, EndpointDirectory.returnDelayMax))
        )
    }

    private mutating func drop(_ place: ListenerPlace, now: Duration) {
        guard known.removeValue(forKey: place) != nil else { return }
        flaps[place, default: Flaps(wentAt: now)].wentAt = now
    }

    // MARK: Time

    mutating func expire(now: Duration) {
        for (place, entry) in known {
            switch entry.standing {
            case .damped(let until) where until <= now:
                // It was never in use: with its agent away, nobody says that it is there.
                guard session != nil else {
                    drop(place, now: now)
                    continue
                }
                // From here on it is seen whether it stays.
                flaps[place]?.wentAt = now
                known[place]?.standing = .up
            case .leased(let until) where until <= now:
                // An agent that is there has had the time to say it.
                if session != nil {
                    drop(place, now: now)
                } else {
                    known[place]?.standing = .lost(
                        since: now,
                        until: now + EndpointDirectory.lostMax
                    )
                }
            case .lost(_, let until) where until <= now: drop(place, now: now)
            case .damped, .leased, .lost, .up: break
            }
        }
        flaps = flaps.filter { place, past in
            if case .damped = known[place]?.standing { return true }
            return now < past.wentAt + EndpointDirectory.calmTime
        }
    }
}

extension EndpointNode.Standing {
    var shown: EndpointStatus.State {
        switch self {
        case .up: .up
        case .damped: .damped
        case .leased: .leased
        case .lost: .lost
        }
    }
}
