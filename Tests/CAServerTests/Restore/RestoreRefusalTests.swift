// SPDX-License-Identifier: Apache-2.0

import AuditLog
import CAServer
import ControlAPI
import ControlAPIProtos
import Datastore
import Foundation
import NodeSync
import SPIFFE
import SwiftProtobuf
import Testing

/// What is not restored, and that nothing has happened then
/// (docs/decisions/0022-backup-and-restore.md, "Restore").
@Suite(.timeLimit(.minutes(2)))
struct RestoreRefusalTests {
    /// A stopped server with a backup and acts since.
    private static func stopped() async throws -> RestoreFixture {
        let fixture = try RestoreFixture()
        try await fixture.serving { server in
            _ = try await server.agent("web-1")
            try await fixture.makeBackup(server)
            _ = try await server.administration.banNode(.with { $0.name = "web-1" })
        }
        return fixture
    }

    /// Requires that a restore is refused, and leaves everything as it was.
    private static func requireRefused(
        _ fixture: RestoreFixture,
        _ word: String,
        sourceLocation: SourceLocation = #_sourceLocation,
        _ body: () async throws -> RestoreReport
    ) async throws {
        let before = try fixture.content()
        do {
            let report = try await body()
            Issue.record("\(report)", sourceLocation: sourceLocation)
        } catch {
            #expect("\(error)".contains(word), sourceLocation: sourceLocation)
        }
        let after = try fixture.content()
        #expect(Set(before.keys) == Set(after.keys), sourceLocation: sourceLocation)
        for (file, content) in before where !file.hasPrefix("server.sqlite") {
            #expect(after[file] == content, "\(file)", sourceLocation: sourceLocation)
        }
        #expect(try fixture.read { try $0.hold() } == nil, sourceLocation: sourceLocation)
        let names = try FileManager.default.contentsOfDirectory(atPath: fixture.data)
        #expect(!names.contains("restoring"), sourceLocation: sourceLocation)
    }

    @Test func `what a killed restore has left is said by a start, and is in no restore's way`()
        async throws
    {
        let fixture = try await Self.stopped()
        let left = "\(fixture.data)/restoring"
        try FileManager.default.createDirectory(
            atPath: left,
            withIntermediateDirectories: false
        )
        try Data("half".utf8).write(to: URL(fileURLWithPath: "\(left)/server.sqlite"))
        await #expect(throws: ServerStartError.self) { try await fixture.serving { _ in } }
        try await fixture.restore()
        #expect(try fixture.read { try $0.hold() } != nil)
    }

    /// Changes one byte of a file.
    private static func spoil(_ path: String, at place: Int) throws {
        var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        bytes[bytes.startIndex + place] ^= 1
        try bytes.write(to: URL(fileURLWithPath: path))
    }

    @Test func `a record that was changed in the copy ends it`() async throws {
        let fixture = try await Self.stopped()
        try fixture.copy()
        let entries = try files(below: "\(fixture.copies)/audit/tile/entries")
        func count(_ file: String) -> Int { Int(file.split(separator: "/").last ?? "") ?? 0 }
        // The newest one: those of fewer records lie beside it until they are removed.
        let newest = entries.max { count($0) < count($1) }
        let bundle = "\(fixture.copies)/audit/tile/entries/\(try #require(newest))"
        let size = try Data(contentsOf: URL(fileURLWithPath: bundle)).count
        // The last record, which is after the backup.
        try Self.spoil(bundle, at: size - 10)
        try await Self.requireRefused(fixture, "logDiffers") {
            try await fixture.restore(copies: fixture.copies)
        }
    }

    @Test func `a checkpoint that an agent has seen has to fit`() async throws {
        let fixture = try await Self.stopped()
        try fixture.copy()
        let note = "\(fixture.directory.path)/checkpoint"
        try await fixture.serving { server in _ = try await server.register("later") }
        try FileManager.default.copyItem(
            atPath: "\(fixture.data)/audit/checkpoint",
            toPath: note
        )
        // The copy of before lacks records.
        try await Self.requireRefused(fixture, "logDiffers") {
            try await fixture.restore(copies: fixture.copies, checkpoints: [note])
        }
        // One that is of no log of this server.
        try Data("elsewhere\n0\n\n".utf8).write(to: URL(fileURLWithPath: note))
        try await Self.requireRefused(fixture, "no checkpoint of") {
            try await fixture.restore(copies: fixture.copies, checkpoints: [note])
        }
    }

    @Test func `a backup that was changed or is another server's is refused`() async throws {
        let fixture = try await Self.stopped()
        let other = try await Self.stopped()
        try await Self.requireRefused(fixture, "otherServer") {
            try await fixture.restore(.backup(other.backup))
        }
        try Self.spoil(fixture.backup, at: 5000)
        try await Self.requireRefused(fixture, "does not open") { try await fixture.restore() }
        try await Self.requireRefused(fixture, "no backup") {
            try await fixture.restore(.backup("\(fixture.directory.path)/backup-passphrase"))
        }
        try await Self.requireRefused(fixture, "--from") {
            try await fixture.restore(copies: fixture.directory.path + "/nothing")
        }
    }

    @Test func `a server that runs is not restored, and can be rehearsed`() async throws {
        let fixture = try await Self.stopped()
        try await fixture.serving { _ in
            await #expect(throws: ServerStartError.self) { try await fixture.restore() }
            let report = try await fixture.restore(isRehearsal: true)
            #expect(report.lines.first?.contains("nothing was changed") == true)
            let inPlace = try await fixture.restore(.inPlace, isRehearsal: true)
            #expect(inPlace.lines.count > 3)
            let names = try FileManager.default.contentsOfDirectory(atPath: fixture.data)
            #expect(names.allSatisfy { !$0.hasPrefix("restor") && $0 != "rehearsing" })
        }
        #expect(try fixture.read { try $0.hold() } == nil)
    }

