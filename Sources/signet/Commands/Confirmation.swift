// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
package import ControlAPIProtos
internal import SwiftProtobuf

/// Waiting for live agents and attached proxies to apply a revision.
enum Confirmation {
    /// As long as the server waits; a script that needs more hangs.
    static let secondsMax = 600
    /// Enough for agents that are connected; those that are away are not waited for.
    static let secondsDefault = 30

    static func wait(
        for change: Signet_Admin_V1alpha1_ApplyResponse,
        seconds: Int,
        server: ServerOptions
    ) async -> ConfirmationOutcome {
        let revision = change.revision
        let what =
            "agents and proxies to apply revision \(revision.number), for \(seconds) s at most"
        do {
            let answer = try await Terminal.waiting(for: what) {
                try await server.withClient { client in
                    try await Signet_Admin_V1alpha1_Documents.Client(wrapping: client).wait(
                        .with {
                            $0.revision = revision
                            $0.deadlineMilliseconds = UInt32(clamping: seconds * 1000)
                        }
                    )
                }
            }
            return ConfirmationOutcome(answer, of: change)
        } catch {
            return ConfirmationOutcome(unknown: error, revision: revision.number)
        }
    }
}

/// `--wait` of acts after which something counts no more.
struct ConfirmationOptions: ParsableArguments {
    /// As long as agents that are connected need at most.
    private static let secondsAlways = 2

    @Flag(
        help: """
            Wait until every live agent has applied it, for 30 s at most; each tells its proxies.
            """
    )
    var wait = false

    /// Refuses to wait for what is not done.
    func validate(_ rehearsal: RehearsalOptions) throws {
        guard wait, rehearsal.rehearse else { return }
        throw ValidationError(
            "--rehearse changes nothing that could be waited for: leave out --wait"
        )
    }

    /// Says who has applied the act; nobody is safe from what it refuses before.
    ///
    /// - Throws: `CommandFailure` with --wait, if somebody has not.
    func confirm(
        _ revision: Signet_Node_V1alpha1_Revision,
        _ server: ServerOptions
    ) async throws {
        // People wait longer for others.
        let seconds = wait ? Confirmation.secondsDefault : Self.secondsAlways
        let outcome = await Confirmation.wait(
            for: .with { $0.revision = revision },
            seconds: seconds,
            server: server
        )
        for line in outcome.lines { Terminal.error(line) }
        guard let failure = outcome.failure else { return }
        if wait { throw failure }
        Terminal.error("warning: \(failure.message)")
    }
}

