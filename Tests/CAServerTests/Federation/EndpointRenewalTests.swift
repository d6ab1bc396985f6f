// SPDX-License-Identifier: Apache-2.0

import CAServer
import Datastore
import FoundationEssentials
import Issuance
import SPIFFE
import Testing

/// When the bundle endpoint shows another certificate (docs/decisions/0021-federation.md).
@Suite struct EndpointRenewalTests {
    private static let now = Date(timeIntervalSince1970: 1_800_000_000)
    private static let hold: Duration = .seconds(3600)

    private func seconds(_ seconds: TimeInterval) -> Date {
        Self.now.addingTimeInterval(seconds)
    }

    private func authority(
        _ id: String,
        below rootID: String? = nil,
        publishedFor age: TimeInterval?
    ) throws -> Authority {
        Authority(
            id: id,
            serverID: "one",
            state: .active,
            certificateDER: [],
            ancestry: try rootID.map { try AuthorityAncestry(chain: [], rootID: $0) },
            publishedAt: age.map { seconds(-$0) },
            notBefore: seconds(-86_400),
            notAfter: seconds(86_400)
        )
    }

    private func root(_ id: String, publishedFor age: TimeInterval) -> UpstreamRecord {
        UpstreamRecord(
            id: id,
            kind: .root,
            certificateDER: [],
            publishedAt: seconds(-age),
            notAfter: seconds(86_400)
        )
    }

    private func step(
        age renewIn: TimeInterval,
        begins: TimeInterval = -60,
        left: TimeInterval = 7200,
        isDistrusted: Bool = false,
        below anchorID: String = "old",
        signer: Authority,
        among upstreams: [UpstreamRecord] = []
    ) -> EndpointRenewal.Step {
        EndpointRenewal.step(
            present: EndpointRenewal(
                authorityID: "old",
                anchorID: anchorID,
                renewAt: seconds(renewIn),
                notBefore: seconds(begins),
                notAfter: seconds(left)
            ),
            isDistrusted: isDistrusted,
            signerID: signer.id,
            anchor: PublishedAnchor(of: signer, among: upstreams),
            hold: Self.hold,
            now: Self.now
        )
    }

    @Test func `the first one is made at once, and one that is past replaced`() throws {
        let new = try authority("new", publishedFor: 0)
        let first = EndpointRenewal.step(
            present: nil,
            isDistrusted: false,
            signerID: new.id,
            anchor: PublishedAnchor(of: new, among: []),
            hold: Self.hold,
            now: Self.now
        )
        #expect(first == .renew)
        #expect(step(age: -100, left: 0, signer: new) == .renew)
    }

    @Test func `one of a clock that was ahead is replaced at once`() throws {
        // By accept-clock its authority is revoked, and nobody takes what begins later.
        let new = try authority("new", publishedFor: 0)
        #expect(step(age: 3600, begins: 1, isDistrusted: true, signer: new) == .renew)
        #expect(step(age: 3600, begins: 1, signer: new) == .renew)
        #expect(step(age: 3600, begins: 0, signer: new) == .keep)
    }

    @Test func `it is kept until half its life, and longer if nobody knows the next authority`()
        throws
    {
        let known = try authority("new", publishedFor: 3600)
        let unknown = try authority("new", publishedFor: 3599)
        #expect(step(age: 1, signer: known) == .keep)
        #expect(step(age: 0, signer: known) == .renew)
        #expect(step(age: 0, signer: unknown) == .wait(until: seconds(1)))
        #expect(step(age: 1, isDistrusted: true, signer: known) == .renew)
        #expect(step(age: 1, isDistrusted: true, signer: unknown) == .wait(until: seconds(1)))
    }

    @Test func `it is not waited for longer than the certificate is valid`() throws {
        let new = try authority("new", publishedFor: 0)
        #expect(step(age: 0, left: 60, signer: new) == .wait(until: seconds(60)))
        let never = try authority("new", publishedFor: nil)
        #expect(step(age: 0, left: 60, signer: never) == .wait(until: seconds(60)))
    }

    @Test func `whoever knows its authority knows that of the next one by the same`() throws {
        let same = try authority("old", publishedFor: 0)
        #expect(step(age: 0, signer: same) == .renew)
        // Another of a distrusted authority is no better, and would be made again and again.
        #expect(step(age: 1, isDistrusted: true, signer: same) == .keep)
    }

    @Test func `below a root it is waited until partners know the root, and no longer`() throws {
        let signer = try authority("new", below: "root", publishedFor: 0)
        let (known, unknown) = (
            root("root", publishedFor: 3600), root("root", publishedFor: 3599)
        )
        #expect(step(age: 0, signer: signer, among: [known]) == .renew)
        #expect(step(age: 0, signer: signer, among: [unknown]) == .wait(until: seconds(1)))
        // What an authority of the same age is known by is not what this one is known by.
        let aged = try authority("new", below: "root", publishedFor: 3600)
        #expect(step(age: 0, signer: aged, among: [unknown]) == .wait(until: seconds(1)))
        #expect(step(age: 0, left: 60, signer: aged) == .wait(until: seconds(60)))
    }

    @Test func `whoever knows the root knows every authority below it`() throws {
        let (signer, new) = (
            try authority("new", below: "root", publishedFor: 0), root("root", publishedFor: 0)
        )
        #expect(step(age: 1, below: "root", signer: signer, among: [new]) == .keep)
        #expect(step(age: 0, below: "root", signer: signer, among: [new]) == .renew)
        let distrusted = step(
            age: 1,
            isDistrusted: true,
            below: "root",
            signer: signer,
            among: [new]
        )
        #expect(distrusted == .renew)
        let other = step(age: 0, below: "another", signer: signer, among: [new])
        #expect(other == .wait(until: seconds(3600)))
    }

    @Test func `back from a root it is waited until partners know the authority itself`() throws {
        let unknown = try authority("new", publishedFor: 3599)
        let root = root("root", publishedFor: 86_400)
        let distrusted = step(
            age: 1,
            isDistrusted: true,
            below: "root",
            signer: unknown,
            among: [root]
        )
        #expect(distrusted == .wait(until: seconds(1)))
        let known = try authority("new", publishedFor: 3600)
        #expect(step(age: 0, below: "root", signer: known, among: [root]) == .renew)
    }

    @Test func `what is between a root and authorities, or was revoked, is known to nobody`() throws
    {
        let signer = try authority("new", below: "root", publishedFor: 3600)
        let between = UpstreamRecord(
            id: "root",
            kind: .intermediate,
            certificateDER: [],
            publishedAt: seconds(-3600),
            notAfter: seconds(86_400)
        )
        let revoked = UpstreamRecord(
            id: "root",
            kind: .root,
            certificateDER: [],
            publishedAt: seconds(-3600),
            notAfter: seconds(86_400),
            distrust: AuthorityDistrust(
                taintedAt: nil,
                revokedAt: Self.now,
                reason: "",
                actor: "test"
            )
        )
        for record in [between, revoked] {
            #expect(PublishedAnchor(of: signer, among: [record]).publishedAt == nil)
        }
    }
}
