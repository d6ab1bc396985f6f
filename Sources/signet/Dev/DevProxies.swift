// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import ControlAPIProtos
internal import Foundation
internal import GRPCCore
internal import Glibc
internal import SwiftProtobuf
internal import Synchronization

/// The proxies of the development machine: one signet-proxy for each Proxy document whose node
/// selectors its agent shows, also for those that are applied later.
final class DevProxies: Sendable {
    /// A proxy that ran for so long did start; its next failure is the first again.
    static let steadyMin = Duration.seconds(10)

    /// What is kept of one proxy while something is done about it.
    private struct Kept {
        var isWanted = true
        /// Nil while it is started, or waits to be.
        var process: ChildProcess?
    }

    private struct State {
        /// By `namespace/name`.
        var kept: [String: Kept] = [:]
        var isEnding = false
        /// Those that were started in this run: what their logs tell of it stays.
        var begun: Set<String> = []
        /// What was said of a signet-proxy that is missing, so that it is said once.
        var hasToldMissing = false
    }

    private let directory: DevDirectory
    private let executable: String?
    private let logLevel: String
    private let clock: SystemClock
    private let state = Mutex(State())

    /// - Parameters:
    ///   - directory: Where everything is kept.
    ///   - executable: signet-proxy; nil if there is none.
    ///   - logLevel: Of their logs.
    ///   - clock: Times attempts.
    init(directory: DevDirectory, executable: String?, logLevel: String, clock: SystemClock) {
        self.directory = directory
        self.executable = executable
        self.logLevel = logLevel
        self.clock = clock
    }

    /// Starts what is to run, now and later, until the task is cancelled or `stop`.
    ///
    /// - Parameter listed: Called once, with what was started first.
    func run(listed: @Sendable ([String]) -> Void) async {
        await withDiscardingTaskGroup { group in
            var (seen, failures, isFirst) = (UInt64?.none, 0, true)
            while !isEnding, !Task.isCancelled {
                do {
                    if let seen { try await changes(after: seen) }
                    let (proxies, now) = try await wanted()
                    start(among: proxies) { name in group.addTask { await self.keep(name) } }
                    (seen, failures) = (now, 0)
                } catch {
                    // A server that ends takes this command with it; what it has to say comes then.
                    if isFirst { tell(error) }
                    let delay = Backoff.delay(afterFailures: failures)
                    failures += 1
                    try? await clock.sleep(untilBoot: clock.bootTime + delay)
                }
                if isFirst { listed(running) }
                isFirst = false
            }
        }
    }

    private func tell(_ error: any Error) {
        let failure = CommandFailure(error)
        Terminal.error("Proxy documents are not run at the moment: \(failure.message)")
    }

    /// Ends all proxies; returns when they are gone.
    func stop(grace: Duration) async {
        let processes = state.withLock { state in
            state.isEnding = true
            for name in state.kept.keys { state.kept[name]?.isWanted = false }
            return state.kept.values.compactMap(\.process)
        }
        await end(processes, grace: grace)
    }

    private func end(_ processes: [ChildProcess], grace: Duration) async {
        await withTaskGroup(of: Void.self) { group in
            for process in processes {
                group.addTask { [clock] in await process.stop(grace: grace, clock: clock) }
            }
        }
    }

    private var isEnding: Bool { state.withLock { $0.isEnding } }

    private var running: [String] {
        state.withLock { $0.kept.filter(\.value.isWanted).keys.sorted() }
    }

    // MARK: - What is to run

    /// The proxies that this machine is to run, and up to which audit record that is known.
    private func wanted() async throws -> (proxies: Set<String>, seen: UInt64) {
        try await SocketPath.withClient(directory.adminSocket, peer: .server) { client in
            let administration = Signet_Admin_V1alpha1_Administration.Client(wrapping: client)
            let documents = Signet_Admin_V1alpha1_Documents.Client(wrapping: client)
            // First, so that a change meanwhile is seen as one that comes later.
            let log = try await Signet_Admin_V1alpha1_Audit.Client(wrapping: client)
                .getCheckpoint(.init())
            let node = try await administration.listNodes(.with { $0.name = DevSystem.agentName })
                .nodes.first
            let shown = Set(node?.selectors ?? [])
            var found: Set<String> = []
            var token = ""
            repeat {
                let pageToken = token
                let page = try await documents.get(
                    .with {
                        $0.kind = DevProxyDocument.kind
                        $0.allNamespaces = true
                        $0.pageToken = pageToken
                    }
                )
                for document in page.documents
                where DevProxyDocument.isFor(nodeShowing: shown, json: document.json) {
                    found.insert("\(document.key.namespace)/\(document.key.name)")
                }
                token = page.nextPageToken
            } while !token.isEmpty
            return (found, log.committedSize)
        }
    }

    /// Returns when documents were changed by a record from `seen` on.
    private func changes(after seen: UInt64) async throws {
        try await SocketPath.withClient(directory.adminSocket, peer: .server) { client in
            let request = Signet_Admin_V1alpha1_AuditTailRequest.with {
                // An index of 0 means none.
                $0.afterIndex = seen <= 1 ? 0 : seen - 1
                $0.fromStart = seen <= 1
            }
            try await Signet_Admin_V1alpha1_Audit.Client(wrapping: client).tail(request) {
                for try await record in $0.messages
                where DevProxyDocument.changesDocuments(json: record.json) { return }
                throw CommandFailure("the server ended the stream")
            }
        }
    }

