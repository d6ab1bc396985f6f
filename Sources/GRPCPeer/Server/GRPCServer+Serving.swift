// SPDX-License-Identifier: Apache-2.0

package import GRPCCore

extension GRPCServer where Transport == PeerServerTransport {
    /// Serves until the task is cancelled; then what is open is let finish.
    ///
    /// - Parameters:
    ///   - transport: The server's own.
    ///   - ending: Called when the task is cancelled, to end streams that would stay open.
    ///   - ready: Called once peers can connect.
    /// - Throws: Why it could not serve; nothing when it was cancelled, however early.
    package func serve(
        on transport: PeerServerTransport,
        ending: @escaping @Sendable () -> Void,
        ready: @escaping @Sendable () -> Void
    ) async throws {
        do {
            try await run(transport, ending, ready)
        } catch is RuntimeError where Task.isCancelled {
            // It was ended before it had begun, which the library takes for a fault.
        }
    }

    /// Apart from its caller: Swift 6.3 crashes on a cancellation handler within `do` and `catch`.
    private func run(
        _ transport: PeerServerTransport,
        _ ending: @escaping @Sendable () -> Void,
        _ ready: @escaping @Sendable () -> Void
    ) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                try await withTaskCancellationHandler {
                    try await self.serve()
                } onCancel: {
                    self.beginGracefulShutdown()
                    ending()
                }
            }
            group.addTask {
                _ = try await transport.listeningAddress
                ready()
            }
            try await group.waitForAll()
        }
    }
}
