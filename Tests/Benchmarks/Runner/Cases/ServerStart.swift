// SPDX-License-Identifier: Apache-2.0

internal import Datastore
internal import Foundation
internal import NodeSync
internal import SPIFFE

/// From the start of a server to the first connection it would take, with a million entries.
enum ServerStart {
    private static let row = "server start with 1,000,000 entries"
    private static let entriesPerTransaction = 1000

    static let benchmark = Benchmark(
        name: "server-start",
        rows: [RowDefinition(id: row, unit: "ms", goal: .atMost(3000))],
        readings: { settings in
            try await ServerHost(settings).run { server in
                // The first start has made the server's identity; the rest goes into its database.
                try await server.stop()
                try await fill(server.databasePath, count: settings.size(1_000_000, quick: 2000))
                var readings: [Reading] = []
                for _ in 0..<settings.runs {
                    let time = try await server.start()
                    readings.append(Reading(row: row, value: time.milliseconds))
                    try await server.stop()
                }
                return readings
            }
        }
    )

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
