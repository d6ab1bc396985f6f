// SPDX-License-Identifier: Apache-2.0

internal import TestBridge

/// The reference of a key service on the Unix socket given, with its keys in memory; it lasts until a
/// signal ends it.
///
/// It is a program of its own, since the empty server beside it is weighed.
@main
struct KeyServer {
    static func main() async throws {
        let path = CommandLine.arguments.dropFirst().first ?? "keys.sock"
        // Nobody sends anything here.
        let (never, sender) = AsyncStream.makeStream(of: Void.self)
        try await KeyBridge().serving(at: path) { for await _ in never {} }
        sender.finish()
    }
}
