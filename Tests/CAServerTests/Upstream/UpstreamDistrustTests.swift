// SPDX-License-Identifier: Apache-2.0

import CAServer
import Clocks
import ControlAPI
import ControlAPIProtos
import Datastore
import Foundation
import Issuance
import NodeSync
import SPIFFE
import TestPKI
import Testing

/// Roots and upstream authorities that are trusted no more (record 0020, "Taint and revoke above").
@Suite(.timeLimit(.minutes(2)))
struct UpstreamDistrustTests {
    /// A server whose old authority is below one upstream authority, and the active one below another.
    private struct Served {
        let server: TestServer
        let fixture: UpstreamFixture
        /// Key IDs of the first upstream authority and of the second.
        let first: String
        let second: String
        /// The authority below the first.
        let old: String
        let directory: TestDirectory

        func state(of id: String) async throws -> String? {
            let response = try await server.administration.listAuthorities(.init())
            return (response.authorities + response.above).first { $0.id == id }?.state
        }

        var keyFiles: [String] {
            get throws {
                try FileManager.default
                    .contentsOfDirectory(atPath: "\(directory.path)/data/keys")
            }
        }
    }

    private func served(_ body: (Served) async throws -> Void) async throws {
        let directory = try TestDirectory()
        let fixture = try UpstreamFixture(in: directory)
        let first = try fixture.perform()
        try await withServer(in: directory, { fixture.configure(&$0) }) { _ in }
        let second = try fixture.perform()
        #expect(first != second)
        try await withServer(in: directory, { fixture.configure(&$0) }) { server in
            let (old, _) = try await server.rotate()
            try await body(
                Served(
                    server: server,
                    fixture: fixture,
                    first: first,
                    second: second,
                    old: old,
                    directory: directory
                )
            )
        }
    }