/// What agents and proxies made of a revision.
package struct ConfirmationOutcome: Sendable {
    /// Nil if nobody tells.
    private let answer: Signet_Admin_V1alpha1_WaitResponse?
    private let unknown: CommandFailure?
    private let revision: UInt64
    /// The Proxies whose documents were changed, `namespace/name`.
    private let proxies: [String]

    /// Judges the server's answer.
    package init(
        _ answer: Signet_Admin_V1alpha1_WaitResponse,
        of change: Signet_Admin_V1alpha1_ApplyResponse
    ) {
        self.answer = answer
        unknown = nil
        revision = change.revision.number
        // What did not change has nothing to apply, so that nobody would be named.
        proxies = change.changes
            .filter { $0.key.kind == "Proxy" && ["created", "updated"].contains($0.action) }
            .map { "\($0.key.namespace)/\($0.key.name)" }
    }

    /// Nobody tells who has applied it: the change was made all the same.
    package init(unknown error: any Error, revision: UInt64) {
        answer = nil
        unknown = CommandFailure(
            "revision \(revision) is applied, but who has it is not known: "
                + CommandFailure(error).message,
            remedy: "The change is in force on the server; agents and proxies apply it when they "
                + "can. Whoever waits needs the verb node.list (docs/command-line.md, \"Rights\").",
            status: .unconfirmed
        )
        self.revision = revision
        proxies = []
    }

    /// One for each thing to know: who refused and why, who is not reachable, who has applied it.
    package var lines: [String] {
        guard let answer else { return [] }
        var lines = answer.refused.map { refusal in
            let what = refusal.isOfProxy ? "it" : refusal.resource
            return "\(refusal.name) refused \(what): \(refusal.reason)"
        }
        if !answer.unreachable.isEmpty {
            lines.append("not reachable: \(answer.away.joined(separator: ", "))")
        }
        if failure == nil { lines.append("revision \(revision) applied by \(answer.appliedBy)") }
        let absent = notAttached
        if !absent.isEmpty {
            lines.append("no process of \(absent.joined(separator: ", ")) is attached yet")
        }
        return lines
    }

    /// Nil if all that are concerned have applied it.
    package var failure: CommandFailure? {
        guard let answer else { return unknown }
        guard !answer.complete || !answer.refused.isEmpty || !answer.unreachable.isEmpty else {
            return nil
        }
        var refused: [String] = []
        for name in answer.refused.map({ "\($0.name) (refused)" }) where !refused.contains(name) {
            refused.append(name)
        }
        let missing = refused + answer.waiting + answer.away
        return CommandFailure(
            "revision \(revision) is not confirmed by all: \(missing.joined(separator: ", "))",
            remedy: "The change is in force on the server; agents and proxies apply it when they "
                + "can. Who refused it stays with what it had before.",
            status: .unconfirmed
        )
    }

    /// The Proxies that were changed and of which no agent told anything, `namespace/name`.
    ///
    /// Empty while an agent is away or has not applied the change: what it has is not known.
    package var notAttached: [String] {
        guard let answer, !(answer.waiting + answer.unreachable).contains(where: \.isAgent) else {
            return []
        }
        let places =
            answer.applied + answer.waiting + answer.unreachable + answer.refused.map(\.name)
        return proxies.filter { proxy in !places.contains { $0.hasSuffix("/" + proxy) } }.sorted()
    }

    /// For programs.
    package var view: ConfirmationView {
        let answer = answer ?? .init()
        return ConfirmationView(
            confirmed: failure == nil,
            applied: answer.applied,
            refused: answer.refused.map {
                ConfirmationView.Refusal(
                    name: $0.name,
                    resource: $0.isOfProxy ? nil : $0.resource,
                    reason: $0.reason
                )
            },
            waiting: answer.waiting,
            unreachable: answer.unreachable,
            lastSeen: answer.lastSeenUnixSeconds.mapValues { Terminal.time(unixSeconds: $0) },
            notAttached: notAttached,
            problem: unknown?.message
        )
    }
}

/// What agents and proxies made of a revision, for programs: agents are named `NODE`, proxies
/// `NODE/NAMESPACE/NAME`.
package struct ConfirmationView: Encodable, Sendable {
    struct Refusal: Encodable {
        var name: String
        /// What of it an agent could not take; nil for a proxy, which takes all or nothing.
        var resource: String?
        var reason: String
    }

    /// All that are concerned have applied it.
    var confirmed: Bool
    var applied: [String]
    var refused: [Refusal]
    /// Those that were there and had not applied it in time.
    var waiting: [String]
    var unreachable: [String]
    /// Until when agents in `unreachable` were connected, by name, where the server knows.
    var lastSeen: [String: String]
    /// Proxies (`NAMESPACE/NAME`) of the change of which no process is attached.
    var notAttached: [String]
    /// Why it is not known who has applied it; nil if it is.
    var problem: String?
}

extension String {
    /// Agents are named by one word, proxies by node, namespace and name.
    fileprivate var isAgent: Bool { !contains("/") }
}

extension Signet_Admin_V1alpha1_WaitResponse {
    /// Who is not connected, and since when.
    fileprivate var away: [String] {
        unreachable.map { name in
            guard let seconds = lastSeenUnixSeconds[name] else {
                return name.isAgent ? "\(name) (not connected)" : name
            }
            return "\(name) (not connected since \(Terminal.time(unixSeconds: seconds)))"
        }
    }

    fileprivate var appliedBy: String {
        let proxies = applied.count { !$0.isAgent }
        let agents = "\(applied.count - proxies) agent(s)"
        return proxies == 0 ? agents : "\(agents) and \(proxies) proxy process(es)"
    }
}

extension Signet_Admin_V1alpha1_RefusedByNode {
    /// How a resource begins that is a Proxy; its name, `namespace/name`, follows.
    private static let proxyPrefix = "proxy "

    fileprivate var isOfProxy: Bool { resource.hasPrefix(Self.proxyPrefix) }

    /// Who refused: the node, or one proxy on it.
    fileprivate var name: String {
        isOfProxy && node.isAgent ? "\(node)/\(resource.dropFirst(Self.proxyPrefix.count))" : node
    }
}
