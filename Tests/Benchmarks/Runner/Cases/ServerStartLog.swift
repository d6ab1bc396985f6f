// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Datastore
internal import Foundation
internal import SPIFFE

/// The same as `ServerStart`, with many records in the audit log and no entry: what a server has that
/// has issued for months.
///
/// One start in between, which nobody measures, makes tiles and checkpoints of them, so that files and
/// database agree as they do after an ordinary end.
enum ServerStartLog {
    private static let count = 1_000_000
    private static let recordsPerTransaction = 1000
    private static let recordsPerSecond = 10
    private static let time = "server start with 1,000,000 audit records"
    private static let memory = "server memory after a start with 1,000,000 audit records"
    private static let publishing = Duration.seconds(1800)

    static let benchmark = Benchmark(
        name: "server-start-log",
        rows: [(time, "ms"), (memory, "KB")].map {
            RowDefinition(id: $0, unit: $1, peer: "a new log", goal: .none)
        },
        readings: { settings in
            try await ServerHost(settings).run { empty in
                try await empty.stop()
                return try await ServerHost(settings).run { server in
                    try await server.stop()
                    try await fill(server, count: settings.size(count, quick: 1000))
                    var readings: [Reading] = []
                    for _ in 0..<settings.runs {
                        let floor = try await ServerStart.start(empty, settings)
                        let own = try await ServerStart.start(server, settings)
                        readings += [
                            Reading(row: time, value: own.time, peer: floor.time),
                            Reading(row: memory, value: own.memory, peer: floor.memory),
                        ]
                    }
                    return readings
                }
            }
        }
    )

    private static func fill(_ server: ServerHost, count: Int) async throws {
        let store = try ServerStore(path: server.databasePath)
        // Ten in a second until now: a record of tomorrow would mean a clock that was set back.
        let began = Date() - Double(count / recordsPerSecond + 60)
        for first in stride(from: 0, to: count, by: recordsPerTransaction) {
            let records = try (first..<min(first + recordsPerTransaction, count)).map {
                try record($0, at: began + Double($0 / recordsPerSecond))
            }
            try await store.write { transaction in
                for record in records { try append(record, to: transaction) }
            }
        }
        try store.close()
        try await server.start()
        let checkpoint = "\(server.folder)/data/audit/\(TilePath.checkpoint)"
        try await Waiting.until(
            "the checkpoint of all records",
            within: publishing,
            every: .milliseconds(100)
        ) {
            // Its second line is how many records there are.
            let lines = try String(contentsOfFile: checkpoint, encoding: .utf8).split(
                separator: "\n"
            )
            return lines.count > 1 && (Int(lines[1]) ?? 0) >= count
        }
        try await server.stop()
    }

    /// An SVID that an agent was given.
    private static func record(_ index: Int, at now: Date) throws -> AuditRecord {
        let domain = try TrustDomain(ServerHost.trustDomain)
        let agent = try SPIFFEID(trustDomain: domain, path: "/signet/agent/node-\(index % 1000)")
        let bytes = (0..<8).map { UInt8(truncatingIfNeeded: index >> (8 * $0)) }
        let serial = [1] + [UInt8](repeating: 0x3C, count: 8) + bytes
        return AuditRecord(
            event: .svidsIssued(
                SVIDIssuance(
                    agent: agent,
                    authority: [UInt8](repeating: 0x5A, count: 20),
                    profile: .workload,
                    svids: [
                        IssuedSVID(
                            spiffeID: try SPIFFEID(
                                trustDomain: domain,
                                path: "/ns/shop/sa/web-\(index % 10_000)"
                            ),
                            serial: serial,
                            notAfter: AuditTime(now + 3600),
                            tbsSHA256: [UInt8](repeating: 0xA5, count: 32),
                            entry: IssuedSVID.Entry(
                                id: "entry-\(index % 10_000)",
                                namespace: "default",
                                revision: 1
                            )
                        )
                    ]
                )
            ),
            actor: .spiffe(agent),
            time: now
        )
    }

    private static func append(_ record: AuditRecord, to transaction: Transaction) throws {
        for leaf in try record.leaves() {
            _ = try transaction.appendLeaf(
                bytes: leaf.bytes,
                hash: leaf.hash.bytes,
                fields: AuditLeafFields(
                    time: leaf.time.date,
                    event: leaf.event.rawValue,
                    actor: leaf.actor,
                    namespaces: leaf.namespaces,
                    spiffeIDs: leaf.spiffeIDs,
                    serials: leaf.serials
                )
            )
        }
    }
}
