// SPDX-License-Identifier: Apache-2.0

import AuditLog
import CAServer
import Clocks
import ControlAPI
import Datastore
import Foundation
import Testing

/// What the server does at its start when files of its log are lost.
@Suite(.timeLimit(.minutes(1)))
struct AuditFilesTests {
    /// Leaves a log behind; everything of it is published, and the database remembers some of it.
    private func leaveLog(in directory: TestDirectory) async throws -> IntactLog {
        try await withServer(in: directory) { server in
            _ = try await server.agent("web-1")
            try await server.register("web")
            let log = try #require(try await server.requireIntactLog().log)
            try await remembers(server, moreThan: 0)
            return log
        }
    }

    private func remembers(_ server: TestServer, moreThan size: UInt64) async throws {
        try await eventually("the database remembers what was published") {
            try await server.core.datastore.read { try $0.auditFrontier() }.size > size
        }
    }

    private func log(_ directory: TestDirectory) -> String { "\(directory.path)/data/audit" }

    private func startRefusal(_ directory: TestDirectory, rebuilds: Bool = false) async -> String? {
        let error = await refusal {
            try await withServer(in: directory, rebuildsAuditLog: rebuilds) { _ in }
        }
        return error?.message
    }

    @Test func `a log whose checkpoint is gone is not silently signed anew`() async throws {
        let directory = try TestDirectory()
        _ = try await leaveLog(in: directory)
        try FileManager.default.removeItem(atPath: "\(log(directory))/checkpoint")
        let message = try #require(await startRefusal(directory))
        #expect(message.contains("--rebuild-audit-log"), "\(message)")
        #expect(try files(below: log(directory)).allSatisfy { $0.hasPrefix("tile/") })
        // What is left is evidence: it is not written over, either.
        let over = try #require(await startRefusal(directory, rebuilds: true))
        #expect(over.contains("move it away"), "\(over)")
    }

    @Test func `a log that is lost is made again when an operator says so, and is the same`()
        async throws
    {
        let directory = try TestDirectory()
        let before = try await leaveLog(in: directory)
        try FileManager.default.removeItem(atPath: log(directory))
        #expect(await startRefusal(directory) != nil)
        let after = try await withServer(in: directory, rebuildsAuditLog: true) { server in
            try #require(try await server.requireIntactLog().log)
        }
        let size = before.checkpoint.checkpoint.size
        #expect(after.checkpoint.checkpoint.size > size)
        var tree = TiledTree(size: after.checkpoint.checkpoint.size) { [log = log(directory)] in
            try AuditPublisher.read($0, in: log)
        }
        let proof = try #require(try tree.proveConsistency(from: size))
        #expect(
            proof.joins(
                oldRoot: before.checkpoint.checkpoint.root,
                newRoot: after.checkpoint.checkpoint.root
            )
        )
        // Once is enough.
        try await withServer(in: directory) { _ = try await $0.requireIntactLog() }
    }

    @Test func `a changed file of records is noticed at the start`() async throws {
        let directory = try TestDirectory()
        _ = try await leaveLog(in: directory)
        func width(_ path: String) -> Int {
            path.split(separator: "/").last.flatMap { Int($0) } ?? 0
        }
        let newest = try #require(
            try files(below: log(directory)).filter { $0.hasPrefix("tile/entries/") }
                .max { width($0) < width($1) }
        )
        let url = URL(fileURLWithPath: "\(log(directory))/\(newest)")
        var bytes = try Data(contentsOf: url)
        bytes[bytes.count - 2] ^= 1
        try bytes.write(to: url)
        let message = try #require(await startRefusal(directory))
        #expect(message.contains(newest), "\(message)")
        #expect(message.ranges(of: "After an alarm").count == 1, "\(message)")
    }

    @Test func `a changed file of records that is exactly full is noticed at the start`()
        async throws
    {
        let directory = try TestDirectory()
        try await withServer(in: directory) { server in
            var number = 0
            while try await server.core.datastore.read({ try $0.auditSize() })
                < UInt64(TilePath.fullWidth)
            {
                try await server.register("web-\(number)")
                number += 1
            }
            let log = try #require(try await server.requireIntactLog().log)
            try #require(log.checkpoint.checkpoint.size == UInt64(TilePath.fullWidth))
        }
        let newest = TilePath(.entries, index: 0).description
        let url = URL(fileURLWithPath: "\(log(directory))/\(newest)")
        let whole = try Data(contentsOf: url)
        for position in [2, whole.count / 2, whole.count - 1] {
            var bytes = whole
            bytes[position] ^= 1
            try bytes.write(to: url)
            let message = try #require(await startRefusal(directory))
            #expect(message.contains(newest), "\(message)")
            #expect(message.ranges(of: "After an alarm").count == 1, "\(message)")
        }
        try whole.write(to: url)
        try await withServer(in: directory) { _ = try await $0.requireIntactLog() }
    }

    @Test func `a running server that meets a changed record stops at once`() async throws {
        // Time goes on by itself only: what is refused is not refused for the grace being over.
        try await withServer { server in
            try await server.register("web")
            try await server.requireIntactLog()
            let directory = server.core.audit.directory
            let size = try #require(server.core.audit.checkpoint).checkpoint.size
            let newest = TilePath(.entries, index: 0, width: Int(size)).description
            let url = URL(fileURLWithPath: "\(directory)/\(newest)")
            let whole = try Data(contentsOf: url)
            var bytes = whole
            bytes[bytes.count - 1] ^= 1
            try bytes.write(to: url)
            let changed = server.core.clock.bootTime
            // Its leaf is the next to be published, after the changed ones.
            try await server.register("api")
            try await eventually("publishing stops") { server.core.audit.problem != nil }
            #expect(server.core.clock.bootTime - changed < AuditPublisher.failureGrace)
            let refused = await refusal { try await server.register("db") }
            #expect(refused?.reason == "auditBlocked", "\(refused?.message ?? "applied")")
            #expect(refused?.message.contains(newest) == true)
            #expect(server.core.audit.problem?.contains("After an alarm") == true)
            #expect(try await server.unmetConditions() == ["audit"])
            // Nothing was signed over it.
            #expect(server.core.audit.checkpoint?.checkpoint.size == size)
            try whole.write(to: url)
            try await eventually("publishing goes on") { server.core.audit.problem == nil }
            try await server.register("db")
            try await server.requireIntactLog()
        }
    }

    @Test func `older files than were published are refused`() async throws {
        let directory = try TestDirectory()
        let before = try await leaveLog(in: directory)
        let copy = "\(directory.path)/copy"
        try FileManager.default.copyItem(atPath: log(directory), toPath: copy)
        _ = try await withServer(in: directory) { server in
            try await server.register("api")
            try await remembers(server, moreThan: before.checkpoint.checkpoint.size)
        }
        try FileManager.default.removeItem(atPath: log(directory))
        try FileManager.default.moveItem(atPath: copy, toPath: log(directory))
        let message = try #require(await startRefusal(directory))
        #expect(message.contains("differ"), "\(message)")
    }
}
