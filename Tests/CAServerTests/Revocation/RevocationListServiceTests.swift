// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import ControlAPIProtos
import Datastore
import Foundation
import Issuance
import NodeSync
import SPIFFE
import SwiftProtobuf
import Telemetry
import Testing

extension TestServer {
    /// The list of an authority as it is kept, read and verified with the authority's certificate.
    fileprivate func list(of id: String) async throws -> CertificateRevocationList? {
        let (record, authority) = try await core.read { transaction in
            (
                try transaction.revocationList(of: id),
                try transaction.authority(id: id)
            )
        }
        guard let record, let authority else { return nil }
        let list = try CertificateRevocationList(der: record.der)
        try list.verify(signedBy: authority.certificateDER)
        #expect(list.thisUpdate == record.thisUpdate && list.nextUpdate == record.nextUpdate)
        return list
    }

    fileprivate func active() throws -> String { try core.trust.issuer.authority.id }
}

/// What a server signs lists for, and when (docs/decisions/0018-certificate-revocation-lists.md).
@Suite(.timeLimit(.minutes(2)))
struct RevocationListServiceTests {
    private static let web = "spiffe://example.org/web"

    private func signed(_ server: TestServer) async throws -> (TestAgent, LeafCertificate, String) {
        let agent = try await server.agent("web-1", selectors: ["role:web"])
        let entry = try await server.register("web")
        let request = try signingRequest(entry: entry, spiffeID: Self.web)
        return (agent, try await server.leaf(request, as: agent), entry)
    }

    @Test func `an authority is published together with a list on which nothing is`() async throws {
        try await withServer { server in
            // Else the old one's last list follows soon.
            _ = try await signed(server)
            let (old, new) = try await server.rotate()
            for id in [old, new] {
                let list = try #require(try await server.list(of: id))
                #expect(list.count == 0)
            }
            let sequence = try await server.core.read { try $0.bundleSequenceNumber() }
            let changes = try await server.core.read {
                try $0.changes(after: sequence - 1, limit: 9)
            }
            guard case .delta(let rows) = changes else {
                Issue.record("\(changes)")
                return
            }
            let keys = rows.filter { $0.number == sequence }.map(\.key)
            #expect(Set(keys.map(\.type)) == [.bundle, .revocationList])
            #expect(try await server.records("revocationListSigned").count == 2)
        }
    }

    @Test func `a revoked certificate is on its authority's list two seconds later`() async throws {
        let clock = ShiftedClock()
        try await withServer(clock: clock) { server in
            let (agent, leaf, entry) = try await signed(server)
            let id = try server.active()
            let before = try #require(try await server.list(of: id))
            try await server.revokeCertificate(leaf.serial)
            try await eventually("a round has begun and signed") {
                clock.pass(.milliseconds(100))
                return try await server.list(of: id)?.contains(leaf.serial) ?? false
            }
            let list = try #require(try await server.list(of: id))
            #expect(list.count == 1)
            #expect(list.thisUpdate > before.thisUpdate)
            let records = try await server.records("revocationListSigned")
            #expect(records.count == 2)
            #expect(records[0].contains("\"certificates\":1"))
            #expect(records[0].contains("\"leftOut\":0"))
            // The next one has half a minute to wait, whatever it is that has changed.
            let request = try signingRequest(entry: entry, spiffeID: Self.web)
            let other = try await server.leaf(request, as: agent)
            try await server.revoke(Self.web)
            clock.pass(.seconds(20))
            #expect(try await server.list(of: id)?.contains(other.serial) == false)
            try await eventually("it is signed all the same") {
                clock.pass(.seconds(1))
                return try await server.list(of: id)?.contains(other.serial) ?? false
            }
            #expect(try await server.list(of: id)?.contains(leaf.serial) == true)
        }
    }

    @Test func `an authority that has retired lists what it signed, until it is revoked`()
        async throws
    {
        let clock = ShiftedClock()
        try await withServer(clock: clock) { server in
            let (_, leaf, _) = try await signed(server)
            let (old, new) = try await server.rotate()
            _ = try await server.taint(old)
            try await server.revokeCertificate(leaf.serial)
            try await eventually("it is on the list of the authority that signed it") {
                clock.pass(.milliseconds(100))
                return try await server.list(of: old)?.contains(leaf.serial) ?? false
            }
            #expect(try await server.list(of: new)?.count == 0)
            let before = try await server.core.read { try $0.revision().number }
            _ = try await server.revokeAuthority(old)
            #expect(try await server.list(of: old) == nil)
            let changes = try await server.core.read { try $0.changes(after: before, limit: 9) }
            guard case .delta(let rows) = changes else {
                Issue.record("\(changes)")
                return
            }
            let key = ResourceKey(.revocationList, old)
            #expect(rows.contains { $0.key == key && $0.isRemoval })
        }
    }

