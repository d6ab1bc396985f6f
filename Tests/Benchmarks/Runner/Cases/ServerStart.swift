// SPDX-License-Identifier: Apache-2.0

internal import Datastore
internal import Foundation
internal import NodeSync
internal import SPIFFE

/// From the start of a server to the first connection it would take, and what it weighs then, with
/// many entries.
///
/// The floor is the same server without an entry, started in the same run.
enum ServerStart {
    private static let counts = [100_000, 1_000_000]
    private static let entriesPerTransaction = 1000
    /// What a server does right after its start is over by then.
    private static let settling = Duration.seconds(2)

    private static func start(_ count: Int) -> String {
        "server start with \(name(count)) entries"
    }

    private static func memory(_ count: Int) -> String {
        "server memory after a start with \(name(count)) entries"
    }

    private static func name(_ count: Int) -> String {
        count == 1_000_000 ? "1,000,000" : "\(count / 1000),000"
    }

    static let benchmark = Benchmark(
        name: "server-start",
        rows: counts.flatMap { count in
            [
                RowDefinition(
                    id: start(count),
                    unit: "ms",
                    peer: "no entries",
                    goal: count == 1_000_000 ? .atMost(3000) : .none
                ),
                RowDefinition(id: memory(count), unit: "KB", peer: "no entries", goal: .none),
            ]
        },
        readings: { settings in
            // The first start of each has made the server's identity; the rest goes into its database.
            try await ServerHost(settings).run { empty in
                try await empty.stop()
                var readings: [Reading] = []
                for count in counts {
                    readings += try await ServerHost(settings).run { server in
                        try await server.stop()
                        let size = settings.size(count, quick: count / 500)
                        try await fill(server.databasePath, count: size)
                        return try await measure(count, server, empty, settings)
                    }
                }
                return readings
            }
        }
    )

    private static func measure(
        _ count: Int,
        _ server: ServerHost,
        _ empty: ServerHost,
        _ settings: BenchmarkSettings
    ) async throws -> [Reading] {
        var readings: [Reading] = []
        for _ in 0..<settings.runs {
            let floor = try await start(empty, settings)
            let own = try await start(server, settings)
            readings += [
                Reading(row: start(count), value: own.time, peer: floor.time),
                Reading(row: memory(count), value: own.memory, peer: floor.memory),
            ]
        }
        return readings
    }

    /// Starts a server and ends it again.
    ///
    /// - Returns: Milliseconds until it was ready, and VmRSS in KB once it rests.
    static func start(
        _ server: ServerHost,
        _ settings: BenchmarkSettings
    ) async throws -> (time: Double, memory: Double) {
        let time = try await server.start()
        try await Waiting.pause(settings.size(settling, quick: .milliseconds(100)))
        let memory = try server.child().residentKilobytes()
        try await server.stop()
        return (time.milliseconds, memory)
    }

    private static func fill(_ path: String, count: Int) async throws {
        let store = try ServerStore(path: path)
        for first in stride(from: 0, to: count, by: entriesPerTransaction) {
            try await store.write { transaction in
                let number = try transaction.advanceRevision().number
                for index in first..<min(first + entriesPerTransaction, count) {
                    try put(index, number: number, in: transaction)
                }
            }
        }
        try store.close()
    }

    /// An entry and its document, as `apply` writes them.
    private static func put(
        _ index: Int,
        number: UInt64,
        in transaction: Transaction
    ) throws {
        let now = Date(timeIntervalSince1970: 1_900_000_000)
        let name = "entry-\(index)"
        // 100 entries to a node.
        let selector = "bench:node-\(index / 100)"
        let id = "spiffe://\(ServerHost.trustDomain)/\(name)"
        let json = """
            {"apiVersion":"core.signet/v1alpha1","kind":"RegistrationEntry",\
            "metadata":{"name":"\(name)","namespace":"default"},"spec":{"nodeSelectors":\
            ["\(selector)"],"spiffeID":"\(id)","workloadSelectors":["unix:uid:\(index % 1000)"]}}
            """
        let document = try transaction.put(
            DocumentDraft(
                key: DocumentKey(
                    group: DocumentKey.nativeGroup,
                    kind: "RegistrationEntry",
                    namespace: "default",
                    name: name
                ),
                canonicalJSON: Array(json.utf8),
                labels: [:],
                actor: "uid:0@bench",
                reason: ""
            ),
            newUID: UUID().uuidString.lowercased(),
            expecting: .absent,
            number: number,
            now: now
        )
        try transaction.put(
            RegistrationEntry(
                id: document.uid,
                namespace: "default",
                name: name,
                revision: number,
                createdAt: now,
                spiffeID: id,
                nodeSelectors: [try Selector(selector)],
                workloadSelectors: [try Selector("unix:uid:\(index % 1000)")]
            )
        )
    }
}
