// SPDX-License-Identifier: Apache-2.0

internal import ControlAPIProtos
internal import Foundation
internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
internal import GRPCPeer
internal import SwiftProtobuf

/// A signet-agent with data of its own beside the server's.
struct AgentHost: Sendable {
    let child: ChildProcess
    let socket: String

    /// A token and a folder for an agent that has not started yet.
    struct Place: Sendable {
        let folder: String
        let arguments: [String]
        let executable: String
        let socket: String

        init(
            _ name: String,
            selectors: [String],
            at server: ServerHost,
            _ settings: BenchmarkSettings
        ) async throws {
            folder = "\(server.folder)/\(name)"
            socket = "\(folder)/workload.sock"
            executable = settings.executable("signet-agent")
            try FileManager.default.createDirectory(
                atPath: folder,
                withIntermediateDirectories: true,
                attributes: [.posixPermissions: 0o700]
            )
            let address = server.address().description
            let token = try await server.withAdmin { client in
                try await ServerHost.Administration(wrapping: client).createToken(
                    .with {
                        $0.agentName = name
                        $0.nodeSelectors = selectors
                        $0.serverAddresses = [address]
                    }
                ).token
            }
            let file = "\(folder)/token"
            let isWritten = FileManager.default.createFile(
                atPath: file,
                contents: Data(token.utf8),
                attributes: [.posixPermissions: 0o600]
            )
            guard isWritten else { throw BenchmarkError("cannot write \(file)") }
            arguments = [
                "--data-dir", "\(folder)/data", "--join-token-file", file, "--socket", socket,
                "--telemetry-port", "0",
            ]
        }

        func start() throws -> AgentHost {
            AgentHost(child: try ChildProcess(executable, arguments), socket: socket)
        }
    }

    /// Waits until the agent listens.
    func listens() async throws {
        try await Waiting.until("the agent's socket") {
            guard child.isRunning else {
                throw BenchmarkError("the agent has ended: \(child.output)")
            }
            return FileManager.default.fileExists(atPath: socket)
        }
    }

    /// Runs `body` with what the agent says about itself.
    func status() async throws -> Signet_Node_V1alpha1_AgentStatus {
        try await withGRPCClient(transport: PeerClientTransport.unixSocket(path: socket)) {
            try await Signet_Agent_V1alpha1_AgentLocal.Client(wrapping: $0).getStatus(.init())
        }
    }
}

/// A workload that keeps its Workload API stream open on a connection of its own.
struct WorkloadClient: Sendable {
    /// What the agent sent, and when it was here.
    struct Update: Sendable {
        let ids: [String]
        let time: ContinuousClock.Instant
    }

    private static let metadata: Metadata = ["workload.spiffe.io": "true"]

    let socket: String

    /// Reports every update until the task is cancelled; comes back after a refusal, as SPIFFE
    /// libraries do, only faster.
    func run(_ report: @escaping @Sendable (Update) -> Void) async throws {
        while !Task.isCancelled {
            do {
                try await stream(report)
            } catch is CancellationError {
                return
            } catch let error as RPCError {
                guard [.permissionDenied, .unavailable].contains(error.code) else { throw error }
            }
            try? await Waiting.pause(.milliseconds(5))
        }
    }

    private func stream(_ report: @escaping @Sendable (Update) -> Void) async throws {
        try await withGRPCClient(transport: PeerClientTransport.unixSocket(path: socket)) {
            try await SpiffeWorkloadAPI.Client(wrapping: $0).fetchX509SVID(
                .init(),
                metadata: Self.metadata
            ) { response in
                for try await message in response.messages {
                    report(Update(ids: message.svids.map(\.spiffeID), time: .now))
                }
            }
        }
    }

    /// The first update.
    func first() async throws -> Update {
        let (updates, outlet) = AsyncStream.makeStream(of: Update.self)
        return try await withThrowingTaskGroup(of: Update?.self) { group in
            group.addTask {
                try await run { outlet.yield($0) }
                return nil
            }
            group.addTask {
                for await update in updates { return update }
                return nil
            }
            defer { group.cancelAll() }
            while let update = try await group.next() {
                if let update { return update }
            }
            throw BenchmarkError("the agent gave no identity")
        }
    }
}
