// SPDX-License-Identifier: Apache-2.0

import AuditLog
import CAServer
import ControlAPI
import ControlAPIProtos
import Datastore
import Foundation
import Issuance
import Logging
import NodeAttestation
import NodeSync
import SPIFFE
import SwiftProtobuf
import Testing

@Suite(.timeLimit(.minutes(1)))
struct RestartTests {
    @Test func `a restart keeps documents, agents, tokens, authority, log and epoch`() async throws
    {
        let directory = try TestDirectory()
        let (agent, unused, entry, revision, bundle, checkpoint) = try await withServer(
            in: directory
        ) { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let unused = try await server.token("web-2").secret
            let entry = try await server.register("web")
            try await server.requireIntactLog()
            return (
                agent, unused, entry,
                try await server.administration.getHealth(.init()).revision,
                try server.core.trust.bundle,
                try #require(server.core.audit.checkpoint).checkpoint
            )
        }
        try await withServer(in: directory) { server in
            let health = try await server.administration.getHealth(.init())
            #expect(health.revision == revision)
            #expect(try server.core.trust.bundle == bundle)
            let again = try await server.sign(
                [try signingRequest(entry: entry, spiffeID: "spiffe://example.org/web")],
                as: agent
            )
            #expect(again.map(\.signed.certificateChain.count) == [1])
            _ = try await server.attest("web-2", secret: unused)
            let stored = try await server.documents.get(.init())
            #expect(stored.documents.map(\.uid) == [entry])
            let (log, records) = try await server.requireIntactLog()
            #expect(try #require(log).checkpoint.checkpoint.size > checkpoint.size)
            #expect(records.count { $0.contains("\"serverStarted\"") } == 2)
        }
    }

    @Test func `a stopped server leaves no file open to others`() async throws {
        let directory = try TestDirectory()
        try await withServer(in: directory) { server in
            _ = try await server.agent("web-1")
            try await server.requireIntactLog()
        }
        let data = "\(directory.path)/data"
        for file in try files(below: data) {
            let attributes = try FileManager.default.attributesOfItem(atPath: "\(data)/\(file)")
            let mode = try #require(attributes[.posixPermissions] as? Int)
            #expect(mode & 0o077 == 0, "\(file) has mode \(String(mode, radix: 8))")
        }
        #expect(!FileManager.default.fileExists(atPath: "\(directory.path)/admin.sock"))
    }

    @Test func `a second server does not use the same data`() async throws {
        let directory = try TestDirectory()
        try await withServer(in: directory) { server in
            let error = await refusal {
                try await withServer(in: directory) {
                    $0.adminSocket += "2"
                } _: { _ in
                }
            }
            #expect(error?.message.contains("lock") == true, "\(error?.message ?? "started")")
            #expect(error?.message.contains("end the other server") == true)
            try await server.register("web")
        }
    }

