// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import Issuance
import SPIFFE
import Testing

/// Each rule of approval has a request that breaks only this rule.
struct ApprovalTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let refusal: IssuanceRefusal
        var id = "spiffe://example.org/web"
        var workload: [String: String] = [:]
        var after: TimeInterval = 0
        let entry: @Sendable () throws -> RegistrationEntry

        init(
            _ testDescription: String,
            _ refusal: IssuanceRefusal,
            id: String = "spiffe://example.org/web",
            workload: [String: String] = [:],
            after: TimeInterval = 0,
            entry: @escaping @Sendable () throws -> RegistrationEntry = { try Workshop.entry() }
        ) {
            self.testDescription = testDescription
            self.refusal = refusal
            self.id = id
            self.workload = workload
            self.after = after
            self.entry = entry
        }
    }

    static let refused: [Case] = [
        Case("an entry that expires now", .entryExpired) {
            try Workshop.entry(expires: Workshop.now)
        },
        Case("an entry with less than ten seconds left", .entryExpired) {
            try Workshop.entry(expires: Workshop.now.addingTimeInterval(9.9))
        },
        Case("a node without the selector", .nodeOutsideEntry) {
            try Workshop.entry(nodeSelectors: ["role:db"])
        },
        Case("a node with one of two selectors", .nodeOutsideEntry) {
            try Workshop.entry(nodeSelectors: ["role:web", "zone:b"])
        },
        Case("an entry without node selectors", .nodeOutsideEntry) {
            try Workshop.entry(nodeSelectors: [])
        },
        Case("an ID of another trust domain", .trustDomainDiffers, id: "spiffe://example.com/web"),
        Case("an ID without path", .idWithoutPath, id: "spiffe://example.org"),
        Case("a reserved ID", .idReserved, id: "spiffe://example.org/signet/server/a") {
            try Workshop.entry("spiffe://example.org/signet/server/a")
        },
        Case("an entry for a reserved ID", .idTemplate(.reserved)) {
            try Workshop.entry("spiffe://example.org/signet/agent/x")
        },
        Case("an entry of another trust domain", .idTemplate(.trustDomainForeign)) {
            try Workshop.entry("spiffe://example.com/web")
        },
        Case(
            "a workload value outside its bound",
            .idTemplate(.valueOutOfBounds("unix.user")),
            id: "spiffe://example.org/u/eve",
            workload: ["unix.user": "eve"]
        ) {
            try Workshop.entry(
                "spiffe://example.org/u/{unix.user}",
                bounds: ["unix.user": .values(["alice"])]
            )
        },
        Case(
            "a workload variable without bound",
            .idTemplate(.boundMissing("unix.user")),
            id: "spiffe://example.org/u/eve",
            workload: ["unix.user": "eve"]
        ) { try Workshop.entry("spiffe://example.org/u/{unix.user}") },
        Case("33 DNS names", .dnsNamesTooMany(33)) {
            try Workshop.entry(dnsNames: (0..<33).map { "w\($0).example.org" })
        },
        Case("a DNS name twice", .dnsNameTwice("a.example")) {
            try Workshop.entry(dnsNames: ["a.example", "a.example"])
        },
        Case("a lifetime of nine seconds", .lifetimeTooShort) {
            try Workshop.entry(lifetimeSeconds: 9)
        },
        Case("a negative lifetime", .lifetimeTooShort) {
            try Workshop.entry(lifetimeSeconds: -3600)
        },
        Case("a lifetime above the limit", .lifetimeTooLong) {
            try Workshop.entry(lifetimeSeconds: 4 * 3600 + 1)
        },
        Case("the greatest lifetime a number can hold", .lifetimeTooLong) {
            try Workshop.entry(lifetimeSeconds: .max)
        },
        Case(
            "an authority with a second less than the lifetime",
            .authorityExpiresTooSoon,
            after: 24 * 3600 - 3599
        ),
        Case("an authority that has expired", .authorityExpiresTooSoon, after: 25 * 3600),
        Case("an authority from the future", .authorityNotYetValid, after: -61),
        Case("a clock after the year 9999", .clockOutOfRange, after: 1e15),
        Case("a clock before 1970", .clockOutOfRange, after: -1e15),
        Case("a clock that is no number", .clockOutOfRange, after: .nan),
    ]

    @Test(arguments: refused)
    func `a request that breaks one rule is refused by its name`(_ refused: Case) throws {
        let workshop = try Workshop()
        let request = try Workshop.request()
        let entry = try refused.entry()
        let id = try SPIFFEID(refused.id)
        #expect(throws: refused.refusal) {
            _ = try workshop.issuer.approve(
                request,
                entry: entry,
                claiming: id,
                node: workshop.node,
                workload: refused.workload,
                now: Workshop.now.addingTimeInterval(refused.after)
            )
        }
    }

    @Test func `an ID other than the entry's is refused and the entry's is named`() throws {
        let workshop = try Workshop()
        let request = try Workshop.request()
        let entry = try Workshop.entry("spiffe://example.org/on/{node.name}")
        let claimed = try SPIFFEID("spiffe://example.org/on/web-2")
        let resolved = try SPIFFEID("spiffe://example.org/on/web-1")
        #expect(throws: IssuanceRefusal.idDiffersFromEntry(resolved: resolved)) {
            _ = try workshop.issuer.approve(
                request,
                entry: entry,
                claiming: claimed,
                node: workshop.node,
                now: Workshop.now
            )
        }
        let warrant = try workshop.issuer.approve(
            request,
            entry: entry,
            claiming: resolved,
            node: workshop.node,
            now: Workshop.now
        )
        #expect(warrant.id == resolved)
        #expect(warrant.entry == EntryReference(id: "entry-1", revision: 7))
    }

    @Test(arguments: [
        "", ".", "a.", ".a", "a..b", "*.example.org", "A.example", "a_b.example", "-a.example",
        "a-.example", "10.0.0.1", "1", "bücher.example", "a b", "a.example\u{0}", "::1",
        String(repeating: "a", count: 64) + ".example",
        String(repeating: "abcd.", count: 50) + "abcd",
    ])
    func `a malformed DNS name is refused`(name: String) throws {
        let workshop = try Workshop()
        let request = try Workshop.request()
        let entry = try Workshop.entry(dnsNames: ["ok.example", name])
        let id = try SPIFFEID(entry.spiffeID)
        #expect(throws: IssuanceRefusal.dnsNameMalformed(name)) {
            _ = try workshop.issuer.approve(
                request,
                entry: entry,
                claiming: id,
                node: workshop.node,
                now: Workshop.now
            )
        }
    }

    @Test(arguments: [
        "localhost", "a", "a.b", "1a.example", "xn--bcher-kva.example", "1.2.3.a",
        String(repeating: "a", count: 63) + ".example",
        String(repeating: "abcd.", count: 49) + "abcd1234",
    ])
    func `a well-formed DNS name stands in the certificate`(name: String) throws {
        let workshop = try Workshop()
        let issued = try workshop.issue(
            workshop.issuer.approve(
                Workshop.request(),
                entry: Workshop.entry(dnsNames: [name]),
                claiming: SPIFFEID("spiffe://example.org/web"),
                node: workshop.node,
                now: Workshop.now
            )
        )
        #expect(try LeafCertificate(der: issued.der).dnsNames == [name])
    }

    @Test(arguments: ["", ".", "..", "a/b", "ä", "a b", String(repeating: "a", count: 254)])
    func `an agent or server without a proper name is refused`(name: String) throws {
        let workshop = try Workshop()
        let request = try Workshop.request()
        #expect(throws: IssuanceRefusal.nameMalformed) {
            _ = try workshop.issuer.approveAgent(request, name: name, now: Workshop.now)
        }
        #expect(throws: IssuanceRefusal.nameMalformed) {
            _ = try workshop.issuer.approveServer(request, serverID: name, now: Workshop.now)
        }
    }

    @Test func `the bundle endpoint has one ID, a server's lifetime and no server's standing`()
        throws
    {
        let workshop = try Workshop()
        let request = try Workshop.request()
        let issued = try workshop.issue(
            workshop.issuer.approveBundleEndpoint(request, now: Workshop.now)
        )
        let server = try workshop.issue(
            workshop.issuer.approveServer(request, serverID: "s", now: Workshop.now)
        )
        #expect(issued.prepared.role == .bundleEndpoint)
        #expect(issued.prepared.notAfter == server.prepared.notAfter)
        let id = try LeafCertificate(der: issued.der).checkSVIDRules()
        #expect(id.description == "spiffe://example.org/signet/bundle")
        #expect(id.serverID(in: id.trustDomain) == nil && id.agentName(in: id.trustDomain) == nil)
        #expect(server.prepared.id.serverID(in: id.trustDomain) == "s")
    }

    @Test func `the key of the authority itself is certified for nobody`() throws {
        let workshop = try Workshop()
        let request = try Workshop.request(1)
        #expect(throws: IssuanceRefusal.keyOfAuthority) {
            _ = try workshop.issuer.approveAgent(request, name: "a", now: Workshop.now)
        }
    }

    @Test func `an agent's certificate is cut at the authority's end only if asked`() throws {
        let workshop = try Workshop()
        let request = try Workshop.request()
        let late = workshop.authority.notAfter.addingTimeInterval(-600)
        #expect(throws: IssuanceRefusal.authorityExpiresTooSoon) {
            _ = try workshop.issuer.approveAgent(request, name: "a", now: late)
        }
        let cut = try workshop.issue(
            workshop.issuer.approveAgent(request, name: "a", atAuthorityEnd: .cut, now: late)
        )
        #expect(cut.prepared.notAfter == workshop.authority.notAfter)
        let tooLate = workshop.authority.notAfter.addingTimeInterval(-9)
        #expect(throws: IssuanceRefusal.authorityExpiresTooSoon) {
            _ = try workshop.issuer.approveServer(
                request,
                serverID: "s",
                atAuthorityEnd: .cut,
                now: tooLate
            )
        }
    }

    @Test func `a workload's certificate ends with its entry`() throws {
        let workshop = try Workshop()
        let expires = Workshop.now.addingTimeInterval(100.7)
        let issued = try workshop.issue(
            workshop.issuer.approve(
                Workshop.request(),
                entry: Workshop.entry(expires: expires),
                claiming: SPIFFEID("spiffe://example.org/web"),
                node: workshop.node,
                now: Workshop.now
            )
        )
        #expect(issued.prepared.notAfter == Workshop.now.addingTimeInterval(100))
    }

    @Test func `only an active authority of this trust domain makes an issuer`() throws {
        let workshop = try Workshop()
        let foreign = try TrustDomain("example.com")
        var authority = workshop.authority
        #expect(throws: AuthorityError.trustDomainDiffers) {
            try Issuer(trustDomain: foreign, lifetimes: .standard, authority: authority)
        }
        for state in [Authority.State.prepared, .old] {
            authority.state = state
            #expect(throws: AuthorityError.notActive) {
                try Issuer(
                    trustDomain: workshop.trustDomain,
                    lifetimes: .standard,
                    authority: authority
                )
            }
        }
        let longer = Authority(
            id: authority.id,
            serverID: authority.serverID,
            state: .active,
            certificateDER: authority.certificateDER,
            notBefore: authority.notBefore,
            notAfter: authority.notAfter.addingTimeInterval(1)
        )
        #expect(throws: AuthorityError.recordDiffers) {
            try Issuer(
                trustDomain: workshop.trustDomain,
                lifetimes: .standard,
                authority: longer
            )
        }
    }
}
