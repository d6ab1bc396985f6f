// SPDX-License-Identifier: Apache-2.0

package import Clocks
internal import ControlAPIProtos
package import DecisionLog
internal import Dispatch
internal import DurableFiles
internal import FoundationEssentials
package import Logging
internal import Synchronization
package import Telemetry

/// The decision log of this node until its server has it: segments in a directory.
///
/// Whoever offers records waits for nothing. One thread writes; what finds no room in memory or on
/// the disk is dropped and counted (docs/decisions/0011-decision-log.md).
package final class DecisionSpool: Sendable {
    /// How long records are gathered for one segment: what a crash of the agent loses.
    package static let gatheringMax: Duration = .seconds(10)
    /// Gathered bytes that are written at once: half a segment, so that few are split.
    package static let gatheredBytesMax = 512 * 1024
    /// Most segments that cannot be removed before no more are written: a directory in which files
    /// can only be made would fill the disk.
    package static let stuckMax = 64

    /// Why records are lost here, as the metric says it.
    package enum Loss: String, Sendable {
        /// The disk refused the segment.
        case disk
        /// A process without a Proxy said them; no segment tells of these, since anybody could.
        case early
        /// The proxy said more in a second than is taken.
        case excess
        /// The proxy itself dropped them.
        case proxy
        /// Too many waited in memory.
        case queue
        /// They break a rule.
        case refused
        /// The server will never take the segment.
        case server
        /// The oldest segment went, because there were too many bytes.
        case spool
        /// A segment on the disk was not whole, or gone; one for each that an earlier run left,
        /// since nobody knows how many it had.
        case torn
    }

    private struct State {
        var ledger: SpoolLedger
        var isOpen = false
        var number: UInt64 = 0
        /// What was lost since the last segment was written.
        var lost: UInt64 = 0
        /// Segments that are done with, and whose files could not be removed.
        var stuck: [SegmentName] = []
        /// What the disk said last; nil while it works.
        var problem: String?
    }

    /// Signalled when there may be something to send.
    let changed = Signal()

    private let directory: String
    private let spool: [UInt8]
    private let clock: any NodeClock
    private let logger: Logger
    private let metrics: MetricRegistry
    private let gathered = DecisionQueue()
    private let timer: DeadlineTimer
    /// Not the pool of the tasks, in which a wait for the disk would keep others from running.
    private let queue = DispatchQueue(label: "signet.agent.decisions")
    private let state: Mutex<State>

    /// A spool that is not open yet: what is offered waits in memory.
    ///
    /// - Parameters:
    ///   - directory: Made with mode 0700 when it is opened.
    ///   - clock: Both clocks.
    ///   - logger: Where troubles of the disk are told.
    ///   - metrics: Of the agent.
    ///   - ledger: Without segments; with the limits.
    package init(
        directory: String,
        clock: any NodeClock,
        logger: Logger,
        metrics: MetricRegistry,
        ledger: SpoolLedger = SpoolLedger()
    ) {
        self.directory = directory
        self.clock = clock
        self.logger = logger
        self.metrics = metrics
        var generator = SystemRandomness()
        spool = (0..<DecisionSegment.spoolBytes).map { _ in
            UInt8.random(in: .min ... .max, using: &generator)
        }
        timer = DeadlineTimer(clock: clock)
        state = Mutex(State(ledger: ledger))
        metrics.set(.decisionSpoolBytes, to: 0)
        metrics.set(.decisionSpoolOldest, to: 0)
    }

    // MARK: - Gathering

    /// Takes what a message of a proxy came to.
    package func offer(_ judged: DecisionIntake.Judged) {
        var crowded = 0
        for record in judged.records {
            if gathered.offer(record.bytes, isCounts: record.kind == .counts) {
                metrics.increment(.decisionRecords, record.kind.rawValue)
            } else {
                crowded += 1
            }
        }
        lose(crowded, .queue)
        lose(judged.lost, .proxy)
        lose(judged.excess, .excess)
        lose(judged.refused, .refused)
        // A loss waits for the next segment, unless it is all there is to say.
        guard gathered.bytes > 0 || state.withLock({ $0.lost }) > 0 else { return }
        let now = clock.bootTime
        if gathered.bytes >= Self.gatheredBytesMax {
            timer.schedule(noLaterThan: now)
        } else {
            timer.schedule(noLaterThan: now + Self.gatheringMax)
        }
    }

    /// Bytes that wait in memory.
    package var gatheredBytes: Int { gathered.bytes }

    /// Segments on the disk, as far as they were found or written.
    package var segmentCount: Int { state.withLock { $0.ledger.count } }

    /// A process said something before it had a Proxy, or after.
    func refuse(_ message: Signet_Proxy_V1alpha1_TrafficRecords) {
        let number = message.counts.count + message.denials.count + message.samples.count
        guard number > 0 else { return }
        metrics.increment(.decisionRecordsLost, by: number, Loss.early.rawValue)
    }

    private func lose(_ number: Int, _ loss: Loss) {
        guard number > 0 else { return }
        metrics.increment(.decisionRecordsLost, by: number, loss.rawValue)
        state.withLock { $0.lost += UInt64(number) }
    }

    /// Finds what an earlier run has left.
    ///
    /// An agent without proxies has no use for a directory, so none is made.
    package func start() async {
        await onQueue { if FileManager.default.fileExists(atPath: self.directory) { self.open() } }
        changed.signal()
    }

    /// Starts, and writes segments until cancelled; what was gathered then is written still.
    package func run() async {
        await start()
        await timer.run { await self.write() }
        await write()
    }

    /// Writes what was gathered now.
    package func write() async {
        await onQueue { self.writeGathered() }
        changed.signal()
    }

    private func onQueue<Value: Sendable>(
        _ body: @escaping @Sendable () -> Value
    ) async -> Value {
        await withCheckedContinuation { continuation in
            queue.async { continuation.resume(returning: body()) }
        }
    }

    // MARK: - The disk

    private func path(_ name: SegmentName) -> String { "\(directory)/\(name)" }

    /// Finds what is there; a segment that is not whole is removed, and never believed.
    private func open() {
        do throws(FileError) {
            try DurableFile.makeDirectory(directory, mode: 0o700)
            try DurableFile.requireOwn(directory: directory)
            try DurableFile.removeUnfinished(in: directory)
        } catch {
            failed("\(error)")
            return
        }
        // Opened again, it may have been emptied.
        let before = state.withLock { $0.ledger.removedAll() }
        let names = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
        for name in names.compactMap({ SegmentName($0) }).sorted() { found(name) }
        let gone = state.withLock { state in
            state.isOpen = true
            return before.filter { !state.ledger.has($0.name) }.reduce(0) { $0 + $1.records }
        }
        lose(gone, .torn)
        makeRoom(for: 0)
        worked()
    }

    private func found(_ name: SegmentName) {
        // What could not be removed was sent, or has made room.
        guard !state.withLock({ $0.stuck.contains(name) }),
            case .whole(let bytes, let records) = read(name, records: nil)
        else { return }
        state.withLock {
            $0.ledger.added(.init(name: name, bytes: bytes.count, records: records))
        }
    }

    /// What a segment's file turned out to be.
    private enum Reading {
        /// It is removed.
        case torn
        /// Nobody knows: the system refuses to open or read it.
        case unreadable
        case whole(bytes: [UInt8], records: Int)
    }

    /// Reads a segment.
    ///
    /// - Parameters:
    ///   - name: Its name.
    ///   - records: How many it had when it was found or written; nil if nobody knows.
    /// - Returns: What it turned out to be.
    private func read(_ name: SegmentName, records: Int?) -> Reading {
        let bytes: [UInt8]
        do throws(FileError) {
            bytes = try DurableFile.readSecret(path(name), bytesMax: DecisionSegment.bytesMax)
        } catch {
            if case .system = error.reason, !error.isNotFound {
                failed("\(error)")
                return .unreadable
            }
            return dropTorn(name, records, "\(error)")
        }
        do throws(DecisionSegmentError) {
            let segment = try DecisionSegment(parsing: bytes)
            guard SegmentName(segment.header) == name else {
                return dropTorn(name, records, "it is another segment than its name says")
            }
            return .whole(bytes: bytes, records: segment.records.count)
        } catch {
            return dropTorn(name, records, "\(error)")
        }
    }

    private func dropTorn(_ name: SegmentName, _ records: Int?, _ reason: String) -> Reading {
        logger.error(
            "a segment of the decision log is dropped",
            metadata: ["file": "\(path(name))", "reason": "\(reason)"]
        )
        lose(max(1, records ?? 1), .torn)
        remove(name)
        return .torn
    }

    /// Removes a segment, which is done with also if its file stays.
    private func remove(_ name: SegmentName) {
        _ = state.withLock { $0.ledger.removed(name) }
        do throws(FileError) {
            try DurableFile.remove(path(name))
        } catch {
            state.withLock { $0.stuck.append(name) }
            logger.error(
                "a segment of the decision log cannot be removed; tried again",
                metadata: ["file": "\(path(name))", "error": "\(error)"]
            )
        }
    }

    /// Tries again to remove what could not be.
    private func removeStuck() {
        let stuck = state.withLock { $0.stuck }
        guard !stuck.isEmpty else { return }
        let rest = stuck.filter { (try? DurableFile.remove(path($0))) == nil }
        state.withLock { $0.stuck = rest }
    }

    private func makeRoom(for bytes: Int) {
        for entry in state.withLock({ $0.ledger.leaving(for: bytes) }) {
            remove(entry.name)
            lose(entry.records, .spool)
        }
    }

    /// Writes everything that was gathered, as one segment or as several.
    private func writeGathered() {
        var rest = gathered.take()[...]
        let (isOpen, hasLost) = state.withLock { ($0.isOpen, $0.lost > 0) }
        if !isOpen, !rest.isEmpty || hasLost { open() }
        removeStuck()
        repeat {
            var size = DecisionSegment.emptyBytes
            let records = rest.prefix { record in
                size += 4 + record.count
                return size <= DecisionSegment.bytesMax
            }
            rest = rest.dropFirst(records.count)
            write(records)
        } while !rest.isEmpty
        report()
    }

    private func write(_ records: ArraySlice<[UInt8]>) {
        makeRoom(for: records.reduce(DecisionSegment.emptyBytes) { $0 + 4 + $1.count })
        let (mayWrite, lost) = state.withLock { state in
            (state.isOpen && state.stuck.count < Self.stuckMax, state.lost)
        }
        guard mayWrite else {
            lose(records.count, .disk)
            return
        }
        guard !records.isEmpty || lost > 0 else { return }
        do throws(FileError) {
            do throws(FileError) {
                try writeNext(records, lost)
            } catch {
                // Somebody has removed the directory.
                guard error.isNotFound else { throw error }
                open()
                try writeNext(records, lost)
            }
            worked()
        } catch {
            failed("\(error)")
            lose(records.count, .disk)
        }
    }

    /// Writes the segment of the next number.
    ///
    /// An attempt that fails has used its number: nobody knows what of it is on the disk.
    private func writeNext(_ records: ArraySlice<[UInt8]>, _ lost: UInt64) throws(FileError) {
        let number = state.withLock { state in
            state.number += 1
            return state.number
        }
        let header = DecisionSegment.Header(
            spool: spool,
            number: number,
            madeAtUnixMilliseconds: UInt64(
                max(0, clock.wallTime.timeIntervalSince1970 * 1000).rounded()
            ),
            lost: lost
        )
        let name = SegmentName(header)
        let bytes = DecisionSegment.encoded(header, records: records)
        try DurableFile.write(bytes, to: path(name), mode: 0o600)
        state.withLock { state in
            state.lost -= lost
            state.ledger.added(.init(name: name, bytes: bytes.count, records: records.count))
        }
    }

    private func failed(_ problem: String) {
        let isNew = state.withLock { state in
            defer { state.problem = problem }
            return state.problem == nil
        }
        guard isNew else { return }
        logger.error(
            "the decision log cannot be written; records are dropped until it can",
            metadata: ["error": "\(problem)"]
        )
    }

    private func worked() {
        let isMended = state.withLock { state in
            defer { state.problem = nil }
            return state.problem != nil
        }
        if isMended { logger.notice("the decision log is written again") }
        report()
    }

    private func report() {
        let (bytes, oldest) = state.withLock { ($0.ledger.bytes, $0.ledger.oldest) }
        metrics.set(.decisionSpoolBytes, to: Double(bytes))
        metrics.set(
            .decisionSpoolOldest,
            to: Double(oldest?.name.madeAtUnixMilliseconds ?? 0) / 1000
        )
    }

    // MARK: - Sending

    /// The segment to send next; nil if there is none.
    package func oldest() async -> (name: SegmentName, bytes: [UInt8])? {
        await onQueue {
            while let entry = self.state.withLock({ $0.ledger.oldest }) {
                switch self.read(entry.name, records: entry.records) {
                case .whole(let bytes, _): return (entry.name, bytes)
                case .unreadable: return nil
                case .torn: continue
                }
            }
            return nil
        }
    }

    /// The server has a segment.
    package func stored(_ name: SegmentName) async {
        await onQueue {
            self.remove(name)
            self.report()
        }
    }

    /// The server will never take a segment.
    package func refused(_ name: SegmentName) async {
        await onQueue {
            let entry = self.state.withLock { $0.ledger.removed(name) }
            self.remove(name)
            self.lose(max(1, entry?.records ?? 0), .server)
            self.report()
        }
    }
}