    @Test func `an authority of which nothing can be revoked signs a last list and loses its key`()
        async throws
    {
        let (directory, clock) = (try TestDirectory(), ShiftedClock())
        try await withServer(in: directory, clock: clock) { server in
            let (old, new) = try await server.rotate()
            let end = try await server.core.read { try $0.authority(id: old)?.notAfter }
            try await eventually("its last list is signed, and its key is destroyed") {
                clock.pass(.seconds(10))
                let names = try files(below: "\(directory.path)/data/keys")
                return !names.contains("authority-\(old).key")
            }
            let record = try await server.core.read { try $0.revocationList(of: old) }
            #expect(record?.isLast == true)
            #expect(record?.nextUpdate == end)
            #expect(try await server.core.read { try $0.revocationList(of: new)?.isLast } == false)
            #expect(try await server.unmetConditions() == [])
        }
    }

    @Test func `a start signs what is missing before it serves`() async throws {
        let directory = try TestDirectory()
        let leaf = try await withServer(in: directory) { server in
            let (_, leaf, _) = try await signed(server)
            let id = try server.active()
            try await server.revokeCertificate(leaf.serial)
            try await server.core.write { transaction in
                let number = try transaction.advanceRevision().number
                try transaction.deleteRevocationList(of: id, number: number)
            }
            return leaf
        }
        try await withServer(in: directory) { server in
            let list = try await server.list(of: server.active())
            #expect(list?.contains(leaf.serial) == true)
        }
    }

    @Test func `who has no list is named by health, on which readiness does not depend`()
        async throws
    {
        let directory = try TestDirectory()
        let id = try await withServer(in: directory) {
            $0.keyStorage = .memory
        } _: { server in
            let id = try server.active()
            try await server.core.write { transaction in
                let number = try transaction.advanceRevision().number
                try transaction.deleteRevocationList(of: id, number: number)
            }
            return id
        }
        // Its key was lost with the process.
        try await withServer(in: directory) {
            $0.keyStorage = .memory
        } _: { server in
            try await eventually("the server to be ready") {
                try await server.administration.getHealth(.init()).ready
            }
            let health = try await server.administration.getHealth(.init())
            let condition = health.conditions.first { $0.name == "revocationLists" }
            #expect(condition?.ok == false)
            #expect(condition?.reason.contains("authority \(id.prefix(16)) has none") == true)
            let metrics = server.core.metrics.exposition()
            let name = "signet_server_revocation_list_next_update_seconds"
            #expect(metrics.contains("\(name){authority=\"\(id)\"} 0\n"))
        }
    }

    @Test func `what a list lacks whose key is away is named, and is on it when the key is back`()
        async throws
    {
        let (directory, clock) = (try TestDirectory(), ShiftedClock())
        let (leaf, old) = try await withServer(in: directory, clock: clock) { server in
            let (_, leaf, _) = try await signed(server)
            return (leaf, try await server.rotate().old)
        }
        let file = "\(directory.path)/data/keys/authority-\(old).key"
        try FileManager.default.moveItem(atPath: file, toPath: "\(directory.path)/away")
        try await withServer(in: directory, clock: clock) { server in
            try await server.revokeCertificate(leaf.serial)
            let serial = Hexadecimal.text(leaf.serial)
            try await eventually("health names what is on no list") {
                clock.pass(.seconds(1))
                let health = try await server.administration.getHealth(.init())
                let condition = health.conditions.first { $0.name == "revocationLists" }
                return condition?.reason.contains("serial \(serial)") == true
            }
            let name = "signet_server_revocation_list_left_out"
            let metrics = server.core.metrics.exposition()
            #expect(metrics.contains("\(name){authority=\"\(old)\"} 1\n"))
            try FileManager.default.moveItem(atPath: "\(directory.path)/away", toPath: file)
            try await eventually("it is on the list") {
                clock.pass(.seconds(10))
                return try await server.list(of: old)?.contains(leaf.serial) ?? false
            }
            try await eventually("nothing is left out") {
                try await !server.unmetConditions().contains("revocationLists")
            }
        }
    }

    @Test func `lists go to agents that take them, and to no others`() async throws {
        let clock = ShiftedClock()
        try await withServer(clock: clock) { server in
            let (agent, leaf, _) = try await signed(server)
            let id = try server.active()
            try await server.withSync(as: agent) { sync in
                let (_, resources) = try await sync.snapshot()
                #expect(!resources.keys.contains { $0.type == .revocationList })
            }
            let capabilities = [SyncCapability.revocationLists]
            try await server.withSync(as: agent, capabilities: capabilities) { sync in
                let (revision, resources) = try await sync.snapshot()
                sync.acknowledge(revision)
                let key = ResourceKey(.revocationList, id)
                guard case .revocationList(let list) = resources[key] else {
                    Issue.record("\(resources.keys)")
                    return
                }
                #expect(list.count == 0)
                try await server.revokeCertificate(leaf.serial)
                // First the revocation, then the list, each as soon as it is there.
                sync.acknowledge(try await sync.delta().toRevision)
                clock.pass(RevocationListSchedule.quietDuration)
                let delta = try await sync.delta()
                guard case .upsert(key, let payload) = delta.changes.first else {
                    Issue.record("\(delta)")
                    return
                }
                #expect(try CertificateRevocationList(der: payload).contains(leaf.serial))
                #expect(delta.changes.count == 1)
            }
        }
    }
}