    @Test func `while the active authority is below, nothing above is tainted or revoked`()
        async throws
    {
        try await served { served in
            for id in [served.second, served.fixture.rootID] {
                let refusals = [
                    await refusal { try await served.server.taint(id) },
                    await refusal { try await served.server.revokeAuthority(id) },
                    await refusal { try await served.server.revokeAuthority(id, rehearse: true) },
                ]
                #expect(
                    refusals.map { $0?.reason } == Array(repeating: "authoritySigns", count: 3)
                )
            }
            let state = try await served.state(of: served.second)
            #expect(state == "published")
            let authorities = try served.server.core.trust.bundle.x509Authorities
            #expect(authorities == [served.fixture.root])
        }
    }

    @Test func `a tainted one has what is below it replaced, a revoked one ends it`() async throws {
        try await served { served in
            let server = served.server
            let keyID = try #require(Hexadecimal.bytes(served.first))
            let kept = try Data(
                contentsOf: URL(
                    filePath: "\(served.directory.path)/data/keys/upstream-"
                        + "\(served.first).key"
                )
            )
            _ = try await server.token("unused")
            let tainted = try await server.taint(served.first)
            #expect(
                tainted.authority.kind == "intermediate" && tainted.authority.state == "tainted"
            )
            #expect(try await served.state(of: served.old) == "tainted")
            #expect(server.core.standing(ofAuthority: keyID) == .tainted)
            let taints = try await server.records("upstreamTainted")
            #expect(taints.count == 1 && taints[0].contains("\"authorities\":[\"\(served.old)\"]"))
            #expect(taints[0].contains("\"tokensDeleted\":1"))
            // Again: nothing happens, and nothing is written.
            _ = try await server.taint(served.first)
            #expect(try await server.records("upstreamTainted").count == 1)

            let revoked = try await server.revokeAuthority(served.first)
            #expect(revoked.authority.state == "revoked" && !revoked.advice.isEmpty)
            #expect(try await served.state(of: served.old) == "revoked")
            #expect(server.core.standing(ofAuthority: keyID) == .revoked)
            #expect(try !served.keyFiles.contains("upstream-\(served.first).key"))
            #expect(try served.keyFiles.contains("upstream-\(served.second).key"))
            let records = try await server.records("upstreamRevoked")
            #expect(records.count == 1 && records[0].contains("\"upstream\":\"\(served.first)\""))
            try await server.requireIntactLog()

            // The key comes back, with a certificate below the same root, and is not taken.
            let path = "\(served.directory.path)/data/keys/upstream-\(served.first).key"
            try kept.write(to: URL(filePath: path))
            try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
            let signer = try MemorySigner(pkcs8DER: Array(kept))
            var generator = SystemRandomness()
            let csr = try AuthorityRequest.encoded(
                trustDomain: TrustDomain("example.org"),
                serverID: "thief",
                profile: .intermediate,
                signer: signer,
                using: &generator
            )
            let request = "\(served.directory.path)/again.csr"
            try UpstreamFixture.write(CertificateFile.text(request: csr), to: request)
            try served.fixture.certify(request)
            let refused = await refusal {
                try await server.administration.prepareAuthority(.init())
            }
            #expect(refused?.message.contains("distrusted") == true, "\(refused?.message ?? "")")
        }
    }

    @Test func `one that has certified nothing yet is ended like others`() async throws {
        let directory = try TestDirectory()
        let fixture = try UpstreamFixture(in: directory)
        try fixture.perform()
        try await withServer(in: directory, { fixture.configure(&$0) }) { _ in }
        let request = try Server.requestUpstream(fixture.configuration(), clock: SystemClock())
        try await withServer(in: directory, { fixture.configure(&$0) }) { server in
            // Put in place while it serves, and stolen at once.
            try fixture.certify(request.path)
            let answer = try await server.revokeAuthority(request.keyID)
            #expect(
                answer.authority.kind == "intermediate" && answer.authority.state == "revoked"
            )
            let keyID = Hexadecimal.bytes(request.keyID) ?? []
            #expect(server.core.standing(ofAuthority: keyID) == .revoked)
        }
        // Its request is over with it.
        let next = try fixture.perform()
        #expect(next != request.keyID)
        try await withServer(in: directory, { fixture.configure(&$0) }) { server in
            let above = try await server.administration.listAuthorities(.init()).above
            #expect(above.contains { $0.id == next && $0.state == "published" })
            #expect(above.contains { $0.id == request.keyID && $0.state == "revoked" })
        }
    }

    @Test func `a root stays one, whoever certified its key besides`() async throws {
        try await withServer { server in
            let (logic, now) = (server.core.logic, server.core.clock.wallTime)
            let root = try UpstreamFixture(in: TestDirectory())
            let other = try UpstreamFixture(in: TestDirectory(), now: Date() + 86_400)
            let crossed = try root.crossCertified(by: other)
            let (left, kinds) = try await server.core.write { transaction in
                try logic.settleRoots([root.root], now: now, in: transaction)
                let left = try logic.unrecorded([crossed], now: now, in: transaction)
                return (left, try transaction.upstreams().map(\.kind))
            }
            #expect(left.isEmpty)
            #expect(kinds == [.root])
        }
    }

    @Test func `a key that was between a root and authorities is a root's from then on`()
        async throws
    {
        try await withServer { server in
            let (logic, now) = (server.core.logic, server.core.clock.wallTime)
            let root = try UpstreamFixture(in: TestDirectory())
            let other = try UpstreamFixture(in: TestDirectory(), now: Date() - 86_400)
            let crossed = try root.crossCertified(by: other)
            let published = try await server.core.write { transaction in
                for record in try logic.unrecorded([crossed], now: now, in: transaction) {
                    try transaction.put(record)
                }
                try logic.settleRoots([root.root], now: now + 60, in: transaction)
                return try transaction.bundleRoots()
            }
            #expect(published.map(\.id) == [root.rootID])
            // Only since then partners can have fetched it.
            let age = published.first.map { $0.publishedAt.timeIntervalSince(now) } ?? 0
            #expect(abs(age - 60) < 0.01)
        }
    }

    @Test func `agents are told of the key, whatever a thief makes with it`() async throws {
        try await served { served in
            let server = served.server
            let agent = try await server.agent("web-1")
            _ = try await server.revokeAuthority(served.first)
            let keyID = try #require(Hexadecimal.bytes(served.first))
            try await server.withSync(as: agent) { sync in
                let (_, resources) = try await sync.snapshot()
                let name = AuthorityRecord.revocationName(of: served.first)
                let told = resources[ResourceKey(.revocation, name)]
                #expect(told == .revocation(name: name, .authority(keyID: keyID)))
            }
        }
    }

    @Test func `a revoked root leaves the bundle, and is not published again`() async throws {
        let directory = try TestDirectory()
        let fixture = try UpstreamFixture(in: directory)
        try fixture.perform()
        try await withServer(in: directory, { fixture.configure(&$0) }) { _ in }
        try await withServer(in: directory) { server in
            _ = try await server.rotate()
            #expect(try server.core.trust.bundle.x509Authorities.count == 2)
            let answer = try await server.revokeAuthority(fixture.rootID)
            #expect(answer.authority.kind == "root" && answer.authority.state == "revoked")
            try await eventually("the bundle is without it") {
                let bundle = try server.core.trust.bundle
                return bundle.x509Authorities.count == 1 && bundle.x509Intermediates.isEmpty
            }
            #expect(try server.core.trust.bundle.x509Authorities != [fixture.root])
        }
        try await withServer(in: directory, { fixture.configure(&$0) }) { server in
            let authorities = try server.core.trust.bundle.x509Authorities
            #expect(!authorities.contains(fixture.root))
            #expect(
                await refusal { try await server.administration.prepareAuthority(.init()) }?.reason
                    == "upstream"
            )
        }
    }

    @Test func `the certificate of an authority is published as no root`() async throws {
        try await withServer { server in
            let (logic, now) = (server.core.logic, server.core.clock.wallTime)
            let own = try server.core.trust.authorities
            let refused = await refusal {
                try await server.core.write { transaction in
                    try logic.settleRoots(own, now: now, in: transaction)
                }
            }
            #expect(refused?.reason == "upstreamRefused", "\(refused?.message ?? "")")
            #expect(refused?.message.contains("keyTaken") == true)
        }
    }

    @Test func `by a clock that is behind no root enters`() async throws {
        try await withServer { server in
            let (logic, now) = (server.core.logic, server.core.clock.wallTime)
            let root = try TestAuthority.root("example.org").der
            let refused = await refusal {
                try await server.core.write { transaction in
                    try logic.settleRoots([root], now: now - 3600, in: transaction)
                }
            }
            #expect(refused?.reason == "clockBehind", "\(refused?.message ?? "")")
            #expect(try await server.core.read { try $0.upstreams() }.isEmpty)
        }
    }

    @Test func `a tainted root that is configured no more is revoked by it`() async throws {
        try await withServer { server in
            let (logic, now) = (server.core.logic, server.core.clock.wallTime)
            let root = try TestAuthority.root("example.org").der
            let id = try LeafCertificate(der: root).keyIdentifier.description
            try await server.core.write { transaction in
                try logic.settleRoots([root], now: now, in: transaction)
                _ = try logic.taintUpstream(
                    id,
                    reason: "",
                    by: ServerLogic.upstream,
                    now: now,
                    in: transaction
                )
                try logic.settleRoots([], now: now, in: transaction)
            }
            let record = try await server.core.read { try $0.upstream(id: id) }
            #expect(record?.isRevoked == true)
            #expect(try await server.records("upstreamRevoked").count == 1)
            #expect(try await server.records("rootRemoved").isEmpty)
        }
    }

    @Test func `what is distrusted is forgotten a week after its end, other things at it`()
        async throws
    {
        try await withServer { server in
            let logic = server.core.logic
            // What is stored has whole milliseconds.
            let seconds = server.core.clock.wallTime.timeIntervalSince1970.rounded()
            let now = Date(timeIntervalSince1970: seconds)
            let distrust = AuthorityDistrust(
                taintedAt: nil,
                revokedAt: now,
                reason: "",
                actor: "test"
            )
            let week = AuthorityRotation.revokedKept / .seconds(1)
            func record(
                _ id: String,
                _ kind: UpstreamRecord.Kind,
                _ distrust: AuthorityDistrust?,
                until end: Date = now
            ) -> UpstreamRecord {
                UpstreamRecord(
                    id: id,
                    kind: kind,
                    certificateDER: [0x30, 0x00],
                    publishedAt: now,
                    notAfter: end,
                    distrust: distrust
                )
            }
            let records = [
                record("01", .root, distrust), record("02", .intermediate, distrust),
                record("03", .intermediate, nil), record("04", .root, nil),
            ]
            let left = try await server.core.write { transaction in
                for record in records { try transaction.put(record) }
                var left: [[String]] = []
                for moment in [now - 1, now, now + week - 1, now + week] {
                    _ = try logic.forgetUpstreams(now: moment, in: transaction)
                    left.append(try transaction.upstreams().map(\.id))
                }
                return left
            }
            #expect(
                left == [
                    ["01", "02", "03", "04"], ["01", "02", "04"], ["01", "02", "04"], ["04"],
                ]
            )
            #expect(try await server.records("authorityForgotten").count == 2)
            // As long as a root lives its ceremony may have certified a key once more.
            let roots = [
                record("05", .intermediate, distrust), record("06", .root, nil, until: now + week),
            ]
            let later = try await server.core.write { transaction in
                for record in roots { try transaction.put(record) }
                var later: [[String]] = []
                for moment in [now + week, now + 2 * week - 1, now + 2 * week] {
                    _ = try logic.forgetUpstreams(now: moment, in: transaction)
                    later.append(try transaction.upstreams().map(\.id))
                }
                return later
            }
            #expect(later == [["04", "05", "06"], ["04", "05", "06"], ["04", "06"]])
        }
    }
}
