// SPDX-License-Identifier: Apache-2.0

import AuditLog
import DurableFiles
import Foundation
import NodeAgent
import NodeSync
import SPIFFE
import TestPKI
import Testing

/// What is on the agent's disk is used whole or not at all.
@Suite struct AgentFileTests {
    private func withDirectory(_ body: (AgentDirectory) async throws -> Void) async throws {
        let path = "/tmp/signet-agent-\(UInt32.random(in: 0 ... .max))"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try await body(AgentDirectory(path))
    }

    private func write(_ stored: StoredAgent, to directory: AgentDirectory) throws {
        try directory.write(stored.key.pkcs8, to: .key)
        try directory.write(stored.identity.encoded(), to: .identity)
        if let sync = stored.sync { try directory.write(sync.encoded, to: .sync) }
        if let note = stored.memory.latest?.note { try directory.write(note, to: .checkpoint) }
    }

    private func sync(_ world: AgentWorld) throws -> PersistedSync {
        PersistedSync(
            revision: world.revision(7),
            resources: [
                ResourceKey(.entry, "entry-a"): [1, 2, 3],
                ResourceKey(.bundle, "example.org"): [],
            ],
            refused: [ResourceKey(.document, "d")],
            retained: [ResourceKey(.revocation, "r")],
            capabilities: ["proxy", "revocationLists"],
            leftEpochs: [try Epoch(bytes: Array(repeating: 9, count: Epoch.byteCount))]
        )
    }