    @Test func `an old copy of a log stands in no longer one's way`() async throws {
        let fixture = try RestoreFixture()
        try await fixture.serving { server in
            _ = try await server.agent("web-1")
            try await fixture.makeBackup(server)
            try await server.requireIntactLog()
            // Copies of a restored server get another directory, so that this one stays.
            try fixture.copy(["audit"])
            _ = try await server.administration.banNode(.with { $0.name = "web-1" })
        }
        try await fixture.restore()
        try fixture.copy(["logs", "keys"])
        do {
            let report = try await fixture.restore(copies: fixture.copies)
            Issue.record("\(report)")
        } catch {
            #expect("\(error)".contains("there are no files of the last one"))
        }
        try FileManager.default.removeItem(atPath: "\(fixture.copies)/audit")
        try await fixture.restore(copies: fixture.copies)
        #expect(try fixture.read { try $0.node(named: "web-1") }?.ban != nil)
    }

    @Test func `what lies among the logs and is none of these ends no restore`() async throws {
        let fixture = try await Self.stopped()
        let logs = "\(fixture.data)/logs"
        let old = "\(logs)/\(String(repeating: "ab", count: Epoch.byteCount))"
        for directory in [old, "\(logs)/lost+found"] {
            try FileManager.default.createDirectory(
                atPath: directory,
                withIntermediateDirectories: true
            )
        }
        func write(_ text: String, to path: String) throws {
            try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        }
        try write("of another machine", to: "\(logs)/.DS_Store")
        try write("of no log", to: "\(logs)/lost+found/checkpoint")
        // A log from long before the backup, cut by a full disk.
        try write("example.org/audit/", to: "\(old)/succession")
        let origin = try fixture.read { try #require(try $0.identity()).firstLogOrigin }
        // But if it says that it is of the log which is sought, it may be what matters.
        try write("\(origin)\n12", to: "\(old)/checkpoint")
        try await Self.requireRefused(fixture, "not a signed note") { try await fixture.restore() }
        try write("", to: "\(old)/checkpoint")
        let report = try await fixture.restore()
        #expect(report.lines.contains { $0.contains("\(old)/checkpoint cannot be read") })
        #expect(report.lines.contains { $0.contains("\(old)/succession cannot be read") })
        #expect(try fixture.read { try $0.node(named: "web-1") }?.ban != nil)
    }

    @Test func `a checkpoint with nothing to be compared with is said or refused`() async throws {
        let fixture = try await Self.stopped()
        let note = "\(fixture.directory.path)/checkpoint"
        try FileManager.default.moveItem(atPath: "\(fixture.data)/audit/checkpoint", toPath: note)
        // More records than the backup has, and no files of them.
        try FileManager.default.removeItem(atPath: "\(fixture.data)/audit")
        try await Self.requireRefused(fixture, "look for a newer copy") {
            try await fixture.restore(checkpoints: [note])
        }
        // The key is lost too.
        try FileManager.default.removeItem(atPath: "\(fixture.data)/keys/audit.key")
        try await Self.requireRefused(fixture, "key is lost") {
            try await fixture.restore(.inPlace, checkpoints: [note])
        }
    }

    @Test(.enabled(if: geteuid() == 0)) func `another user's directory is left alone`()
        async throws
    {
        let fixture = try await Self.stopped()
        try FileManager.default.removeItem(atPath: "\(fixture.data)/lock")
        let changed = unsafe chown(fixture.data, 4711, 4711)
        #expect(changed == 0)
        try await Self.requireRefused(fixture, "uid 4711") { try await fixture.restore() }
        #expect(!FileManager.default.fileExists(atPath: "\(fixture.data)/lock"))
        // Nor is one that was made ready finished by somebody else.
        let ready = "\(fixture.data)/restoring/ready"
        try FileManager.default.createDirectory(
            atPath: "\(fixture.data)/restoring",
            withIntermediateDirectories: false
        )
        let plan = "signet-restore/v1\n\(String(repeating: "ab", count: 16))\nkept\n"
        try Data(plan.utf8).write(to: URL(fileURLWithPath: ready))
        await #expect(throws: RestoreError.self) { try await fixture.restore() }
        #expect(FileManager.default.fileExists(atPath: ready))
    }

    @Test func `nothing is finished that was not begun`() async throws {
        let fixture = try await Self.stopped()
        try await Self.requireRefused(fixture, "no restore to finish") {
            try await fixture.restore(.unfinished)
        }
    }

    @Test func `histories that went apart are not merged`() async throws {
        let fixture = try await Self.stopped()
        let snapshot = "\(fixture.directory.path)/snapshot"
        try FileManager.default.copyItem(atPath: fixture.data, toPath: snapshot)
        try await fixture.serving { server in _ = try await server.register("first") }
        try fixture.copy()
        // The machine is set back, and runs.
        try FileManager.default.removeItem(atPath: fixture.data)
        try FileManager.default.copyItem(atPath: snapshot, toPath: fixture.data)
        try await fixture.serving { server in _ = try await server.register("second") }
        try await Self.requireRefused(fixture, "logDiffers") {
            try await fixture.restore(.inPlace, copies: fixture.copies)
        }
        // Each of the two can be restored.
        try await fixture.restore(copies: fixture.copies)
        #expect(try fixture.read { try $0.heldDocuments().map(\.key.name) } == ["first"])
        let epoch = try fixture.read { try #require(try $0.identity()).epoch.hex }
        let replaced = try files(below: "\(fixture.data)/replaced-\(epoch)")
        #expect(replaced.contains("audit/checkpoint"))
    }
}
