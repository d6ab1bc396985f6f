// SPDX-License-Identifier: Apache-2.0

import Authorization
import FoundationEssentials
import SPIFFE
import Testing

/// Nobody grants what he does not hold.
struct AdminEscalationTests {
    private static let now = AdminAccessTests.now
    private static let entry = AdminAccessTests.entry

    private static func role(
        _ verbs: Set<AdminVerb>,
        _ kinds: Set<String> = [],
        in namespace: String = "payments",
        namespaces: Set<String>? = nil,
        prefixes: [String]? = nil
    ) throws -> AdminRole {
        let rule = AdminRule(
            verbs: verbs,
            kinds: .only(kinds),
            namespaces: namespaces,
            spiffeIDPrefixes: try prefixes.map { texts in
                Set(try texts.map { try SPIFFEID("spiffe://example.org/" + $0) })
            }
        )
        return AdminRole(reference: .init(namespace: namespace, name: "new"), rules: [rule])
    }

    private func escalation(writing role: AdminRole, as who: String) throws -> AdminEscalation? {
        try AdminAccessTests.access()
            .escalation(by: AdminAccessTests.person(who), writing: role, now: Self.now)
    }

    @Test func `a holder may write a role within his own rule`() throws {
        let paths = ["payments/a", "payments/b"]
        let narrower = try Self.role([.apply], [Self.entry], prefixes: paths)
        #expect(try escalation(writing: narrower, as: "deployer") == nil)
        let anywhere = try Self.role([.get], [Self.entry], in: "signet-system")
        #expect(try escalation(writing: anywhere, as: "alice") == nil)
    }