    @Test func `a server whose port is taken names it before anything is opened`() async throws {
        let (first, second) = (try TestDirectory(), try TestDirectory())
        try await withServer(in: first) { server in
            let error = await refusal {
                try await withServer(in: second) {
                    $0.listen = server.address
                } _: { _ in
                }
            }
            let message = error?.message ?? "started"
            #expect(
                message.contains("\(server.address) is in use by another process"),
                "\(message)"
            )
            #expect(!message.contains("transport"), "\(message)")
            // Neither a database nor a key.
            let left = try files(below: "\(second.path)/data")
            #expect(left == ["lock"])
        }
    }

    @Test func `a log that a restore has named keeps its name`() async throws {
        let directory = try TestDirectory()
        let data = "\(directory.path)/data"
        try FileManager.default.createDirectory(
            atPath: data,
            withIntermediateDirectories: false,
            attributes: [.posixPermissions: 0o700]
        )
        let identity = StoreIdentity(
            trustDomain: try TrustDomain("example.org"),
            serverID: "0123abcd",
            epoch: try Epoch(bytes: [UInt8](repeating: 7, count: 16)),
            createdAt: Date()
        )
        let store = try ServerStore(path: "\(data)/server.sqlite")
        try store.writeNow { transaction in
            try transaction.establish(identity)
            try transaction.setAuditOrigin(identity.restoredLogOrigin)
        }
        try store.close()
        for _ in 0..<2 {
            try await withServer(in: directory) { server in
                try await server.requireIntactLog()
                #expect(server.core.audit.key.name == identity.restoredLogOrigin)
                let checkpoint = try #require(server.core.audit.checkpoint).checkpoint
                #expect(checkpoint.origin == identity.restoredLogOrigin)
            }
        }
    }

    @Test func `data of another trust domain is refused`() async throws {
        let directory = try TestDirectory()
        try await withServer(in: directory) { _ in }
        var configuration = ServerConfiguration(
            trustDomain: try TrustDomain("other.org"),
            dataDirectory: "\(directory.path)/data"
        )
        configuration.keyStorage = .plain
        #expect(throws: ServerStartError.self) {
            _ = try Server(configuration, clock: ShiftedClock(), logger: .init(label: "test"))
        }
    }

    @Test func `keys in memory go with the server, and the log tells of the new authority`()
        async throws
    {
        let directory = try TestDirectory()
        let first = try await withServer(in: directory) {
            $0.keyStorage = .memory
        } _: { server in
            #expect(try files(below: "\(directory.path)/data/keys") == ["audit.key"])
            return try server.core.trust.bundle
        }
        try await withServer(in: directory) {
            $0.keyStorage = .memory
        } _: { server in
            let second = try server.core.trust.bundle
            // The old authority stays trusted while its SVIDs live, and signs no more.
            #expect(second.x509Authorities.count == 2)
            #expect(Set(second.x509Authorities).isSuperset(of: first.x509Authorities))
            #expect(second.sequenceNumber > first.sequenceNumber)
            _ = try await server.agent("web-1")
        }
    }

    @Test func `a server whose keys are encrypted starts with its passphrase and no other`()
        async throws
    {
        let directory = try TestDirectory()
        func passphrase(_ text: String) throws -> SecretSource {
            let path = "\(directory.path)/passphrase"
            try Data(text.utf8).write(to: URL(filePath: path))
            try FileManager.default.setAttributes(
                [.posixPermissions: 0o600],
                ofItemAtPath: path
            )
            return .file(path)
        }
        func serve(_ passphrase: SecretSource) async throws -> String {
            try await withServer(in: directory) {
                $0.keyStorage = .encrypted
                $0.keyPassphrase = passphrase
                $0.keyFileCost = .least
            } _: { server in
                _ = try await server.agent("web-\(UInt32.random(in: 0 ... .max))")
                return try server.core.trust.issuer.authority.id
            }
        }
        let first = try await serve(passphrase("one"))
        let wrong = await refusal { try await serve(passphrase("two")) }
        #expect(wrong?.message.contains("passphrase is wrong") == true)
        let plain = await refusal { try await withServer(in: directory) { _ in } }
        #expect(plain?.message.contains("is encrypted") == true)
        #expect(try await serve(passphrase("one")) == first)
    }

    @Test(arguments: [AuthorityKeyType.p384, .rsa2048])
    func `authorities of another type serve agents after those of the first`(
        type: AuthorityKeyType
    ) async throws {
        let directory = try TestDirectory()
        try await withServer(in: directory) {
            $0.keyStorage = .memory
        } _: { server in
            _ = try await server.agent("web-1")
        }
        try await withServer(in: directory) {
            $0.keyStorage = .memory
            $0.authorityKeyType = type
        } _: { server in
            _ = try await server.agent("web-2")
            #expect(try server.core.trust.bundle.x509Authorities.count == 2)
            let (_, records) = try await server.requireIntactLog()
            #expect(records.contains { $0.contains("\"keyType\":\"\(type.rawValue)\"") })
        }
    }

    @Test(arguments: ["keys/audit.key", "keys/authority-"])
    func `a key that others may read is not used`(_ prefix: String) async throws {
        let directory = try TestDirectory()
        try await withServer(in: directory) { _ in }
        let data = "\(directory.path)/data"
        let key = try #require(try files(below: data).first { $0.hasPrefix(prefix) })
        try FileManager.default.setAttributes(
            [.posixPermissions: 0o644],
            ofItemAtPath: "\(data)/\(key)"
        )
        let error = await refusal { try await withServer(in: directory) { _ in } }
        #expect(error?.message.contains("chmod 600") == true, "\(error?.message ?? "started")")
    }

    @Test func `without the log's key the server does not start`() async throws {
        let directory = try TestDirectory()
        try await withServer(in: directory) { _ in }
        try FileManager.default.removeItem(atPath: "\(directory.path)/data/keys/audit.key")
        let error = await refusal { try await withServer(in: directory) { _ in } }
        #expect(error?.message.contains("audit.key") == true, "\(error?.message ?? "started")")
    }
}
