// SPDX-License-Identifier: Apache-2.0

import Authorization
import FoundationEssentials
import SPIFFE
import Testing

struct AdminAccessTests {
    static let now = Date(timeIntervalSince1970: 1_800_000_000)
    static let later = now.addingTimeInterval(60)
    static let root = Actor.localUser(uid: 0, host: "a")
    static let entry = "RegistrationEntry"

    /// alice reads everywhere; the deployer registers below /payments in its namespace; bob is an
    /// admin of namespace payments until `later`; carol may ban nodes below one path.
    static func access() throws -> AdminAccess {
        let reader = AdminRole(
            reference: .init(namespace: "signet-system", name: "reader"),
            rules: [
                AdminRule(verbs: [.auditRead], kinds: .only([])),
                AdminRule(verbs: [.get, .list], kinds: .only([entry, "Namespace"])),
            ]
        )
        let registrar = AdminRole(
            reference: .init(namespace: "payments", name: "registrar"),
            rules: [
                AdminRule(
                    verbs: [.apply, .get],
                    kinds: .only([entry]),
                    spiffeIDPrefixes: [try SPIFFEID("spiffe://example.org/payments")]
                )
            ]
        )
        let banner = AdminRole(
            reference: .init(namespace: "signet-system", name: "banner"),
            rules: [
                AdminRule(
                    verbs: [.nodeBan],
                    kinds: .only([]),
                    spiffeIDPrefixes: [try SPIFFEID("spiffe://example.org/signet/agent")]
                )
            ]
        )
        return AdminAccess(
            roles: [reader, registrar, banner],
            bindings: [
                .builtInAdmins([.localUser(uid: 0, host: nil)]),
                try binding("signet-system", reader.reference, ["spiffe://example.org/alice"]),
                try binding("payments", registrar.reference, ["spiffe://example.org/deployer"]),
                try binding("payments", .builtInAdmin, ["spiffe://example.org/bob"], later),
                try binding("signet-system", banner.reference, ["uid:7@a"]),
                // A role of a foreign namespace and a role that is not there give nothing.
                try binding("other", registrar.reference, ["spiffe://example.org/mallory"]),
                try binding(
                    "other",
                    .init(namespace: "other", name: "admin"),
                    ["spiffe://example.org/mallory"]
                ),
            ]
        )
    }

    static func binding(
        _ namespace: String,
        _ role: AdminRoleReference,
        _ subjects: [String],
        _ expires: Date? = nil
    ) throws -> AdminBinding {
        AdminBinding(
            namespace: namespace,
            name: "b",
            role: role,
            subjects: try subjects.map { try ActorPattern($0) },
            expires: expires
        )
    }

    static func person(_ name: String) throws -> Actor {
        .spiffe(try SPIFFEID("spiffe://example.org/\(name)"))
    }

    struct Case: Sendable, CustomTestStringConvertible {
        let who: String
        let verb: AdminVerb
        let kind: String
        let namespace: String
        let id: String?
        let isAllowed: Bool

        init(
            _ who: String,
            _ verb: AdminVerb,
            _ kind: String = "",
            in namespace: String = "",
            id: String? = nil,
            _ isAllowed: Bool
        ) {
            self.who = who
            self.verb = verb
            self.kind = kind
            self.namespace = namespace
            self.id = id.map { "spiffe://example.org/" + $0 }
            self.isAllowed = isAllowed
        }

        var testDescription: String { "\(who) \(verb) \(kind) \(namespace) \(id ?? "")" }
    }

    static let cases: [Case] = [
        .init("alice", .get, entry, in: "payments", id: "payments/web", true),
        .init("alice", .get, entry, in: "payments", true),
        .init("alice", .list, "Namespace", true),
        .init("alice", .get, "Role", in: "payments", false),
        .init("alice", .apply, entry, in: "payments", id: "payments/web", false),
        .init("alice", .auditRead, "", true),
        .init("alice", .nodeList, "", false),

        // Who is an admin of one namespace lets no server be anybody.
        .init("bob", .authorityDownstream, "", false),
        .init("alice", .authorityDownstream, "", false),

        .init("deployer", .apply, entry, in: "payments", id: "payments", true),
        .init("deployer", .apply, entry, in: "payments", id: "payments/web", true),
        .init("deployer", .apply, entry, in: "payments", id: "payments/{unix.user}", true),
        .init("deployer", .apply, entry, in: "payments", id: "paymentsx/web", false),
        .init("deployer", .apply, entry, in: "payments", id: "payments{unix.user}/web", false),
        .init("deployer", .apply, entry, in: "payments", id: "{unix.user}/web", false),
        .init("deployer", .apply, entry, in: "payments", false),
        .init("deployer", .apply, entry, in: "default", id: "payments/web", false),
        .init("deployer", .delete, entry, in: "payments", id: "payments/web", false),

        .init("bob", .apply, "Role", in: "payments", true),
        .init("bob", .delete, entry, in: "payments", id: "payments/web", true),
        .init("bob", .apply, entry, in: "payments", id: "payments/web", false),
        .init("bob", .apply, entry, in: "payments", false),
        .init("bob", .apply, "Role", in: "signet-system", false),
        .init("bob", .apply, "Namespace", false),
        .init("bob", .nodeBan, id: "signet/agent/web-1", false),
        .init("bob", .auditRead, "", false),

        .init("mallory", .get, entry, in: "other", id: "payments/web", false),
        .init("mallory", .get, entry, in: "payments", id: "payments/web", false),
        .init("deployer/x", .apply, entry, in: "payments", id: "payments/web", false),
    ]

