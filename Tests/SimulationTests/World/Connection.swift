// SPDX-License-Identifier: Apache-2.0

/// The two ends of a connection.
enum End: Hashable, CaseIterable {
    case agent
    case server

    var other: End { self == .agent ? .server : .agent }
}

/// The way between an agent and the server: everything a connection-oriented transport may do.
///
/// Messages of one stream arrive in order or not at all; streams and connections overtake each
/// other; whole connections break at any moment, and each end learns of it in its own time.
final class Link {
    /// How late an end may notice that a connection broke without a word: keepalives.
    static let detectionMax: Duration = .seconds(30)

    let scheduler: Scheduler
    let name: String
    /// Seconds for one message in one direction.
    var latency: ClosedRange<Double> = 0.001...0.05
    /// How probable it is that a connection breaks within `breakWithin` of its opening.
    var breakProbability = 0.0
    var breakWithin: Duration = .seconds(20)
    private(set) var isUp = true
    private var connections: [Connection] = []

    init(_ scheduler: Scheduler, _ name: String) {
        self.scheduler = scheduler
        self.name = name
    }

    func open() -> Connection {
        let connection = Connection(self)
        connections.removeAll(where: \.isOver)
        connections.append(connection)
        if scheduler.random.chance(breakProbability) {
            let delay = scheduler.random.duration(0...breakWithin.seconds)
            scheduler.after(delay, "\(name) connection breaks") { connection.breakOff() }
        }
        return connection
    }

    /// Nothing goes through from now on, and no connection can be opened.
    func cut() {
        isUp = false
        breakAll()
    }

    func mend() { isUp = true }

    func breakAll() {
        for connection in connections { connection.breakOff() }
        connections = []
    }
}

/// One connection; it is in order until it breaks or an end closes it.
final class Connection {
    private struct Lane: Hashable {
        let stream: Int
        let end: End
    }

    private let link: Link
    private var isBroken = false
    private var streams = 0
    /// Before that nothing more arrives: what was sent on the stream before comes first.
    private var clearAt: [Lane: Duration] = [:]
    private var closed: Set<End> = []
    private var whenClosed: [End: () async throws -> Void] = [:]

    init(_ link: Link) {
        self.link = link
    }

    var name: String { link.name }
    /// Nothing more goes through.
    var isOver: Bool { isBroken || !closed.isEmpty }

    /// What an end does when the connection ends without its doing.
    func onClose(_ end: End, _ action: @escaping () async throws -> Void) {
        whenClosed[end] = action
    }

    /// The number of a new stream.
    func newStream() -> Int {
        streams += 1
        return streams
    }

    /// Sends something to an end; on its stream it arrives in order, or never.
    func send(
        to end: End,
        on stream: Int,
        _ label: String,
        _ deliver: @escaping () async throws -> Void
    ) {
        guard !isOver else { return }
        let lane = Lane(stream: stream, end: end)
        let arrival = max(
            link.scheduler.now + link.scheduler.random.duration(link.latency),
            clearAt[lane] ?? .zero
        )
        clearAt[lane] = arrival
        link.scheduler.at(arrival, "\(link.name) \(label)") { [self] in
            // What was sent before the other end closed still arrives.
            guard !isBroken, !closed.contains(end) else { return }
            try await deliver()
        }
    }

    /// An end is done: the other one learns of it after everything sent before.
    func close(from end: End) {
        guard closed.insert(end).inserted else { return }
        let sent = clearAt.filter { $0.key.end == end.other }.map(\.value).max() ?? .zero
        let arrival = max(
            link.scheduler.now + link.scheduler.random.duration(link.latency),
            sent
        )
        link.scheduler.at(arrival, "\(link.name) end of a connection") { [self] in
            try await ended(at: end.other)
        }
    }

    /// Nothing arrives any more at either end; each notices at once, or after its keepalives.
    func breakOff() {
        guard !isBroken else { return }
        isBroken = true
        for end in End.allCases {
            let isNoticedAtOnce = link.scheduler.random.chance(0.5)
            let delay = link.scheduler.random.duration(
                isNoticedAtOnce ? 0...0.2 : 1...Link.detectionMax.seconds
            )
            link.scheduler.after(delay, "\(link.name) \(end) notices the broken connection") {
                [self] in try await ended(at: end)
            }
        }
    }

    private func ended(at end: End) async throws {
        guard closed.insert(end).inserted else { return }
        try await whenClosed.removeValue(forKey: end)?()
    }
}
