// SPDX-License-Identifier: Apache-2.0

import CAServer
import FoundationEssentials
import Issuance
import Testing

/// When the bundle endpoint shows another certificate (docs/decisions/0021-federation.md).
@Suite struct EndpointRenewalTests {
    private static let now = Date(timeIntervalSince1970: 1_800_000_000)
    private static let hold: Duration = .seconds(3600)

    private func seconds(_ seconds: TimeInterval) -> Date {
        Self.now.addingTimeInterval(seconds)
    }

    private func authority(_ id: String, publishedFor age: TimeInterval?) -> Authority {
        Authority(
            id: id,
            serverID: "one",
            state: .active,
            certificateDER: [],
            tokenKeySPKI: nil,
            publishedAt: age.map { seconds(-$0) },
            activatedAt: nil,
            lastSVIDNotAfter: nil,
            notBefore: seconds(-86_400),
            notAfter: seconds(86_400)
        )
    }

    private func step(
        age renewIn: TimeInterval,
        begins: TimeInterval = -60,
        left: TimeInterval = 7200,
        isDistrusted: Bool = false,
        signer: Authority
    ) -> EndpointRenewal.Step {
        EndpointRenewal.step(
            present: EndpointRenewal(
                authorityID: "old",
                renewAt: seconds(renewIn),
                notBefore: seconds(begins),
                notAfter: seconds(left)
            ),
            isDistrusted: isDistrusted,
            signer: signer,
            hold: Self.hold,
            now: Self.now
        )
    }

    @Test func `the first one is made at once, and one that is past replaced`() {
        let new = authority("new", publishedFor: 0)
        let first = EndpointRenewal.step(
            present: nil,
            isDistrusted: false,
            signer: new,
            hold: Self.hold,
            now: Self.now
        )
        #expect(first == .renew)
        #expect(step(age: -100, left: 0, signer: new) == .renew)
    }

    @Test func `one of a clock that was ahead is replaced at once`() {
        // By accept-clock its authority is revoked, and nobody takes what begins later.
        let new = authority("new", publishedFor: 0)
        #expect(step(age: 3600, begins: 1, isDistrusted: true, signer: new) == .renew)
        #expect(step(age: 3600, begins: 1, signer: new) == .renew)
        #expect(step(age: 3600, begins: 0, signer: new) == .keep)
    }

    @Test func `it is kept until half its life, and longer if nobody knows the next authority`() {
        let known = authority("new", publishedFor: 3600)
        let unknown = authority("new", publishedFor: 3599)
        #expect(step(age: 1, signer: known) == .keep)
        #expect(step(age: 0, signer: known) == .renew)
        #expect(step(age: 0, signer: unknown) == .wait(until: seconds(1)))
        #expect(step(age: 1, isDistrusted: true, signer: known) == .renew)
        #expect(step(age: 1, isDistrusted: true, signer: unknown) == .wait(until: seconds(1)))
    }

    @Test func `it is not waited for longer than the certificate is valid`() {
        let new = authority("new", publishedFor: 0)
        #expect(step(age: 0, left: 60, signer: new) == .wait(until: seconds(60)))
        let never = authority("new", publishedFor: nil)
        #expect(step(age: 0, left: 60, signer: never) == .wait(until: seconds(60)))
    }

    @Test func `whoever knows its authority knows that of the next one by the same`() {
        let same = authority("old", publishedFor: 0)
        #expect(step(age: 0, signer: same) == .renew)
        // Another of a distrusted authority is no better, and would be made again and again.
        #expect(step(age: 1, isDistrusted: true, signer: same) == .keep)
    }
}