    @Test func `what was written is read back`() async throws {
        let world = try AgentWorld()
        var stored = try world.stored(sync: try sync(world))
        let root = MerkleHash(leaf: [1])
        let former = try NoteVerifierKey(
            name: "example.org/audit/before",
            publicKey: [UInt8](repeating: 1, count: 32)
        )
        stored.identity.formerAuditKeys = [former.description]
        stored.memory = try CheckpointMemory(
            key: try world.noteKey,
            note: nil,
            formerKeys: [former]
        )
        _ = stored.memory.received(note: try world.note(size: 1, root: root), proof: nil)
        let written = stored
        try await withDirectory { directory in
            try write(written, to: directory)
            let read = try #require(
                try await StoredAgent.read(from: directory, now: world.now)
            )
            #expect(read.identity == written.identity)
            #expect(read.sync == written.sync)
            #expect(read.memory == written.memory)
            #expect(read.key.pkcs8 == written.key.pkcs8)
            #expect(read.auditAlarm == nil)
        }
    }

    @Test func `a log that is left with a join token is known when its machine comes back`()
        throws
    {
        let (former, present) = (try AgentWorld(), try AgentWorld())
        let (formerKey, presentKey) = (try former.noteKey, try present.noteKey)
        let joined = try present.stored().continuing(former.stored())
        #expect(joined.identity.auditKey == presentKey.description)
        #expect(joined.identity.formerAuditKeys == [formerKey.description])
        let note = try former.note(size: 1, root: MerkleHash(leaf: [1]))
        var memory = joined.memory
        let action = memory.received(note: note, proof: nil)
        #expect(action == .formerLog(formerKey))
        // Back to it, it is none that was left.
        let back = try former.stored().continuing(joined)
        #expect(back.identity.formerAuditKeys == [presentKey.description])
        #expect(back.memory.formerKeys == [presentKey])
        // The same log goes on.
        let again = try present.stored().continuing(joined)
        #expect(again.memory == joined.memory)
        #expect(again.identity.formerAuditKeys == joined.identity.formerAuditKeys)
    }

    @Test func `the identity keeps authorities that another one certified`() throws {
        let world = try AgentWorld()
        var identity = try world.stored().identity
        let plain = try identity.encoded()
        #expect(!String(decoding: plain, as: UTF8.self).contains("intermediates"))
        #expect(StoredIdentity(encoded: plain)?.bundle.x509Intermediates == [])
        func keeps(_ count: Int) throws -> Bool {
            identity.bundle = TrustBundle(
                trustDomain: identity.trustDomain,
                x509Authorities: identity.bundle.x509Authorities,
                x509Intermediates: Array(repeating: [0x30, 0x00], count: count),
                sequenceNumber: identity.bundle.sequenceNumber,
                refreshHintSeconds: identity.bundle.refreshHintSeconds
            )
            return StoredIdentity(encoded: try identity.encoded()) == identity
        }
        #expect(try keeps(1))
        #expect(try keeps(TrustBundle.authoritiesMax))
        #expect(try !keeps(TrustBundle.authoritiesMax + 1))
    }

    @Test(arguments: AgentFile.allCases)
    func `a file cut short anywhere is refused`(file: AgentFile) {
        let whole = file.encoded(Array("some content\nof two lines".utf8))
        for count in whole.indices {
            #expect(throws: AgentFileError.self, "cut to \(count) bytes") {
                try file.decoded(Array(whole[..<count]), path: "f")
            }
        }
    }

    @Test(arguments: AgentFile.allCases)
    func `a file with any byte changed is refused`(file: AgentFile) {
        let whole = file.encoded(Array("some content\nof two lines".utf8))
        for index in whole.indices {
            for bit in 0..<8 {
                var changed = whole
                changed[index] ^= 1 << bit
                #expect(throws: AgentFileError.self, "byte \(index), bit \(bit)") {
                    try file.decoded(changed, path: "f")
                }
            }
        }
    }

    @Test func `a file in place of another is refused`() {
        let content: [UInt8] = [1, 2, 3]
        #expect(throws: AgentFileError.self) {
            try AgentFile.identity.decoded(AgentFile.key.encoded(content), path: "f")
        }
        #expect(throws: AgentFileError.self) {
            try AgentFile.key.decoded(AgentFile.key.encoded(content) + [0], path: "f")
        }
    }

    @Test func `synchronised state is read back exactly or not at all`() throws {
        let state = try sync(try AgentWorld())
        let bytes = state.encoded
        #expect(PersistedSync(encoded: bytes) == state)
        #expect(PersistedSync(encoded: bytes + [0]) == nil)
        #expect(PersistedSync(encoded: [4] + bytes.dropFirst()) == nil)
        // As releases wrote it that did not say which epochs were left, or with what it was told.
        let epochs = 4 + Epoch.byteCount
        let former = try #require(PersistedSync(encoded: [2] + bytes.dropFirst().dropLast(epochs)))
        #expect(former.capabilities == state.capabilities && former.leftEpochs.isEmpty)
        let words = 4 + 2 + "proxy".utf8.count + 2 + "revocationLists".utf8.count
        let old = try #require(
            PersistedSync(encoded: [1] + bytes.dropFirst().dropLast(epochs + words))
        )
        #expect(old.resources == state.resources && old.retained == state.retained)
        #expect(old.capabilities == [])
        for count in bytes.indices {
            #expect(PersistedSync(encoded: Array(bytes[..<count])) == nil, "cut to \(count)")
        }
    }

    @Test func `a directory without identity is an agent that has not joined`() async throws {
        let world = try AgentWorld()
        try await withDirectory { directory in
            #expect(try await StoredAgent.read(from: directory, now: world.now) == nil)
            try directory.write(NodeKey().pkcs8, to: .key)
            #expect(try await StoredAgent.read(from: directory, now: world.now) == nil)
        }
    }

    @Test func `a key that is not the certificate's is refused by name`() async throws {
        let world = try AgentWorld()
        try await withDirectory { directory in
            try write(world.stored(), to: directory)
            try directory.write(NodeKey().pkcs8, to: .key)
            let error = await #expect(throws: AgentFileError.self) {
                try await StoredAgent.read(from: directory, now: world.now)
            }
            #expect(error?.path == "\(directory.path)/identity")
        }
    }

    @Test func `a crash before the new key is in its place loses neither the old nor the new one`()
        async throws
    {
        let world = try AgentWorld()
        let (old, new) = (try world.stored(), try world.stored())
        let token = [UInt8](repeating: 7, count: 32)
        try await withDirectory { directory in
            try write(old, to: directory)
            let key = try JoiningKey.key(for: token, in: directory) { new.key }
            #expect(key.spkiSHA256 == new.key.spkiSHA256)
            // The same token has the same key, another one another.
            #expect(try JoiningKey.key(for: token, in: directory).spkiSHA256 == key.spkiSHA256)
            // Before the answer the agent is who it was.
            var read = try #require(try await StoredAgent.read(from: directory, now: world.now))
            #expect(read.key.spkiSHA256 == old.key.spkiSHA256)
            // The answer was written, its key is still beside it.
            try directory.write(new.identity.encoded(), to: .identity)
            for _ in 0..<2 {
                read = try #require(try await StoredAgent.read(from: directory, now: world.now))
                #expect(read.key.spkiSHA256 == new.key.spkiSHA256)
                #expect(read.identity == new.identity)
                #expect(try directory.read(.joiningKey) == nil)
            }
            let other = try JoiningKey.key(for: [UInt8](repeating: 8, count: 32), in: directory)
            #expect(other.spkiSHA256 != key.spkiSHA256)
            #expect(try JoiningKey.key(for: token, in: directory).spkiSHA256 != key.spkiSHA256)
        }
    }

    @Test func `a damaged joining-key keeps no whole identity from starting`() async throws {
        let world = try AgentWorld()
        let stored = try world.stored()
        try await withDirectory { directory in
            try write(stored, to: directory)
            _ = try JoiningKey.key(for: [UInt8](repeating: 7, count: 32), in: directory)
            try damage(.joiningKey, in: directory)
            let read = try #require(try await StoredAgent.read(from: directory, now: world.now))
            #expect(read.key.spkiSHA256 == stored.key.spkiSHA256)
            #expect(read.identity == stored.identity)
            // It is left for somebody to look at, and joins nobody.
            let error = #expect(throws: AgentFileError.self) {
                try JoiningKey.key(for: [UInt8](repeating: 7, count: 32), in: directory)
            }
            #expect(error?.path == directory.path(of: .joiningKey))
            #expect(error?.remedy.contains("remove the file") == true)
        }
    }

    @Test(arguments: [true, false])
    func `a damaged joining-key that the identity may need is refused by name`(
        hasOldKey: Bool
    ) async throws {
        let world = try AgentWorld()
        let (old, new) = (try world.stored(), try world.stored())
        try await withDirectory { directory in
            // The answer was written, and the key not yet moved to its place.
            _ = try JoiningKey.key(for: [UInt8](repeating: 7, count: 32), in: directory) { new.key }
            if hasOldKey { try directory.write(old.key.pkcs8, to: .key) }
            try directory.write(new.identity.encoded(), to: .identity)
            try damage(.joiningKey, in: directory)
            let error = await #expect(throws: AgentFileError.self) {
                try await StoredAgent.read(from: directory, now: world.now)
            }
            #expect(error?.path == directory.path(of: .joiningKey))
        }
    }

    private func damage(_ file: AgentFile, in directory: AgentDirectory) throws {
        let url = URL(fileURLWithPath: directory.path(of: file))
        var bytes = try Data(contentsOf: url)
        bytes[bytes.count - 1] ^= 1
        // In place, so that it stays readable by its owner alone.
        let handle = try FileHandle(forWritingTo: url)
        try handle.write(contentsOf: bytes)
        try handle.close()
    }

    @Test func `a certificate that the bundle does not verify counts as expired`() async throws {
        let world = try AgentWorld()
        var stored = try world.stored()
        #expect(stored.identity.notAfter > world.now)
        stored.identity.bundle = try AgentWorld().authority.bundle
        let mixed = stored
        try await withDirectory { directory in
            try write(mixed, to: directory)
            // With a clock that is behind its authority may be gone: it is readmitted.
            let read = try #require(try await StoredAgent.read(from: directory, now: world.now))
            #expect(read.identity.notAfter < world.now)
            #expect(!read.isLapsed(at: world.now))
            let later = world.now.addingTimeInterval(86_400)
            #expect(try await StoredAgent.read(from: directory, now: later) != nil)
        }
    }

    @Test func `a checkpoint that the audit key did not sign is refused`() async throws {
        let world = try AgentWorld()
        try await withDirectory { directory in
            try write(world.stored(), to: directory)
            let foreign = try AgentWorld().note(size: 1, root: MerkleHash(leaf: [1]))
            try directory.write(foreign, to: .checkpoint)
            await #expect(throws: AgentFileError.self) {
                try await StoredAgent.read(from: directory, now: world.now)
            }
        }
    }

    @Test func `a file that others may read is refused`() async throws {
        let world = try AgentWorld()
        try await withDirectory { directory in
            try write(world.stored(), to: directory)
            try FileManager.default.setAttributes(
                [.posixPermissions: 0o644],
                ofItemAtPath: directory.path(of: .key)
            )
            let error = await #expect(throws: AgentFileError.self) {
                try await StoredAgent.read(from: directory, now: world.now)
            }
            #expect(error?.description.contains("chmod 600") == true)
        }
    }

    @Test(arguments: [0o770, 0o707, 0o1777])
    func `a directory in which others may replace files is refused`(mode: Int) throws {
        let path = "/tmp/signet-agent-\(UInt32.random(in: 0 ... .max))"
        try FileManager.default.createDirectory(
            atPath: path,
            withIntermediateDirectories: false
        )
        defer { try? FileManager.default.removeItem(atPath: path) }
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
        let error = #expect(throws: AgentFileError.self) { try AgentDirectory(path) }
        #expect(error?.description.contains("chmod go-w") == true)
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: path)
        _ = try AgentDirectory(path)
    }

    @Test func `what a killed agent left half written is removed, and nothing else`() throws {
        let path = "/tmp/signet-agent-\(UInt32.random(in: 0 ... .max))"
        try FileManager.default.createDirectory(
            atPath: path,
            withIntermediateDirectories: false,
            attributes: [.posixPermissions: 0o700]
        )
        defer { try? FileManager.default.removeItem(atPath: path) }
        let kept = ["key", "mine.new", "key.1.x.new", "key.1.2.old"]
        for name in kept + ["key.12.4294967295.new", "sync.1.2.new"] {
            try Data([1]).write(to: URL(fileURLWithPath: "\(path)/\(name)"))
        }
        _ = try AgentDirectory(path)
        let left = try FileManager.default.contentsOfDirectory(atPath: path)
        #expect(Set(left) == Set(kept + ["lock"]))
    }

    @Test func `two agents never use one directory`() async throws {
        try await withDirectory { directory in
            #expect(throws: AgentFileError.self) { try AgentDirectory(directory.path) }
        }
    }
}
