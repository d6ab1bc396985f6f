// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms
import Testing

/// Two servers that federate both ways, with mTLS through proxies across the trust domains
/// (docs/decisions/0021-federation.md).
@Suite(.serialized, .timeLimit(.minutes(4)))
struct FederationDataPathTests {
    @Test func `F-4 requests go both ways between trust domains, of whom entry and policy name`()
        async throws
    {
        let pair = try await FederatedPair()
        for (side, partner) in [(pair.left, pair.right), (pair.right, pair.left)] {
            let (status, body) = try await side.ask()
            #expect(status == 200)
            #expect(body.contains(side.id("frontend")), "\(body)")
            // An identity that does not federate believes nobody there, and is not believed.
            try await eventually("the one who does not federate to be told so") {
                let (alone, _) = try await side.ask(at: side.lonerSocket, path: "/alone")
                #expect(alone != 200)
                return alone == 503
            }
            #expect(!partner.asked.contains("/alone"))
        }
        try await pair.stop()
    }

    @Test func `F-10 the end of a federation reaches proxies, requests and live streams`()
        async throws
    {
        let pair = try await FederatedPair()
        let (left, right) = (pair.left, pair.right)
        let stream = try left.machine.startPeer("stream.py", ["hold", left.streamSocket])
        try await stream.waitFor("open")
        let deleted = try await right.machine.signet(["delete", "FederatedTrustDomain", "partner"])
        #expect(deleted.isSuccess, "\(deleted.report)")
        try await stream.waitFor("ended at")
        // Of neither side is anybody believed: the right one knows no authority of the left one's.
        try await left.refused()
        try await right.refused()
        let before = right.asked
        #expect(FederatedSide.refusals.contains(try await left.ask(path: "/late").0))
        #expect(right.asked == before)
        let shown = try await right.machine.signet(["federation", "show"])
        #expect(!shown.output.contains(left.trustDomain), "\(shown.report)")
        let cause = try await right.machine.signet(
            ["audit", "query", "--event", "federatedBundleChanged", "-o", "json"]
        )
        #expect(cause.output.contains("removed"), "\(cause.report)")
        // He is taken back with a bundle of now.
        try await right.machine.apply(try await left.federation())
        try await left.answered()
        try await right.answered()
        try await pair.stop()
    }

    private struct Authorities: Decodable {
        struct Authority: Decodable {
            var id: String
            var state: String
        }
        var authorities: [Authority]
    }

    @Test func `F-1 F-2 a partner who revokes an authority is followed by his endpoint`()
        async throws
    {
        let pair = try await FederatedPair()
        let (left, right) = (pair.left, pair.right)
        try await eventually("a stream to go through") { try await left.streams() }
        let shown = try await right.machine.signet(["authority", "show", "-o", "json"])
        let old = try JSONDecoder().decode(Authorities.self, from: Data(shown.output.utf8))
            .authorities.first { $0.state == "active" }?.id
        let rotated = try await right.machine.signet(["authority", "rotate", "--now", "--yes"])
        #expect(rotated.isSuccess, "\(rotated.report)")
        // An agent that did not know the new one yet would need another join token.
        try await eventually("the agent there to have the new authority") {
            let folder = try await right.takeIdentity("frontend")
            let bundle = try String(contentsOfFile: "\(folder)/bundle.pem", encoding: .utf8)
            return bundle.components(separatedBy: "BEGIN CERTIFICATE").count > 2
        }
        let revoked = try await right.machine.signet(
            ["authority", "revoke", old ?? "", "--now", "--yes"]
        )
        #expect(revoked.isSuccess, "\(revoked.report)")
        // What the new authority signs is unknown here until the next fetch. The endpoint still
        // shows a certificate of the old one, or it could not be fetched from ever again.
        try await eventually("a new stream to be refused") { try await !left.streams() }
        // The endpoint looks each second for a new bundle: a fetch before that brings the former one.
        try await eventually("the new authority to be fetched, and a new stream to go through") {
            _ = try await left.machine.signet(["federation", "refresh", right.trustDomain])
            return try await left.streams()
        }
        try await left.answered()
        try await right.answered()
        try await pair.stop()
    }
}
