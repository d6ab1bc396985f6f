// SPDX-License-Identifier: Apache-2.0

import Datastore
import Foundation
import NodeSync
import SPIFFE
import TestSeeds
import Testing

#if canImport(Glibc)
import Glibc
#endif

@Suite(.timeLimit(.minutes(1))) struct DamageTests {
    let directory: TemporaryStore

    init() throws {
        directory = try TemporaryStore()
    }

    @Test func `a damaged page is found by the check and by reading it`() throws {
        try fill(directory.openEstablished(), entries: 400)
        var file = try contents()
        for page in 20..<(file.count / 4096) {
            file.replaceSubrange(
                page * 4096..<(page * 4096 + 200),
                with: repeatElement(0xEE, count: 200)
            )
        }
        try file.write(to: URL(fileURLWithPath: directory.path))
        #expect(isCorrupt { _ = try directory.open { $0.checksIntegrity = true } })
        #expect(
            isCorrupt {
                let store = try directory.open()
                _ = try store.readNow { try $0.entries(limit: 1000) }
            }
        )
    }

    @Test func `nothing is written any more once a read has met damage`() async throws {
        try fill(directory.openEstablished(), entries: 400)
        var file = try contents()
        let pages = file.count / 4096
        for page in (pages * 3 / 4)..<pages {
            file.replaceSubrange(
                page * 4096..<(page * 4096 + 200),
                with: repeatElement(0xEE, count: 200)
            )
        }
        try file.write(to: URL(fileURLWithPath: directory.path))
        let store = try directory.open()
        try await store.probeWritable()
        #expect(isCorrupt { _ = try store.readNow { try $0.entries(limit: 1000) } })
        do {
            try await store.probeWritable()
            Issue.record("it was written on")
        } catch {
            #expect(error.endsWriting)
        }
        #expect(try store.readNow { try $0.revision() }.number == 1)
    }

    @Test(arguments: [1, 2, 3, 4, 5, 6, 7, 8] as [UInt64])
    func `whatever bytes are changed, reading everything ends in an answer or an error`(
        seed: UInt64
    ) throws {
        try fill(directory.openEstablished(), entries: 40)
        let intact = try contents()
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<25 {
            var file = intact
            for _ in 0..<Int.random(in: 1...30, using: &generator) {
                file[Int.random(in: 0..<file.count, using: &generator)] =
                    UInt8.random(in: 0...255, using: &generator)
            }
            try file.write(to: URL(fileURLWithPath: directory.path))
            do {
                let store = try directory.open()
                readEverything(store)
                try? store.close()
            } catch {
                #expect(error is DatastoreError)
            }
            for suffix in ["-wal", "-shm"] {
                try? FileManager.default.removeItem(atPath: directory.path + suffix)
            }
        }
    }

    @Test func `what was answered survives a kill, what was refused is absent`() async throws {
        try directory.openEstablished().close()
        let path = directory.path
        let acknowledged = directory.directory + "/acknowledged"
        await #expect(processExitsWith: .signal(SIGKILL)) {
            [path = path as String, acknowledged = acknowledged as String] in
            let store = try ServerStore(path: path)
            try #require(FileManager.default.createFile(atPath: acknowledged, contents: nil))
            let log = try #require(FileHandle(forWritingAtPath: acknowledged))
            await withTaskGroup(of: Void.self) { group in
                for writer in 0..<32 {
                    group.addTask {
                        for number in 0..<1000 {
                            let index = try? await store.write { transaction in
                                let index = try transaction.append("\(writer)/\(number)")
                                if number % 3 == 2 { throw Refusal(number: number) }
                                return index
                            }
                            guard let index else { continue }
                            // Each acknowledgement is one write call, so that none is torn.
                            log.write(Data("\(index) \(writer)/\(number)\n".utf8))
                            if index == 500 { kill(getpid(), SIGKILL) }
                        }
                    }
                }
            }
        }
        let lines = try String(contentsOfFile: acknowledged, encoding: .utf8).split(separator: "\n")
        #expect(lines.count > 100)
        let store = try directory.open { $0.checksIntegrity = true }
        let leaves = try store.readNow { try $0.leaves(from: 0, limit: 100_000) }
        #expect(leaves.map(\.index) == Array(0..<UInt64(leaves.count)))
        #expect(try store.readNow { try $0.auditSize() } == UInt64(leaves.count))
        for line in lines {
            let parts = line.split(separator: " ")
            let index = try #require(Int(parts[0]))
            try #require(index < leaves.count, "leaf \(index) was answered and is gone")
            #expect(String(decoding: leaves[index].bytes, as: UTF8.self) == String(parts[1]))
        }
        for leaf in leaves {
            let number = String(decoding: leaf.bytes, as: UTF8.self).split(separator: "/")[1]
            #expect(try #require(Int(number)) % 3 != 2)
        }
    }

    @Test func `after a failing disk nothing more is written, and reopening is sound`()
        async throws
    {
        try directory.openEstablished().close()
        let path = directory.path
        await #expect(processExitsWith: .success) {
            [path = path as String] in
            let store = try ServerStore(path: path)
            // Writes beyond the limit fail with EFBIG, which SQLite reports as an I/O error.
            signal(SIGXFSZ, SIG_IGN)
            var limit = rlimit(rlim_cur: 400_000, rlim_max: 10_000_000)
            let resource = __rlimit_resource_t(UInt32(RLIMIT_FSIZE.rawValue))
            try #require(unsafe setrlimit(resource, &limit) == 0)
            let text = String(repeating: "x", count: 20_000)
            var failure: DatastoreError?
            while failure == nil {
                do {
                    _ = try await store.write { try $0.append(text) }
                } catch {
                    failure = try #require(error as? DatastoreError)
                }
            }
            guard case .inputOutput(let detail) = failure else { exit(EXIT_FAILURE) }
            limit.rlim_cur = 10_000_000
            try #require(unsafe setrlimit(resource, &limit) == 0)
            await #expect(throws: DatastoreError.inputOutput(detail)) {
                try await store.probeWritable()
            }
        }
        let store = try directory.open { $0.checksIntegrity = true }
        let size = try store.readNow { try $0.auditSize() }
        #expect(try store.readNow { try $0.leaves(from: 0, limit: 1000) }.count == Int(size))
        #expect(try await store.write { try $0.append("next") } == size)
    }

    private func contents() throws -> Data {
        try Data(contentsOf: URL(fileURLWithPath: directory.path))
    }

    private func isCorrupt(_ body: () throws -> Void) -> Bool {
        do {
            try body()
            return false
        } catch DatastoreError.corrupt {
            return true
        } catch {
            return false
        }
    }

    /// One row or more in every table.
    private func fill(_ store: ServerStore, entries: Int) throws {
        try store.writeNow { transaction in
            let number = try transaction.advanceRevision().number
            for index in 0..<entries {
                try transaction.put(
                    .sample("e\(index)", revision: number, node: ["role:r\(index % 7)"])
                )
                try transaction.append(
                    "\(index)",
                    .sample(spiffeIDs: ["spiffe://example.org/\(index)"], serials: ["0\(index)"])
                )
            }
            try transaction.put(NodeRecord.sample("web-1"))
            try transaction.put(JoinTokenRecord.sample(1))
            try transaction.put(AuthorityRecord.sample("a1"))
            try transaction.record([.sample(1)])
            let draft = DocumentDraft(
                key: DocumentKey(group: "core.signet", kind: "Role", namespace: "", name: "r"),
                canonicalJSON: Array("{}".utf8),
                labels: ["owner": "web"],
                actor: "uid:0@host",
                reason: ""
            )
            try transaction.put(draft, newUID: "u1", expecting: .any, number: number, now: noon)
        }
        try store.close()
    }

    private func readEverything(_ store: ServerStore) {
        let reads: [(ReadTransaction) throws -> Void] = [
            { _ = try $0.identity() }, { _ = try $0.revision() },
            { _ = try $0.clockHighWater() }, { _ = try $0.changes(after: 0, limit: 1000) },
            { _ = try $0.entries(limit: 1000) },
            { _ = try $0.entries(node: Set("role:r1", "role:r2")) },
            { _ = try $0.entries(spiffeIDPrefix: "spiffe://", limit: 1000) },
            { _ = try $0.nodes(limit: 10) }, { _ = try $0.joinTokens(limit: 10) },
            { _ = try $0.authorities() }, { _ = try $0.intent(serial: [1]) },
            { _ = try $0.documents(limit: 10) },
            {
                _ = try $0.documentKeys(
                    label: "owner",
                    value: "web",
                    namespaces: ["default"],
                    limit: 10
                )
            },
            { _ = try $0.documentKey(inNamespace: "default") },
            { _ = try $0.entryCount() },
            { _ = try $0.nodeCount() },
            { _ = try $0.scopeChangedAt(ofNode: "web-1") },
            { _ = try $0.leaves(from: 0, limit: 1000) }, { _ = try $0.auditFrontier() },
            { _ = try $0.queryLeaves(AuditLeafFilter(), limit: 10, newestFirst: true) },
        ]
        for read in reads {
            do {
                try store.readNow(read)
            } catch {
                #expect(error is DatastoreError || error is EpochError, "\(error)")
            }
        }
    }
}
