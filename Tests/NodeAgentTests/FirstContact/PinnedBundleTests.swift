// SPDX-License-Identifier: Apache-2.0

import NodeAgent
import NodeAttestation
import SPIFFE
import TestPKI
import Testing

/// What a join token vouches for when another authority certified the server's
/// (docs/decisions/0020-authorities-under-another.md).
struct PinnedBundleTests {
    @Test func `a pinned authority is an anchor, whoever certified it; the root above it is none`()
        async throws
    {
        let now = testNow
        let root = try TestAuthority.root("example.org", now: now)
        let (pinned, revoked) = (
            try root.intermediate(), try root.intermediate()
        )
        let offered = TrustBundle(
            trustDomain: root.trustDomain,
            x509Authorities: [root.der],
            x509Intermediates: [revoked.der, pinned.der],
            sequenceNumber: 4,
            refreshHintSeconds: 5
        )
        let token = try JoinToken(
            trustDomain: root.trustDomain,
            serverAddresses: ["127.0.0.1:1"],
            authorityPins: [try authoritySPKISHA256(pinned.der)],
            secret: Array(repeating: 7, count: JoinToken.secretBytes)
        )
        let kept = try PinnedBundle(keeping: offered, pinnedBy: token).bundle
        #expect(kept.x509Authorities == [pinned.der] && kept.x509Intermediates.isEmpty)
        let verifier = PeerVerifier(bundles: [kept.trustDomain: kept])
        let server = "spiffe://example.org/signet/server/one"
        let genuine = try pinned.leaf(server).chain
        let peer = try await verifier.verifyServer(
            chain: genuine,
            of: kept.trustDomain,
            now: now
        )
        #expect(peer.path.count == 1)
        let thief = try revoked.leaf(server).chain
        await #expect(throws: PeerVerificationError.self) {
            try await verifier.verifyServer(chain: thief, of: kept.trustDomain, now: now)
        }
    }
}
