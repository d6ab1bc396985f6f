// SPDX-License-Identifier: Apache-2.0

import ControlAPI
import NodeAgent
import SPIFFE
import TestPKI
import Testing

/// What a server below is told of what is above, and when its stream ends.
@Suite struct DownstreamTrustTests {
    private let root: TestAuthority
    private let sibling = [UInt8](repeating: 7, count: 20)

    init() throws { root = try TestAuthority.root("example.org") }

    private func bundle(_ authorities: [[UInt8]]) -> TrustBundle {
        TrustBundle(
            trustDomain: root.trustDomain,
            x509Authorities: authorities,
            x509Intermediates: [],
            sequenceNumber: 1,
            refreshHintSeconds: 300
        )
    }

    private func view(
        _ authorities: [[UInt8]]? = nil,
        revoked: Set<[UInt8]> = [],
        _ standing: DownstreamStanding = .entry("entry-below")
    ) -> DownstreamView {
        DownstreamView(
            standing: standing,
            bundle: bundle(authorities ?? [root.der]),
            revoked: revoked
        )
    }

    private func trust(
        _ authorities: [[UInt8]],
        revoked: Set<[UInt8]> = []
    ) -> Result<DownstreamTrust, DownstreamRefusal> {
        Result { () throws(DownstreamRefusal) in
            try DownstreamTrust(of: bundle(authorities), revoked: revoked)
        }
    }

    private func keyID(_ der: [UInt8]) throws -> [UInt8] {
        try LeafCertificate(der: der).keyIdentifier.bytes
    }

    @Test func `roots that may have authorities below are told, with what is revoked, sorted`()
        throws
    {
        let own = try TestAuthority.root("example.org") { $0.certifyLeavesAlone() }
        let first = [UInt8](repeating: 1, count: 20)
        let told = try trust([own.der, root.der], revoked: [sibling, first, [1, 2]]).get()
        #expect(told.roots == [root.der])
        #expect(told.revokedKeyIDs == [first, sibling])
    }

    @Test func `a revoked root is told as revoked alone`() throws {
        let gone = try TestAuthority.root("example.org")
        let id = try keyID(gone.der)
        let told = try trust([gone.der, root.der], revoked: [id]).get()
        #expect(told.roots == [root.der] && told.revokedKeyIDs == [id])
    }

    @Test func `without a root there is nothing to tell`() throws {
        let own = try TestAuthority.root("example.org") { $0.certifyLeavesAlone() }
        #expect(trust([]) == .failure(.noRoot))
        #expect(trust([own.der]) == .failure(.noRoot))
    }

    @Test func `what is too much is refused and never cut`() throws {
        let roots = try (0..<32).map { _ in try TestAuthority.root("example.org").der }
        #expect(try trust(roots).get().roots.count == 32)
        #expect(trust(roots + [root.der]) == .failure(.tooMuch("the bundle has 33 roots")))
        let ids = Set(
            (0..<4_096).map { number in
                (0..<20).map { UInt8(truncatingIfNeeded: number >> ($0 % 2 * 8)) }
            }
        )
        #expect(try trust([root.der], revoked: ids).get().revokedKeyIDs.count == 4_096)
        let more = ids.union([[UInt8](repeating: 0xFE, count: 19) + [1]])
        #expect(trust([root.der], revoked: more) == .failure(.tooMuch("4097 keys are revoked")))
    }

    @Test func `a stream tells what is there at once, and later what is new`() throws {
        var watch = DownstreamWatch(pid: 1)
        let first = try trust([root.der]).get()
        #expect(watch.next(view()) == .tell(first, then: nil))
        #expect(watch.next(view()) == .nothing)
        let second = try trust([root.der], revoked: [sibling]).get()
        #expect(watch.next(view(revoked: [sibling])) == .tell(second, then: nil))
        // That somebody else changed is no news.
        let own = try TestAuthority.root("example.org") { $0.certifyLeavesAlone() }
        #expect(watch.next(view([root.der, own.der], revoked: [sibling])) == .nothing)
    }

    @Test func `a stream ends when no entry, or more than one, means its process`() {
        for (standing, refusal) in [
            (DownstreamStanding.none, DownstreamRefusal.notDownstream(pid: 4)),
            (.several(2), .severalEntries(2, pid: 4)),
        ] {
            var watch = DownstreamWatch(pid: 4)
            #expect(watch.next(view()) != .end(refusal))
            #expect(watch.next(view(nil, revoked: [], standing)) == .end(refusal))
            #expect(refusal.error.kind == .permissionDenied)
            #expect(refusal.error.message.contains("--pid 4"))
        }
        var watch = DownstreamWatch(pid: 4)
        guard
            case .end(.unavailable(let error)) = watch.next(
                view(nil, revoked: [], .unknown("not yet"))
            )
        else {
            Issue.record("it was told something")
            return
        }
        #expect(error.kind == .unavailable && error.message == "not yet")
    }

    @Test func `the revocation that takes the last root is told before the stream ends`() throws {
        var watch = DownstreamWatch(pid: 1)
        _ = watch.next(view())
        let id = try keyID(root.der)
        let step = watch.next(view([], revoked: [id]))
        guard case .tell(let trust, then: .noRoot) = step else {
            Issue.record("\(step)")
            return
        }
        #expect(trust.roots == [root.der] && trust.revokedKeyIDs == [id])
        // A stream that begins now has nothing to begin with.
        var other = DownstreamWatch(pid: 1)
        #expect(other.next(view([], revoked: [id])) == .end(.noRoot))
        // One that leaves without being revoked is no news that could be told.
        var third = DownstreamWatch(pid: 1)
        _ = third.next(view())
        #expect(third.next(view([])) == .end(.noRoot))
    }

    @Test func `every refusal is a sentence that fits into the log of the server below`() {
        let refusals: [DownstreamRefusal] = [
            .answerRefused("it is for another key"), .entryChanged, .executableReplaced,
            .invalid(rule: "csrMalformed", "csr is no PKCS #10 request in DER"), .underWay, .noRoot,
            .notDownstream(pid: 4_194_304), .rate(retryAfter: .seconds(5)),
            .severalEntries(64, pid: 4_194_304), .tooMuch("4097 keys are revoked"), .watches,
        ]
        for refusal in refusals {
            let error = refusal.error
            #expect(error.message.utf8.count <= 200, "\(error)")
            #expect(!error.reason.isEmpty && !refusal.label.isEmpty)
        }
    }

    @Test func `what the server above says is told as its words`() {
        let banned = DownstreamRefusal.above(
            APIError(.permissionDenied, "entryUnknown", "no such entry")
        )
        #expect(banned.error.kind == .permissionDenied)
        #expect(banned.error.message == "the server above: no such entry [entryUnknown]")
        let older = DownstreamRefusal.above(
            APIError(.unimplemented, "transport", "unknown method")
        )
        #expect(older.error.kind == .failedPrecondition)
        #expect(older.error.message.contains("renew it"))
        let late = DownstreamRefusal.above(
            APIError(.unavailable, "transport", "deadline exceeded")
        )
        #expect(late.error.kind == .unavailable)
        #expect(late.error.message == "no answer of the server above: deadline exceeded")
    }
}