    @Test(arguments: cases)
    func `a request is allowed by a rule that reaches it and by nothing else`(
        test: Case
    ) throws {
        let request = AdminRequest(
            actor: try Self.person(test.who),
            verb: test.verb,
            kind: test.kind,
            namespace: test.namespace,
            spiffeID: test.id
        )
        let decision = try Self.access().allows(request, now: Self.now)
        switch decision {
        case .allowed(let grant):
            #expect(test.isAllowed, "\(grant)")
            #expect(grant.request == request)
        case .denied(let denial): #expect(!test.isAllowed, "\(denial)")
        }
    }

    @Test(arguments: AdminVerb.allCases)
    func `the built-in admin may do everything, to kinds not known yet too`(
        verb: AdminVerb
    ) throws {
        let request = AdminRequest(actor: Self.root, verb: verb, kind: "Later", namespace: "x")
        guard case .allowed = try Self.access().allows(request, now: Self.now) else {
            Issue.record("\(verb) was denied")
            return
        }
    }

    @Test func `a document cannot replace the built-in role`() throws {
        let empty = AdminRole(reference: .builtInAdmin, rules: [])
        let access = AdminAccess(
            roles: [empty],
            bindings: [.builtInAdmins([.localUser(uid: 0, host: nil)])]
        )
        let request = AdminRequest(actor: Self.root, verb: .auditRead)
        guard case .allowed = access.allows(request, now: Self.now) else {
            Issue.record("the role was replaced")
            return
        }
    }

    @Test func `a uid on one host is nobody on another`() throws {
        let access = try Self.access()
        let agent = "spiffe://example.org/signet/agent/web-1"
        func decision(_ host: String) -> AccessDecision {
            access.allows(
                AdminRequest(
                    actor: .localUser(uid: 7, host: host),
                    verb: .nodeBan,
                    spiffeID: agent
                ),
                now: Self.now
            )
        }
        guard case .allowed(let grant) = decision("a"), case .denied(let denial) = decision("b")
        else {
            Issue.record("wrong decision")
            return
        }
        #expect(
            grant.description == "uid:7@a node.ban for \(agent): rule 0 of Role "
                + "signet-system/banner, given by RoleBinding signet-system/b"
        )
        #expect(denial.reason == .noBinding)
        #expect(
            denial.description
                == "not allowed: uid:7@b node.ban for \(agent): no RoleBinding names it"
        )
    }

    @Test func `a binding grants up to its end and not at it`() throws {
        let access = try Self.access()
        let request = AdminRequest(
            actor: try Self.person("bob"),
            verb: .get,
            kind: Self.entry,
            namespace: "payments"
        )
        let justBefore = Self.later.addingTimeInterval(-0.001)
        guard case .allowed = access.allows(request, now: justBefore) else {
            Issue.record("it ended too early")
            return
        }
        let denial = AccessDenial.Reason.bindingsExpired(["payments/b"])
        guard case .denied(let found) = access.allows(request, now: Self.later) else {
            Issue.record("it did not end")
            return
        }
        #expect(found.reason == denial)
    }

    @Test func `agents, people and parts of Signet are nobody`() throws {
        let access = try Self.access()
        let agent = try SPIFFEID("spiffe://example.org/signet/agent/web-1")
        let actors: [Actor] = [
            .spiffe(agent), .system("rotation"), .person(issuer: "i", subject: "alice"),
        ]
        for actor in actors {
            let request = AdminRequest(actor: actor, verb: .bundleShow)
            guard case .denied(let denial) = access.allows(request, now: Self.now) else {
                Issue.record("\(actor) was allowed")
                continue
            }
            #expect(denial.reason == .noBinding)
        }
    }

    @Test func `who has no right of a kind at all is told from who has one somewhere`() throws {
        let access = try Self.access()
        func lacks(
            _ id: String,
            _ verb: AdminVerb?,
            _ kind: String? = nil,
            _ namespace: String? = nil,
            at now: Date = Self.now
        ) throws -> Bool {
            let actor = Actor.spiffe(try SPIFFEID("spiffe://example.org/\(id)"))
            return access.lacksAll(actor, verb, kind: kind, namespace: namespace, now: now) != nil
        }
        #expect(try !lacks("deployer", .apply))
        #expect(try !lacks("deployer", .apply, Self.entry, "payments"))
        #expect(try lacks("deployer", .apply, Self.entry, "default"))
        #expect(try lacks("deployer", .apply, "Role"))
        #expect(try lacks("deployer", .delete))
        #expect(try !lacks("alice", .list, Self.entry, "anywhere"))
        #expect(try lacks("nobody", nil))
        #expect(try !lacks("bob", nil))
        #expect(try lacks("bob", nil, at: Self.later))
    }
}