    @Test func `a role outside his own rule is refused and named`() throws {
        let wider: [AdminRole] = [
            try Self.role([.apply], [Self.entry]),
            try Self.role([.apply], [Self.entry], prefixes: ["payments", "paymentsx"]),
            try Self.role([.delete], [Self.entry], prefixes: ["payments"]),
            try Self.role([.apply], ["Role"], prefixes: ["payments"]),
            try Self.role([.apply], [Self.entry], in: "other", prefixes: ["payments"]),
            try Self.role([.apply], [Self.entry], in: "signet-system", prefixes: ["payments"]),
            try Self.role([.auditRead]),
        ]
        for role in wider {
            let found = try #require(try escalation(writing: role, as: "deployer"))
            #expect(found.role == role.reference)
            #expect(found.rule == 0)
        }
        let found = try #require(try escalation(writing: wider[0], as: "deployer"))
        #expect(
            found.description == "spiffe://example.org/deployer would grant apply "
                + "RegistrationEntry (rule 0 of Role payments/new), which no single rule that it "
                + "holds covers in reach and in time"
        )
    }

    @Test func `rights with an end do not make a role, which has none`() throws {
        let role = try Self.role([.get], [Self.entry])
        #expect(try escalation(writing: role, as: "bob") != nil)
    }

    @Test func `rights with an end make a binding that ends no later`() throws {
        let access = try AdminAccessTests.access()
        let bob = try AdminAccessTests.person("bob")
        let later = AdminAccessTests.later
        func escalation(in namespace: String, until end: Date?) throws -> AdminEscalation? {
            let binding = try AdminAccessTests.binding(
                namespace,
                .builtInAdmin,
                ["spiffe://example.org/eve"],
                end
            )
            return access.escalation(by: bob, writing: binding, role: .builtInAdmin, now: Self.now)
        }
        #expect(try escalation(in: "payments", until: later) == nil)
        #expect(try escalation(in: "payments", until: later.addingTimeInterval(1)) != nil)
        #expect(try escalation(in: "payments", until: nil) != nil)
        #expect(try escalation(in: "signet-system", until: later) != nil)
        // A binding that is over grants nothing to anybody.
        #expect(try escalation(in: "signet-system", until: Self.now) == nil)
    }

    @Test func `an admin of a namespace does not give himself the right to register`() throws {
        let access = try AdminAccessTests.access()
        let role = try Self.role([.apply], [Self.entry], prefixes: ["payments"])
        let binding = try AdminAccessTests.binding(
            "payments",
            role.reference,
            ["spiffe://example.org/bob"],
            AdminAccessTests.later
        )
        let bob = try AdminAccessTests.person("bob")
        let found = access.escalation(by: bob, writing: binding, role: role, now: Self.now)
        #expect(found?.verb == .apply)
    }

    @Test func `a binding needs every rule of its role, whoever wrote the role`() throws {
        let access = try AdminAccessTests.access()
        let deployer = try AdminAccessTests.person("deployer")
        let own = try Self.role([.apply], [Self.entry], prefixes: ["payments"])
        let more = AdminRole(
            reference: own.reference,
            rules: own.rules + (try Self.role([.delete], [Self.entry])).rules
        )
        let binding = try AdminAccessTests.binding("payments", own.reference, ["uid:9"])
        let held = access.escalation(by: deployer, writing: binding, role: own, now: Self.now)
        #expect(held == nil)
        let found = access.escalation(by: deployer, writing: binding, role: more, now: Self.now)
        #expect(found?.rule == 1)
        #expect(found?.binding == "payments/b")
        let dangling = access.escalation(by: deployer, writing: binding, role: nil, now: Self.now)
        #expect(dangling == nil)
    }

    @Test(arguments: [
        ("deployer", "payments/web", true),
        ("deployer", "deployer", true),
        ("deployer", "bob", false),
        ("deployer", "alice", false),
        ("deployer", "{unix.user}", false),
        ("deployer", "al{unix.user}", false),
        ("deployer", "{unix.user}ice", false),
        ("deployer", "b{unix.user}x", true),
        ("deployer", "people/{unix.user}", true),
        ("alice", "alice", true),
        ("mallory", "deployer", false),
    ])
    func `nobody registers a workload as an admin with other rights than his own`(
        who: String,
        path: String,
        isAllowed: Bool
    ) throws {
        let found = try AdminAccessTests.access().escalation(
            by: try AdminAccessTests.person(who),
            registering: "spiffe://example.org/\(path)",
            now: Self.now
        )
        #expect((found == nil) == isAllowed, "\(found.map(\.description) ?? "no escalation")")
    }

    @Test func `subjects count whatever their binding gives, and local users are none`() throws {
        let nothing = AdminRoleReference(namespace: "payments", name: "unwritten")
        let bindings = [
            try AdminAccessTests.binding(
                "payments",
                nothing,
                ["uid:5", "spiffe://example.org/a", "spiffe://example.org/b"]
            ),
            try AdminAccessTests.binding("other", .builtInAdmin, ["spiffe://example.org/a"]),
        ]
        let access = AdminAccess(roles: [], bindings: bindings)
        #expect(access.subjectIDs == ["spiffe://example.org/a", "spiffe://example.org/b"])
    }

    @Test(arguments: [
        ("a", true), ("{x}", true), ("a{x}", true), ("{x}a", true), ("b{x}", false),
        ("{x}b", false), ("{x}/a", false), ("aa{x}", false),
    ])
    func `a variable stands for any text without a slash`(path: String, isPossible: Bool) {
        let template = "spiffe://example.org/\(path)"
        let id = "spiffe://example.org/a"
        #expect(AdminAccess.template(template, mayBecome: id) == isPossible)
    }

    @Test func `the built-in admin may grant everything`() throws {
        let access = try AdminAccessTests.access()
        let root = AdminAccessTests.root
        let binding = try AdminAccessTests.binding("signet-system", .builtInAdmin, ["uid:5"])
        let admin = AdminRole.builtInAdmin
        let found = access.escalation(by: root, writing: binding, role: admin, now: Self.now)
        #expect(found == nil)
        #expect(access.escalation(by: root, writing: .builtInAdmin, now: Self.now) == nil)
        let id = "spiffe://example.org/{unix.user}"
        #expect(access.escalation(by: root, registering: id, now: Self.now) == nil)
    }
}
