// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import ControlAPIProtos
internal import Foundation

/// `signet health`.
struct HealthCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "health",
        abstract: "Whether the server, and the agent here, can do their work now.",
        discussion: """
            Each of them is asked if it is here or was named. Exit status 1 when one is not ready, \
            6 when one is not reachable.

            Example: signet health && echo ready
            """
    )
    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions

    struct View: Encodable {
        var ready: Bool
        var server: ServerView?
        var agent: AgentView?
    }

    struct Condition: Encodable {
        var name: String
        var ok: Bool
        var reason: String
    }

    struct ServerView: Encodable {
        var ready = false
        var trustDomain = ""
        var serverID = ""
        var version = ""
        var revision: UInt64 = 0
        var connectedAgents: UInt32 = 0
        var conditions: [Condition] = []
        /// Why it was not asked.
        var problem: String?
    }

    struct AgentView: Encodable {
        var ready = false
        var name = ""
        var spiffeID = ""
        var version = ""
        var appliedRevision: UInt64 = 0
        var connected = false
        var entries: UInt64 = 0
        var svidExpiresAt = ""
        var clockSkewMilliseconds: Int64 = 0
        var notReadyReasons: [String] = []
        /// Why it was not asked.
        var problem: String?
    }

    func run() async throws {
        var failure: CommandFailure?
        var view = View(ready: true)
        let serverIsHere = try serverIsHere
        let agentIsHere = try agentIsHere
        if serverIsHere || !agentIsHere {
            do {
                view.server = try await serverView()
            } catch let error as CommandFailure {
                failure = error
                view.server = ServerView(problem: error.message)
            }
        }
        if agentIsHere {
            do {
                view.agent = try await agentView()
            } catch let error as CommandFailure where !error.isAnswer {
                failure = failure ?? error
                view.agent = AgentView(problem: error.message)
            } catch let error as CommandFailure {
                // Only its operator may ask; that it answered is all that others learn.
                view.agent = AgentView(ready: true, problem: error.message)
            }
        }
        view.ready = (view.server?.ready ?? true) && (view.agent?.ready ?? true)
        try output.print(view) {
            Table(headings: ["WHAT", "STATE", "REASON"], rows: view.rows)
        }
        if let failure { throw failure }
        guard view.ready else {
            throw CommandFailure("not ready", remedy: "See the reasons; the logs tell more.")
        }
    }

    private var serverIsHere: Bool {
        get throws {
            guard case .socket(let path) = try server.target,
                ServerTarget.socketCandidates.contains(path)
            else { return true }
            return FileManager.default.fileExists(atPath: path)
        }
    }

    private var agentIsHere: Bool {
        get throws {
            let path = try server.agent.path
            return !AgentOptions.socketCandidates.contains(path)
                || FileManager.default.fileExists(atPath: path)
        }
    }

    private func serverView() async throws -> ServerView {
        let health = try await server.withClient { client in
            try await Signet_Admin_V1alpha1_Administration.Client(wrapping: client)
                .getHealth(.init())
        }
        return ServerView(
            ready: health.ready,
            trustDomain: health.trustDomain,
            serverID: health.serverID,
            version: health.version,
            revision: health.revision.number,
            connectedAgents: health.connectedAgents,
            conditions: health.conditions.map {
                Condition(name: $0.name, ok: $0.ok, reason: $0.reason)
            }
        )
    }

    private func agentView() async throws -> AgentView {
        let status = try await server.agent.withClient { client in
            try await Signet_Agent_V1alpha1_AgentLocal.Client(wrapping: client)
                .getStatus(.init())
        }
        return AgentView(
            ready: status.notReadyReasons.isEmpty,
            name: status.name,
            spiffeID: status.spiffeID,
            version: status.version,
            appliedRevision: status.applied.number,
            connected: status.connected,
            entries: status.entries,
            svidExpiresAt: Terminal.time(unixSeconds: status.svidNotAfterUnixSeconds),
            clockSkewMilliseconds: status.clockSkewMilliseconds,
            notReadyReasons: status.notReadyReasons
        )
    }
}

extension HealthCommand.View {
    var rows: [[String]] {
        var rows: [[String]] = []
        if let server {
            // Who is no admin learns only whether it is ready.
            let detail =
                server.serverID.isEmpty
                ? ""
                : "trust domain \(server.trustDomain), revision \(server.revision), "
                    + "\(server.connectedAgents) agent(s) connected"
            rows.append(
                [
                    ["server", server.serverID].joined(separator: " "),
                    server.ready ? "ready" : "NOT READY", server.problem ?? detail,
                ]
            )
            rows += server.conditions.map { ["  \($0.name)", $0.ok ? "ok" : "NOT OK", $0.reason] }
        }
        if let agent {
            let detail =
                "\(agent.connected ? "connected" : "NOT CONNECTED"), revision "
                + "\(agent.appliedRevision), \(agent.entries) entries"
            rows.append(
                [
                    ["agent", agent.name].joined(separator: " "),
                    agent.ready ? "ready" : "NOT READY", agent.problem ?? detail,
                ]
            )
            rows += agent.notReadyReasons.map { ["  ", "NOT OK", $0] }
        }
        return rows
    }
}
