// SPDX-License-Identifier: Apache-2.0

import AuditLog
import CAServer
import ControlAPI
import ControlAPIProtos
import Foundation
import GRPCCore
import SPIFFE
import SwiftProtobuf
import Testing

extension TestServer {
    /// The log's verdict over the files that the server serves, once all leaves are published.
    func verifiedLog() async throws -> (AuditVerdict, records: [String]) {
        var key = ""
        try await eventually("everything committed is published") {
            let answer = try await audit.getCheckpoint(.init())
            key = answer.verifierKey
            guard !answer.note.isEmpty else { return false }
            let signed = try SignedCheckpoint(
                parsing: Array(answer.note.utf8),
                key: NoteVerifierKey(parsing: key)
            )
            return signed.checkpoint.size == answer.committedSize
        }
        let directory = core.audit.directory
        var records: [String] = []
        let verdict = try AuditVerifier(key: NoteVerifierKey(parsing: key)) { path in
            Array(try Data(contentsOf: URL(fileURLWithPath: "\(directory)/\(path)")))
        }.verify(files: try files(below: directory)) { _, bytes in
            records.append(String(decoding: bytes, as: UTF8.self))
        }
        return (verdict, records)
    }
}

extension TestServer {
    /// Requires that the whole log verifies, and returns its records.
    @discardableResult
    func requireIntactLog(
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws -> (log: IntactLog?, records: [String]) {
        let (verdict, records) = try await verifiedLog()
        guard case .intact(let log) = verdict else {
            Issue.record("\(verdict)", sourceLocation: sourceLocation)
            return (nil, records)
        }
        return (log, records)
    }
}

/// Every file below a directory, by its path there.
func files(below directory: String) throws -> [String] {
    try FileManager.default.subpathsOfDirectory(atPath: directory).filter {
        let attributes = try FileManager.default.attributesOfItem(atPath: "\(directory)/\($0)")
        return attributes[.type] as? FileAttributeType == .typeRegular
    }
}

@Suite(.timeLimit(.minutes(1)))
struct AuditTests {
    @Test func `every act is a record of a log that verifies offline`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("web")
            _ = try await server.sign(
                [try signingRequest(entry: entry, spiffeID: "spiffe://example.org/web")],
                as: agent
            )
            _ = try await server.administration.banNode(
                .with { ($0.name, $0.reason) = ("web-1", "over") }
            )
            let (log, records) = try await server.requireIntactLog()
            #expect(log?.unknownFiles == [])
            #expect(log?.unsignedFiles == [])
            let events = try records.map {
                try AuditRecord(parsing: Array($0.utf8)).event.name
            }
            // A list with what the ban has revoked may have followed.
            #expect(
                events.prefix(12) == [
                    .authorityPrepared, .revocationListSigned, .authorityActivated, .serverStarted,
                    .svidsIssued, .tokenCreated, .nodeAttested, .svidsIssued, .documentsApplied,
                    .svidsIssued, .nodeBanned, .nodeCertificatesRevoked,
                ]
            )
        }
    }

    @Test func `a changed byte in a served file is found`() async throws {
        try await withServer { server in
            _ = try await server.agent("web-1")
            try await server.requireIntactLog()
            let path = try #require(
                try files(below: server.core.audit.directory).first { $0.contains("entries") }
            )
            let url = URL(fileURLWithPath: "\(server.core.audit.directory)/\(path)")
            var bytes = try Data(contentsOf: url)
            bytes[bytes.count / 2] ^= 1
            try bytes.write(to: url)
            guard case .broken(let defect) = try await server.verifiedLog().0 else {
                Issue.record("the change was not found")
                return
            }
            #expect(defect.path == path)
            #expect(defect.firstRecord != nil)
        }
    }

    @Test(arguments: ["checkpoint", "tile/0/"])
    func `a server whose log was changed does not start again`(_ prefix: String) async throws {
        let directory = try TestDirectory()
        let log = try await withServer(in: directory) { server in
            _ = try await server.agent("web-1")
            try await server.requireIntactLog()
            return server.core.audit.directory
        }
        // Of several widths of a tile the widest is in use.
        let path = try #require(
            try files(below: log).filter { $0.hasPrefix(prefix) }
                .max { ($0.count, $0) < ($1.count, $1) }
        )
        let url = URL(fileURLWithPath: "\(log)/\(path)")
        var bytes = try Data(contentsOf: url)
        bytes[bytes.count / 2] ^= 1
        try bytes.write(to: url)
        let error = await refusal { try await withServer(in: directory) { _ in } }
        #expect(error?.message.contains("audit log") == true, "\(error?.message ?? "started")")
    }

    @Test func `records are found by event, actor, identity, serial, namespace and time`()
        async throws
    {
        try await withServer { server in
            let workload = try await server.workload("web")
            let id = "spiffe://example.org/web"
            let serial = try workload.leaf.serial.map {
                ($0 < 16 ? "0" : "") + String($0, radix: 16)
            }.joined()
            let agent = "spiffe://example.org/signet/agent/node-of-web"
            let cases: [(found: Int, query: Signet_Admin_V1alpha1_AuditQueryRequest)] = [
                (10, .with { $0.limit = 1000 }),
                (3, .with { $0.event = "svidsIssued" }),
                (2, .with { $0.actor = TestServer.actor }),
                (3, .with { $0.actor = agent }),
                (1, .with { $0.spiffeID = id }),
                (1, .with { $0.serial = serial.uppercased() }),
                (2, .with { $0.namespace = "default" }),
                (0, .with { $0.untilUnixMilliseconds = 1000 }),
                (10, .with { $0.untilUnixMilliseconds = 4_000_000_000_000 }),
                (0, .with { $0.sinceUnixMilliseconds = 4_000_000_000_000 }),
                (0, .with { $0.namespace = "none" }),
                (10, .with { $0.sinceUnixMilliseconds = 1000 }),
            ]
            for query in cases {
                let found = try await server.audit.query(query.query).records
                #expect(found.count == query.found, "\(query.query)")
            }
            let page = try await server.audit.query(.with { $0.limit = 3 })
            #expect(page.more)
            let indexes = page.records.map(\.index)
            #expect(indexes == indexes.sorted(by: >))
            let rest = try await server.audit.query(
                .with { ($0.limit, $0.beforeIndex) = (1000, indexes.last ?? 0) }
            )
            #expect(rest.records.count + page.records.count == 10)
            let unknown = await refusal {
                try await server.audit.query(.with { $0.event = "nothing" })
            }
            #expect(unknown?.reason == "eventUnknown")
        }
    }

    @Test func `tail sends what happens, in order, from where it is told`() async throws {
        try await withServer { server in
            let past = try await server.audit.query(.with { $0.limit = 1000 }).records
            let events = try await server.audit.tail(.with { $0.fromStart = true }) { response in
                var events: [String] = []
                var next: UInt64 = 0
                for try await record in response.messages {
                    #expect(record.index == next)
                    next += 1
                    let parsed = try AuditRecord(parsing: Array(record.json.utf8))
                    events.append(parsed.event.name.rawValue)
                    if events.count == past.count { try await server.register("web") }
                    if events.count == past.count + 1 { return events }
                }
                return events
            }
            #expect(events.last == "documentsApplied")
            #expect(events.count == past.count + 1)
        }
    }

    @Test func `who comes back is shown that the log continues what it remembers`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1")
            let key = try NoteVerifierKey(parsing: server.core.audit.key.description)
            try await server.requireIntactLog()
            let first = try await server.readmission("web-1", key: agent.key)
            var memory = try CheckpointMemory(key: key, note: nil)
            _ = memory.received(note: Array(first.checkpoint.note.utf8), proof: nil)
            let old = memory.rememberedSize
            #expect(old > 0)
            try await server.requireIntactLog()
            let next = try await server.readmission("web-1", key: agent.key, rememberedSize: old)
            let note = Array(next.checkpoint.note.utf8)
            let size = try SignedCheckpoint(parsing: note, key: key).checkpoint.size
            #expect(size > old)
            let proof = ConsistencyProof(
                oldSize: old,
                newSize: size,
                path: next.checkpoint.consistencyProof.compactMap { MerkleHash(Array($0)) }
            )
            #expect(memory.received(note: note, proof: proof) == .remember(note: note))
        }
    }

    @Test func `only files of the log are served`() async throws {
        try await withServer { server in
            try await server.requireIntactLog()
            let note = try await server.audit.getFile(.with { $0.path = "checkpoint" })
            #expect(!note.content.isEmpty)
            for path in ["../server.sqlite", "../keys/audit.key", "/etc/passwd", "", "tile/../x"] {
                let error = await refusal {
                    try await server.audit.getFile(.with { $0.path = path })
                }
                #expect(error?.kind == .invalidArgument)
            }
            let none = await refusal {
                try await server.audit.getFile(.with { $0.path = "tile/0/x001/000" })
            }
            #expect(none?.kind == .notFound)
        }
    }

    @Test func `what strangers do is one line a minute, not one each`() async throws {
        let clock = ShiftedClock()
        try await withServer(clock: clock) {
            $0.attestationBurst = 1000
        } _: { server in
            for tries in [40, 5] {
                try await server.anonymously { client in
                    for _ in 0..<tries {
                        let refused = await refusal {
                            try await Attestation.Client(wrapping: client).attestJoinToken(
                                .with { $0.csr = Data([1]) }
                            )
                        }
                        #expect(refused != nil)
                    }
                }
                let before = try await server.records("unauthenticatedSummary").count
                clock.pass(AnonymousCounters.interval)
                try await eventually("the minute is told") {
                    let summaries = try await server.records("unauthenticatedSummary")
                    return summaries.count == before + 1
                }
                let newest = try #require(try await server.records("unauthenticatedSummary").first)
                let record = try AuditRecord(parsing: Array(newest.utf8))
                guard case .unauthenticatedSummary(let summary) = record.event else {
                    Issue.record("\(record)")
                    continue
                }
                #expect(summary.count == UInt64(tries))
                #expect(summary.kind == "joinTokenRefused")
            }
            let single = try await server.records("requestRefused")
            #expect(single.isEmpty)
        }
    }
}
