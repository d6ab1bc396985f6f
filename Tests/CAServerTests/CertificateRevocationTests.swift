// SPDX-License-Identifier: Apache-2.0

import Authorization
import CAServer
import Clocks
import ControlAPI
import ControlAPIProtos
import Datastore
import Foundation
import NodeSync
import SPIFFE
import SwiftProtobuf
import Testing

extension TestServer {
    @discardableResult
    func revokeCertificate(
        _ serial: [UInt8]
    ) async throws -> Signet_Admin_V1alpha1_RevokeCertificateResponse {
        try await administration.revokeCertificate(
            .with { ($0.serial, $0.reason) = (Data(serial), "copied") }
        )
    }

    /// Has one SVID signed and returns its leaf.
    func leaf(
        _ request: Signet_Node_V1alpha1_SignX509SVID,
        as agent: TestAgent
    ) async throws -> LeafCertificate {
        let results = try await sign([request], as: agent)
        let chain = try #require(results.first).signed.certificateChain
        return try LeafCertificate(der: Array(try #require(chain.first)))
    }
}

/// Single certificates, and all of a node (docs/decisions/0015-revocation-of-certificates.md).
@Suite(.timeLimit(.minutes(1)))
struct CertificateRevocationTests {
    private static let web = "spiffe://example.org/web"
    private static let old = "spiffe://example.org/old"

    /// The revocations of leaves in a snapshot for the agent.
    private func leaves(_ server: TestServer, _ agent: TestAgent) async throws -> Set<[UInt8]> {
        try await server.withSync(as: agent) { sync in
            let (_, resources) = try await sync.snapshot()
            return Set(
                resources.values.compactMap { payload in
                    if case .revocation(_, .leaf(_, let serial, _)) = payload {
                        serial
                    } else {
                        nil
                    }
                }
            )
        }
    }

    @Test func `one certificate is refused, told to agents, listed and recorded`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("web")
            let request = try signingRequest(entry: entry, spiffeID: Self.web)
            let leaf = try await server.leaf(request, as: agent)
            let other = try await server.leaf(request, as: agent)
            try await server.withSync(as: agent) { sync in
                sync.acknowledge(try await sync.snapshot().revision)
                let revoked = try await server.revokeCertificate(leaf.serial)
                #expect(revoked.certificate.spiffeID == Self.web)
                #expect(revoked.certificate.node == "web-1")
                let delta = try await sync.delta()
                #expect(delta.toRevision.number == revoked.revision.number)
                guard case .upsert(let key, let payload)? = delta.changes.first else {
                    Issue.record("\(delta)")
                    return
                }
                let keyID = try #require(leaf.authorityKeyID)
                #expect(
                    try ResourcePayload(key, payload)
                        == .revocation(
                            name: "leaf:" + hexadecimal(leaf.serial),
                            .leaf(
                                authorityKeyID: keyID,
                                serial: leaf.serial,
                                notAfter: leaf.notAfter
                            )
                        )
                )
            }
            #expect(try await leaves(server, agent) == [leaf.serial])
            // Again: the same, and nothing is written.
            _ = try await server.revokeCertificate(leaf.serial)
            let listed = try await server.administration.listRevocations(.init()).certificates
            #expect(listed.map { Array($0.serial) } == [leaf.serial])
            #expect(listed[0].actor == TestServer.actor && listed[0].reason == "copied")
            let records = try await server.records("certificateRevoked") {
                $0.serial = hexadecimal(leaf.serial)
            }
            #expect(records.count == 1)
            #expect(leaf.serial != other.serial)
            // The identity is signed for as before.
            _ = try await server.leaf(request, as: agent)
        }
    }

    @Test func `what is not known or has expired is refused, and fills no list`() async throws {
        let clock = ShiftedClock()
        try await withServer(clock: clock) { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("web")
            let leaf = try await server.leaf(
                try signingRequest(entry: entry, spiffeID: Self.web),
                as: agent
            )
            func refused(_ serial: [UInt8]) async -> APIError? {
                await refusal { try await server.revokeCertificate(serial) }
            }
            #expect(await refused([1])?.kind == .notFound)
            #expect(await refused(Array(repeating: 1, count: 17))?.kind == .notFound)
            #expect(await refused([])?.kind == .invalidArgument)
            #expect(await refused([0, 0])?.kind == .invalidArgument)
            #expect(await refused(Array(repeating: 1, count: 21))?.kind == .invalidArgument)
            clock.pass(.seconds(3600 + 61))
            #expect(await refused(leaf.serial)?.reason == "certificateUnknown")
        }
    }

    @Test func `a clock that is doubted does not say that a certificate has ended`() async throws {
        let clock = ShiftedClock()
        try await withServer(clock: clock) { server in
            let leaf = try await server.workload("web").leaf
            clock.stepWall(by: 3600 + 61)
            let revoked = try await server.revokeCertificate(leaf.serial)
            #expect(Array(revoked.certificate.serial) == leaf.serial)
        }
    }

    @Test func `it is forgotten a minute after the certificate's end`() async throws {
        let clock = ShiftedClock()
        try await withServer(clock: clock) { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("web")
            let leaf = try await server.leaf(
                try signingRequest(entry: entry, spiffeID: Self.web),
                as: agent
            )
            _ = try await server.revokeCertificate(leaf.serial)
            func count(at time: Date) async throws -> Int {
                try await server.core.endRevocations(now: time)
                return try await server.core.read { try $0.revokedCertificateCount() }
            }
            #expect(try await count(at: leaf.notAfter.addingTimeInterval(59)) == 1)
            #expect(try await count(at: leaf.notAfter.addingTimeInterval(61)) == 0)
            #expect(try await leaves(server, agent).isEmpty)
        }
    }

    @Test func `a ban revokes what the node's workloads and proxies hold, and nothing else`()
        async throws
    {
        try await withServer { server in
            let stolen = try await server.agent("web-1", selectors: ["role:web"])
            let other = try await server.agent("web-2", selectors: ["role:web"])
            let entry = try await server.register("web")
            let request = try signingRequest(entry: entry, spiffeID: Self.web)
            let held = [
                try await server.leaf(request, as: stolen),
                try await server.leaf(request, as: stolen),
            ]
            _ = try await server.leaf(request, as: other)
            let banned = try await server.administration.banNode(
                .with { ($0.name, $0.reason) = ("web-1", "stolen") }
            )
            #expect(banned.certificatesRevoked == 2 && banned.certificatesNotRevoked == 0)
            #expect(try await leaves(server, other) == Set(held.map(\.serial)))
            let record = try await server.records("nodeCertificatesRevoked")[0]
            #expect(record.contains("\"certificates\":2"), "\(record)")
            // Once more, and taking it back, change none of it.
            let again = try await server.administration.banNode(.with { $0.name = "web-1" })
            #expect(again.certificatesRevoked == 0)
            _ = try await server.administration.unbanNode(.with { $0.name = "web-1" })
            #expect(try await leaves(server, stolen) == Set(held.map(\.serial)))
            let fresh = try await server.leaf(request, as: stolen)
            let evicted = try await server.administration.evictNode(.with { $0.name = "web-1" })
            #expect(evicted.certificatesRevoked == 1)
            #expect(try await leaves(server, other).contains(fresh.serial))
        }
    }

    @Test func `an eviction that ended half-way goes on when it is asked for again`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("web")
            let request = try signingRequest(entry: entry, spiffeID: Self.web)
            let held = try await server.leaf(request, as: agent)
            // As if the server had ended between the eviction and what follows.
            let now = server.core.clock.wallTime
            try await server.core.write { _ = try $0.evictNode(named: "web-1", now: now) }
            let evicted = try await server.administration.evictNode(.with { $0.name = "web-1" })
            #expect(evicted.name == "web-1" && evicted.certificatesRevoked == 1)
            let listed = try await server.administration.listRevocations(.init())
            #expect(listed.certificates.map { Array($0.serial) } == [held.serial])
            let again = await refusal {
                try await server.administration.evictNode(.with { $0.name = "web-1" })
            }
            #expect(again?.reason == "nodeUnknown")
        }
    }

    @Test func `a clock that is ahead does not refuse an identity for longer than it was issued`()
        async throws
    {
        let clock = ShiftedClock()
        try await withServer(clock: clock) { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("web")
            let many = try signingRequest(entry: entry, spiffeID: Self.web)
            for _ in 0..<3 { _ = try await server.sign([many, many, many], as: agent) }
            let now = clock.wallTime
            clock.stepWall(by: 365 * 86_400)
            let banned = try await server.administration.banNode(.with { $0.name = "web-1" })
            #expect(banned.identitiesRevoked == 1)
            let listed = try await server.administration.listRevocations(.init()).revocations
            let before = Double(try #require(listed.first).issuedBeforeUnixSeconds)
            #expect(before > now.timeIntervalSince1970 - 1)
            #expect(before < now.timeIntervalSince1970 + 60)
        }
    }

    @Test func `a record that does not tell its beginning is refused up to its end`() async throws {
        let clock = ShiftedClock()
        try await withServer(clock: clock) { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("web")
            _ = try await server.leaf(
                try signingRequest(entry: entry, spiffeID: Self.web),
                as: agent
            )
            let end = clock.wallTime.addingTimeInterval(600)
            try await server.core.write { transaction in
                let signer = try #require(try transaction.authorities().first).id
                // As before migration 0010, and so many that their identity is revoked.
                let intents = (0..<9).map { count in
                    IssuanceIntent(
                        serial: [1, count],
                        authorityID: signer,
                        spiffeID: Self.old,
                        entryID: entry,
                        entryRevision: 1,
                        tbsSHA256: Array(repeating: 0, count: 32),
                        notAfter: end,
                        node: "web-1",
                        revision: 1,
                        leafIndex: 1
                    )
                }
                try transaction.record(intents)
            }
            clock.stepWall(by: 365 * 86_400)
            let banned = try await server.administration.banNode(.with { $0.name = "web-1" })
            #expect(banned.identitiesRevoked == 1)
            let listed = try await server.administration.listRevocations(.init()).revocations
            let before = Double(try #require(listed.first).issuedBeforeUnixSeconds)
            #expect(before >= end.timeIntervalSince1970.rounded(.down))
            #expect(before < end.timeIntervalSince1970 + 60)
        }
    }

    @Test func `a ban goes on when the list is full, and says what it left`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("web")
            let request = try signingRequest(entry: entry, spiffeID: Self.web)
            _ = try await server.leaf(request, as: agent)
            let now = server.core.clock.wallTime
            try await server.core.write { transaction in
                let number = try transaction.advanceRevision().number
                for count in 0..<RevokedCertificate.countMax {
                    let intent = IssuanceIntent(
                        serial: [1, UInt8(count >> 8), UInt8(count & 255)],
                        authorityID: "00",
                        spiffeID: Self.web,
                        entryID: "e",
                        entryRevision: 1,
                        tbsSHA256: Array(repeating: 0, count: 32),
                        notAfter: now,
                        node: "other",
                        revision: 1,
                        leafIndex: 1
                    )
                    let revocation = RevokedCertificate(
                        intent,
                        ends: now.addingTimeInterval(3600),
                        reason: "",
                        actor: "uid:0@host",
                        revokedAt: now
                    )
                    try transaction.put(revocation, number: number)
                }
            }
            let banned = try await server.administration.banNode(.with { $0.name = "web-1" })
            #expect(banned.banned)
            #expect(banned.certificatesRevoked == 0 && banned.certificatesNotRevoked == 1)
            let record = try await server.records("nodeCertificatesRevoked")[0]
            #expect(record.contains("\"left\":1"), "\(record)")
        }
    }

    @Test func `of whom a node has many certificates is revoked as an identity`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let (web, api) = (try await server.register("web"), try await server.register("api"))
            let many = try signingRequest(entry: web, spiffeID: Self.web)
            let one = try signingRequest(entry: api, spiffeID: "spiffe://example.org/api")
            for _ in 0..<3 {
                _ = try await server.sign([many, many, many], as: agent)
            }
            let single = try await server.leaf(one, as: agent)
            let banned = try await server.administration.banNode(
                .with { ($0.name, $0.reason) = ("web-1", "stolen") }
            )
            #expect(banned.identitiesRevoked == 1 && banned.certificatesRevoked == 1)
            #expect(banned.certificatesNotRevoked == 0)
            let listed = try await server.administration.listRevocations(.init())
            #expect(listed.revocations.map(\.spiffeID) == [Self.web])
            #expect(listed.certificates.map { Array($0.serial) } == [single.serial])
            // Asked for again, it leaves alone what others got meanwhile.
            let again = try await server.administration.banNode(.with { $0.name = "web-1" })
            #expect(again.identitiesRevoked == 0 && again.certificatesRevoked == 0)
        }
    }

    @Test func `agents' and the server's own certificates are not revoked by serial number`()
        async throws
    {
        try await withServer { server in
            let agent = try await server.agent("web-1")
            let refused = await refusal {
                try await server.revokeCertificate(try agent.leaf.serial)
            }
            #expect(refused?.reason == "certificateNotRevocable")
            #expect(refused?.message.contains("signet agent ban") == true)
        }
    }

    @Test func `who shows a revoked certificate is no admin any more, on open connections too`()
        async throws
    {
        let ops = try SPIFFEID("spiffe://example.org/ops")
        try await withServer({ $0.admins.append(.spiffe(ops)) }) { server in
            let caller = try await server.workload("ops")
            try await server.authenticated(as: try caller.identity) { client in
                let service = Administration.Client(wrapping: client)
                _ = try await service.listNodes(.init())
                _ = try await server.revokeCertificate(try caller.leaf.serial)
                #expect(await refusal { try await service.listNodes(.init()) } != nil)
            }
            let again = await refusal {
                try await server.authenticated(as: try caller.identity) { client in
                    try await Administration.Client(wrapping: client).listNodes(.init())
                }
            }
            #expect(again != nil)
        }
    }
}
