// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import Logging
internal import PublicEndpoint
internal import Synchronization
internal import Telemetry

/// What a listener for strangers shows them, and what health and log say of it.
///
/// Whatever becomes of it, agents are served: its task ends with the server and never ends it.
final class PublicStand: Sendable {
    /// How often it is looked whether what is shown has changed, which few rows say; several acts
    /// change it, and other servers.
    static let lookInterval: Duration = .seconds(1)

    /// What it is called.
    struct Name: Sendable {
        /// In health; the server is ready without it.
        let condition: String
        /// In the log.
        let listener: String
        /// Who comes.
        let strangers: Logger.Message
    }

    /// What is made of what is in the datastore.
    struct Made<Version: Sendable>: Sendable {
        /// By what it is known whether it is still what is there.
        let version: Version
        let pages: PublicPages
        /// Why it is not all that it should be; it is tried again at each look.
        let problem: String?
    }

    private struct State {
        var pages: PublicPages?
        /// Why the listener is closed.
        var closed: String? = "the listener is not open yet"
        /// Why a document is not what it should be.
        var stale: String?
        /// What is wrong with the certificate.
        var faults: [String] = []
    }

    private let core: ServerCore
    private let name: Name
    private let state = Mutex(State())
    private let counts = PublicCounts()
    private let told = LastTold()

    init(_ core: ServerCore, _ name: Name) {
        (self.core, self.name) = (core, name)
    }

    /// Serves until cancelled.
    ///
    /// - Parameters:
    ///   - door: The listener.
    ///   - make: Given what is shown (nil: nothing), makes what is to be; nil: that has not changed.
    func run<Version: Sendable>(
        _ door: PublicDoor,
        showing make:
            @escaping @Sendable (_ shown: Version?) async throws -> Made<Version>?
    ) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.show(make) }
            group.addTask { await self.counts.summarize(self.name.strangers, self.core) }
            group.addTask { await door.run() }
        }
    }

    private func show<Version: Sendable>(
        _ make: (_ shown: Version?) async throws -> Made<Version>?
    ) async {
        var shown: Version?
        var problem: String?
        while !Task.isCancelled {
            do {
                if let made = try await make(shown) {
                    state.withLock { $0.pages = made.pages }
                    problem = made.problem
                    shown = problem == nil ? made.version : nil
                }
                tell(stale: problem)
            } catch {
                // What is shown stays; it is tried again at each look.
                tell(stale: "what is served cannot be made: \(error)")
            }
            try? await core.clock.sleep(untilBoot: core.clock.bootTime + Self.lookInterval)
        }
    }

    /// Answers with what is shown.
    func service(_ observe: @escaping @Sendable (PublicEvent) -> Void) -> PublicService {
        let (core, counts) = (core, counts)
        return PublicService(
            pages: { [self] in state.withLock { $0.pages } },
            wallTime: { core.believedWallTime },
            bootTime: { core.clock.bootTime },
            observe: { event in
                counts.add(event)
                observe(event)
            }
        )
    }

    // MARK: - What is said of it

    /// Something became of the listener.
    func changed(_ change: PublicDoor.Change) {
        switch change {
        case .closed(let reason): state.withLock { $0.closed = reason }
        case .looked: tell()
        case .opened:
            state.withLock { $0.closed = nil }
            tell()
        }
    }

    /// This is wrong with the certificate, which is told with the next look.
    func note(_ faults: [String]) { state.withLock { $0.faults = faults } }

    /// Says that a document is not what it should be, or is again.
    private func tell(stale problem: String?) {
        let isNews = state.withLock { state in
            defer { state.stale = problem }
            return state.stale != problem
        }
        if isNews { tell() }
    }

    /// Says in health and, when it changes, in the log what is wrong.
    private func tell() {
        let parts = state.withLock { [$0.closed, $0.stale].compactMap(\.self) + $0.faults }
        let problem = parts.isEmpty ? nil : parts.joined(separator: "; ")
        let isNews = told.isNews(problem)
        guard let problem else {
            core.health.met(name.condition)
            if isNews { core.logger.notice("\(name.listener) is as it should be") }
            return
        }
        core.health.unmet(name.condition, reason: problem)
        if isNews { core.logger.warning("\(name.listener)", metadata: ["problem": "\(problem)"]) }
    }
}
