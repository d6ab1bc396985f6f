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
import SwiftProtobuf
import Testing

/// What a restore makes of a server whose authorities are below an offline root
/// (docs/decisions/0020-authorities-under-another.md, 0022-backup-and-restore.md).
@Suite(.timeLimit(.minutes(2)))
struct RestoreBelowRootTests {
    /// A server that a ceremony has certified.
    private struct Served {
        let fixture: RestoreFixture
        let upstream: UpstreamFixture
        /// The key ID of its upstream authority.
        let first: String

        init() throws {
            fixture = try RestoreFixture(isBelowRoot: true)
            upstream = try #require(fixture.upstream)
            first = try upstream.perform()
        }

        /// Restores another machine from copies that lack some keys.
        @discardableResult
        func restoreCopies(without keys: [String] = []) async throws -> RestoreReport {
            try fixture.copy()
            for key in keys {
                try FileManager.default.removeItem(atPath: "\(fixture.copies)/keys/\(key)")
            }
            try FileManager.default.removeItem(atPath: fixture.data)
            return try await fixture.restore(copies: fixture.copies)
        }

        func held(_ body: (HeldServer) async throws -> Void) async throws {
            try await withHeldServer(in: fixture.directory, { fixture.change(&$0) }, body)
        }

        func holdsKey(_ id: String) -> Bool {
            FileManager.default.fileExists(atPath: "\(fixture.data)/keys/upstream-\(id).key")
        }
    }

    private static func keyID(_ id: String) throws -> [UInt8] {
        try #require(Hexadecimal.bytes(id))
    }

    @Test func `keys of upstream authorities come from copies, and certify`() async throws {
        let served = try Served()
        let fixture = served.fixture
        try await fixture.serving { try await fixture.makeBackup($0) }
        let report = try await served.restoreCopies()
        #expect(
            report.lines.contains(
                "1 key file(s) of upstream authorities are there, 1 from copies"
            )
        )
        let vault = try KeyVault(
            directory: "\(fixture.data)/keys",
            form: .plain,
            place: .files,
            keyType: .p256
        )
        #expect(try vault.upstreamSigner(id: served.first) != nil)
        try await served.held { server in
            _ = try await server.recover()
            #expect(await server.port() != nil)
        }
        try await fixture.serving { server in
            let new = try await server.rotate().new
            let record = try await server.core.read { try $0.authority(id: new) }
            #expect(record?.ancestry?.issuerID == served.first)
        }
    }

    @Test func `what a start needs besides, and nobody has brought back, is told`() async throws {
        let served = try Served()
        let fixture = served.fixture
        try await fixture.serving { try await fixture.makeBackup($0) }
        for path in [served.upstream.rootsPath, served.upstream.certificatePath] {
            try FileManager.default.removeItem(atPath: path)
        }
        let report = try await fixture.restore(isRehearsal: true)
        for name in ["upstreamCertificate", "upstreamRoots"] {
            #expect(
                report.lines.contains { $0.hasPrefix("\(name): ") && $0.contains("is not there") }
            )
        }
    }

    @Test func `an authority that is left without its key for tokens stays below its root`()
        async throws
    {
        let served = try Served()
        let fixture = served.fixture
        let new = try await fixture.serving { server in
            try await fixture.makeBackup(server)
            return try await server.rotate().new
        }
        try await served.restoreCopies(without: ["jwt-\(new).key"])
        try await served.held { server in
            _ = try await server.recover(now: true)
            #expect(await server.port() != nil)
            let record = try await server.core.read { try $0.authority(id: new) }
            #expect(record?.state == "active" && record?.tokenKeySPKI == nil)
            #expect(record?.ancestry?.keyIDs == [served.first, served.upstream.rootID])
            let bundle = try server.core.trust.bundle
            #expect(bundle.x509Authorities == [served.upstream.root])
        }
    }

    @Test func `one of the log alone whose key is not here is revoked, not forgotten`()
        async throws
    {
        let served = try Served()
        let fixture = served.fixture
        let (agent, new) = try await fixture.serving { server in
            let agent = try await server.agent("early")
            try await fixture.makeBackup(server)
            let new = try await server.rotate().new
            _ = try await server.agent("late")
            return (agent, new)
        }
        try await served.restoreCopies(without: ["authority-\(new).key", "jwt-\(new).key"])
        let keyID = try Self.keyID(new)
        try await served.held { server in
            let open = try await server.recover(rehearse: true)
            #expect(open.authorities == [new] && open.signerMissing)
            // Who knows the root, and was certified by what stays, needs none.
            #expect(open.agentsNeedingTokens == 1)
            _ = try await server.recover(now: true)
            #expect(await server.port() != nil)
            let record = try await server.core.read { try $0.authority(id: new) }
            #expect(record?.state == "revoked" && record?.distrust?.reason == "its key is not here")
            #expect(server.core.standing(ofAuthority: keyID) == .revoked)
        }
        try await fixture.serving { server in
            _ = try await server.renew(agent, key: agent.key)
            let records = try await server.records("authorityRevoked")
            #expect(records.count == 1 && records[0].contains(new))
        }
    }

    @Test func `an upstream authority that was revoked before it certified stays revoked`()
        async throws
    {
        let served = try Served()
        let fixture = served.fixture
        try await fixture.serving { try await fixture.makeBackup($0) }
        let request = try Server.requestUpstream(
            served.upstream.configuration(),
            clock: SystemClock()
        )
        try await fixture.serving { server in
            // Put in place while it serves, and stolen at once.
            try served.upstream.certify(request.path)
            _ = try await server.revokeAuthority(request.keyID)
        }
        try await fixture.restore()
        let record = try fixture.read { try $0.upstream(id: request.keyID) }
        #expect(record?.kind == .intermediate && record?.isRevoked == true)
        let keyID = try Self.keyID(request.keyID)
        // The file of its certificate is in place still.
        try await served.held { server in
            _ = try await server.recover(now: true)
            #expect(await server.port() != nil)
            #expect(server.core.standing(ofAuthority: keyID) == .revoked)
        }
    }

    @Test func `a held server destroys no key of what it revokes, the start after it does`()
        async throws
    {
        let served = try Served()
        let fixture = served.fixture
        try await fixture.serving { _ in }
        let second = try served.upstream.perform()
        try await fixture.serving { server in
            _ = try await server.rotate()
            try await fixture.makeBackup(server)
        }
        try await fixture.restore()
        try await served.held { server in
            let answer = try await server.administration.revokeAuthority(
                .with { ($0.id, $0.reason, $0.now) = (served.first, "stolen", true) }
            )
            #expect(answer.authority.state == "revoked")
            #expect(served.holdsKey(served.first))
            _ = try await server.recover(now: true)
            #expect(await server.port() != nil)
            #expect(!served.holdsKey(served.first) && served.holdsKey(second))
        }
    }
}
