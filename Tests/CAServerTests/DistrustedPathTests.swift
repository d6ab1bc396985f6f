// SPDX-License-Identifier: Apache-2.0

import CAServer
import Issuance
import Logging
import NodeSync
import SPIFFE
import TestPKI
import Testing

/// Whom a server believes when an authority of his path is distrusted (decision 0020).
@Suite(.timeLimit(.minutes(1))) struct DistrustedPathTests {
    /// What the server would have read of an authority.
    private func record(_ authority: TestAuthority, _ state: Authority.State) throws -> Authority {
        let read = try LeafCertificate(der: authority.der)
        return Authority(
            id: read.keyIdentifier.description,
            serverID: "one",
            state: state,
            certificateDER: authority.der,
            notBefore: read.notBefore,
            notAfter: read.notAfter
        )
    }

    @Test func `each authority of a peer's path counts, and the worst of them decides`()
        async throws
    {
        let directory = try TestDirectory()
        var configuration = ServerConfiguration(
            trustDomain: try TrustDomain("example.org"),
            dataDirectory: "\(directory.path)/data"
        )
        configuration.keyStorage = .plain
        let server = try Server(configuration, clock: ShiftedClock(), logger: .init(label: "test"))
        let core = server.core
        let root = try TestAuthority.root("example.org")
        let upper = try root.intermediate()
        let (lower, beside) = (try upper.intermediate(), try upper.intermediate())
        let verifier = PeerVerifier(bundles: [root.trustDomain: root.bundle])
        let peer = try await verifier.verify(
            chain: try lower.leaf("spiffe://example.org/ops").chain,
            now: testNow
        )
        #expect(core.standing(of: peer) == nil && core.believes(peer))
        for authority in [lower, upper, root] {
            core.distrust(of: [try record(authority, .tainted)])
            #expect(core.standing(of: peer) == .tainted && core.believes(peer))
            core.distrust(of: [try record(authority, .revoked)])
            #expect(core.standing(of: peer) == .revoked && !core.believes(peer))
            core.distrust(of: [])
            #expect(core.standing(of: peer) == nil && core.believes(peer))
        }
        core.distrust(of: [try record(lower, .tainted), try record(root, .revoked)])
        #expect(core.standing(of: peer) == .revoked)
        core.distrust(of: [try record(beside, .revoked), try record(upper, .old)])
        #expect(core.standing(of: peer) == nil)
    }
}