    /// Begins with what is new and ends what is not wanted any more.
    private func start(among wanted: Set<String>, keep: (String) -> Void) {
        guard executable != nil else { return tellMissing(wanted) }
        let (new, gone) = state.withLock { state -> ([String], [ChildProcess]) in
            guard !state.isEnding else { return ([], []) }
            let new = wanted.subtracting(state.kept.keys).sorted()
            for name in wanted { state.kept[name, default: Kept()].isWanted = true }
            var gone: [ChildProcess] = []
            for name in Set(state.kept.keys).subtracting(wanted) {
                state.kept[name]?.isWanted = false
                if let process = state.kept[name]?.process { gone.append(process) }
            }
            return (new, gone)
        }
        for name in new { keep(name) }
        for process in gone { process.send(SIGTERM) }
    }

    private func tellMissing(_ wanted: Set<String>) {
        let isNew = state.withLock { state in
            defer { state.hasToldMissing = state.hasToldMissing || !wanted.isEmpty }
            return !state.hasToldMissing && !wanted.isEmpty
        }
        guard isNew else { return }
        Terminal.error("Proxy documents are not run: there is no signet-proxy beside this program")
        Terminal.error("  Build it: swift build --product signet-proxy, and start this again.")
    }

    // MARK: - One proxy

    /// Runs one proxy again and again, for as long as it is wanted.
    private func keep(_ name: String) async {
        var failures = 0
        while isWanted(name), !Task.isCancelled {
            let began = clock.bootTime
            let end: String
            do {
                guard let process = try await launch(name) else { continue }
                if failures == 0 { Terminal.out("proxy \(name) started; log \(log(of: name))") }
                end = "\(await process.end())"
                state.withLock { $0.kept[name]?.process = nil }
            } catch {
                end = "was not started: \(error)"
            }
            guard isWanted(name) else { break }
            if clock.bootTime - began > Self.steadyMin { failures = 0 }
            let delay = Backoff.delay(afterFailures: failures)
            failures += 1
            Terminal.error("proxy \(name) \(end); it starts again in \(Moment.span(delay))")
            for line in directory.logTail(of: Self.program(name)) { Terminal.error(line) }
            try? await clock.sleep(untilBoot: clock.bootTime + delay)
        }
    }

    /// Whether a proxy is to run; one that is not is forgotten, so that it may be begun anew.
    private func isWanted(_ name: String) -> Bool {
        state.withLock { state in
            guard state.kept[name]?.isWanted ?? false, !state.isEnding else {
                state.kept[name] = nil
                return false
            }
            return true
        }
    }

    /// - Returns: nil if it is not wanted any more.
    private func launch(_ name: String) async throws -> ChildProcess? {
        guard let executable else { throw CommandFailure("there is no signet-proxy") }
        let isFirst = state.withLock { $0.begun.insert(name).inserted }
        let process = try await ChildProcess.start(
            Launch(
                executable: executable,
                arguments: [
                    "--agent-socket", directory.proxySocket, "--proxy", name, "--workers", "1",
                    "--telemetry-port", "0", "--allow-debugging", "--log-level", logLevel,
                ],
                outputFile: log(of: name),
                keepsOutput: !isFirst,
                signalIfOrphaned: SIGKILL
            )
        )
        let isTooLate = state.withLock { state in
            guard !state.isEnding, state.kept[name]?.isWanted ?? false else { return true }
            state.kept[name]?.process = process
            return false
        }
        guard isTooLate else { return process }
        // Nobody else knows of it.
        await process.stop(grace: DevSystem.stopGrace, clock: clock)
        return nil
    }

    private func log(of name: String) -> String { directory.log(of: Self.program(name)) }

    /// The name of its log; a namespace has no dot.
    private static func program(_ name: String) -> String {
        "signet-proxy.\(name.replacing("/", with: "."))"
    }
}

/// What `signet dev` has to know of stored documents and records.
package enum DevProxyDocument {
    static let kind = "Proxy"

    private struct Document: Decodable {
        struct Spec: Decodable {
            var nodeSelectors: [String]
        }
        var spec: Spec
    }

    private struct Record: Decodable {
        var event: String
    }

    /// Whether a stored Proxy is for a machine that shows these selectors.
    ///
    /// - Returns: False also for a document that cannot be read.
    package static func isFor(nodeShowing selectors: Set<String>, json: String) -> Bool {
        guard let document = try? JSONDecoder().decode(Document.self, from: Data(json.utf8)),
            !document.spec.nodeSelectors.isEmpty
        else { return false }
        return selectors.isSuperset(of: document.spec.nodeSelectors)
    }

    /// Whether an audit record tells that documents changed.
    package static func changesDocuments(json: String) -> Bool {
        let record = try? JSONDecoder().decode(Record.self, from: Data(json.utf8))
        return record?.event == "documentsApplied"
    }
}
