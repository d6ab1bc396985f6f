// SPDX-License-Identifier: Apache-2.0

import Authorization
import Foundation
import PolicyDocuments
import SPIFFE
import Testing

struct RoleSpecTests {
    static let refused: [BadDocument] = [
        .rule(
            "a misspelt verb",
            "verbs: [node.bann]",
            "6:15: spec.rules[0].verbs[0]: the verb \"node.bann\" is unknown; did you mean "
                + "\"node.ban\"?"
        ),
        .rule(
            "a wildcard",
            "verbs: [\"*\"]",
            "6:15: spec.rules[0].verbs[0]: the verb \"*\" is unknown; write one of apply, "
                + "audit.read, authority.activate, authority.downstream, authority.prepare, "
                + "authority.revoke, authority.show, authority.taint, bundle.show, delete, "
                + "explain, get, list, node.ban, node.evict, node.list, revoke, "
                + "server.acceptClock, server.backup, server.recover, token.create"
        ),
        .rule(
            "verbs on documents without kinds",
            "verbs: [get]",
            "6:7: spec.rules[0].kinds is missing; list the kinds it is about"
        ),
        .rule(
            "an unknown kind",
            "{verbs: [get], kinds: [Roles]}",
            "6:30: spec.rules[0].kinds[0]: the kind \"Roles\" is unknown; did you mean \"Role\"?"
        ),
        .rule(
            "acts mixed with documents",
            "{verbs: [get, node.ban], kinds: [Role]}",
            "6:7: spec.rules[0] mixes verbs on documents with node.ban; write two rules"
        ),
        .rule(
            "acts on kinds",
            "{verbs: [node.ban], kinds: [Role]}",
            "6:34: spec.rules[0].kinds has no meaning for verbs that are not on documents; remove "
                + "it"
        ),
        .rule(
            "an act that concerns no ID",
            "{verbs: [node.list], spiffeIDPrefixes: [\"spiffe://a/b\"]}",
            "6:46: spec.rules[0].spiffeIDPrefixes never applies to node.list; write a rule of its "
                + "own for these verbs"
        ),
        .rule(
            "a prefix on kinds without ID",
            "{verbs: [get], kinds: [Role], spiffeIDPrefixes: [\"spiffe://a/b\"]}",
            "6:55: spec.rules[0].spiffeIDPrefixes narrows only RegistrationEntry; write a rule of "
                + "its own for RegistrationEntry"
        ),
        .rule(
            "a reserved prefix on entries",
            "{verbs: [get], kinds: [RegistrationEntry], "
                + "spiffeIDPrefixes: [\"spiffe://a/signet/b\"]}",
            "6:68: no RegistrationEntry lies below /signet/; remove the prefix"
        ),
        .rule(
            "a prefix with a slash at its end",
            "{verbs: [get], kinds: [RegistrationEntry], spiffeIDPrefixes: [\"spiffe://a/b/\"]}",
            "6:69: spec.rules[0].spiffeIDPrefixes[0]: \"spiffe://a/b/\" is not a SPIFFE ID; a path "
                + "does not end with \"/\""
        ),
        .rule(
            "namespaces for what lies in none",
            "{verbs: [get], kinds: [Namespace], namespaces: [a]}",
            "6:54: a Namespace document lies in no namespace, so this rule never applies to it; "
                + "write a rule of its own for Namespace, without namespaces"
        ),
        .rule(
            "namespaces for another kind that lies in none",
            "{verbs: [get], kinds: [Role, FederatedTrustDomain], namespaces: [a]}",
            "6:71: a FederatedTrustDomain document lies in no namespace, so this rule never applies "
                + "to it; write a rule of its own for FederatedTrustDomain, without namespaces"
        ),
        .rule(
            "an act in a namespace",
            in: "a",
            "verbs: [node.list]",
            "6:7: spec.rules[0] acts on the whole cluster, which a Role in namespace a never "
                + "reaches; put the Role in namespace signet-system"
        ),
        .rule(
            "registering anything in a namespace",
            in: "a",
            "{verbs: [apply], kinds: [RegistrationEntry]}",
            "6:7: spec.rules[0] would register any SPIFFE ID, which a Role in namespace a never "
                + "does; add spiffeIDPrefixes, in a rule of its own for RegistrationEntry"
        ),
        .rule(
            "another namespace in a namespace",
            in: "a",
            "{verbs: [get], kinds: [Role], namespaces: [b]}",
            "6:49: a Role in namespace a reaches that namespace only; remove "
                + "spec.rules[0].namespaces, or put the Role in namespace signet-system"
        ),
        .rule(
            "a cluster-wide kind in a namespace",
            in: "a",
            "{verbs: [get], kinds: [Namespace]}",
            "6:29: a Role in namespace a never reaches Namespace documents; put the Role in "
                + "namespace signet-system"
        ),
        .rule(
            "federation in a namespace",
            in: "a",
            "{verbs: [apply], kinds: [FederatedTrustDomain]}",
            "6:31: a Role in namespace a never reaches FederatedTrustDomain documents; put the Role "
                + "in namespace signet-system"
        ),
        .init(
            "the built-in role",
            """
            apiVersion: core.signet/v1alpha1
            kind: Role
            metadata: {name: admin, namespace: signet-system}
            spec: {rules: [{verbs: [explain]}]}
            """,
            "1:1: Role signet-system/admin is built in and cannot be written; choose another name"
        ),
        .binding(
            "a role of a third namespace",
            in: "a",
            "b/c",
            "uid:0",
            "5:9: spec.role: a RoleBinding in namespace a cannot give a Role of namespace b; use "
                + "a Role of namespace a or signet-system"
        ),
        .binding(
            "a role that is no name",
            "a/b/c",
            "uid:0",
            "5:9: spec.role: \"a/b/c\" is not the name of a Role; write a name, or "
                + "signet-system/name for a Role of the root namespace"
        ),
        .binding(
            "an agent as admin",
            "r",
            "spiffe://a/signet/agent/x",
            "7:7: spec.subjects[0]: \"spiffe://a/signet/agent/x\" is not a subject; an ID below "
                + "/signet/ belongs to Signet itself and is never an admin"
        ),
        .binding(
            "a name as subject",
            "r",
            "alice",
            "7:7: spec.subjects[0]: \"alice\" is not a subject; a subject is uid:<number>, "
                + "uid:<number>@<host> or a SPIFFE ID"
        ),
    ]

    @Test(arguments: refused)
    func `a wrong role or binding is refused with place and remedy`(bad: BadDocument) {
        expectOnlyProblem(of: bad)
    }

    @Test func `stored documents decide about the next`() throws {
        let text = """
            apiVersion: core.signet/v1alpha1
            kind: Role
            metadata: {name: registrar, namespace: payments}
            spec:
              rules:
                - verbs: [apply]
                  kinds: [RegistrationEntry]
                  spiffeIDPrefixes: ["spiffe://example.org/web"]
            ---
            apiVersion: core.signet/v1alpha1
            kind: RoleBinding
            metadata: {name: registrars, namespace: payments}
            spec: {role: registrar, subjects: ["uid:7"]}
            ---
            \(BadDocument.sampleEntry)
            """
        let documents = try Document.parse(Array(text.utf8), file: "f.yaml")
        let admin = Actor.localUser(uid: 0, host: "a")
        let registrar = Actor.localUser(uid: 7, host: "a")
        let access = AdminAccess(
            documents: documents,
            configured: [.builtInAdmins([.localUser(uid: 0, host: nil)])]
        )
        func isAllowed(_ verb: AdminVerb, _ index: Int, _ actor: Actor) -> Bool {
            let request = documents[index].request(verb, by: actor)
            guard case .allowed = access.allows(request, now: Date(timeIntervalSince1970: 0)) else {
                return false
            }
            return true
        }
        for index in documents.indices { #expect(isAllowed(.apply, index, admin)) }
        #expect(isAllowed(.apply, 2, registrar))
        #expect(!isAllowed(.delete, 2, registrar))
        #expect(!isAllowed(.apply, 0, registrar))
        #expect(DocumentKind.registrationEntry.rawValue == AdminRule.registrationKind)
    }

    @Test func `documents become the role and the binding that decide`() throws {
        let text = """
            apiVersion: core.signet/v1alpha1
            kind: Role
            metadata: {name: registrar, namespace: payments}
            spec:
              rules:
                - verbs: [apply, get]
                  kinds: [RegistrationEntry]
                  spiffeIDPrefixes: ["spiffe://example.org/payments"]
            ---
            apiVersion: core.signet/v1alpha1
            kind: RoleBinding
            metadata: {name: registrars, namespace: payments}
            spec: {role: registrar, subjects: ["uid:7"]}
            """
        let documents = try Document.parse(Array(text.utf8), file: "f.yaml")
        guard case .role(let role)? = documents.first?.spec,
            case .roleBinding(let binding)? = documents.last?.spec
        else {
            Issue.record("\(documents)")
            return
        }
        let reference = AdminRoleReference(namespace: "payments", name: "registrar")
        let rule = AdminRule(
            verbs: [.apply, .get],
            kinds: .only(["RegistrationEntry"]),
            spiffeIDPrefixes: [try SPIFFEID("spiffe://example.org/payments")]
        )
        #expect(
            role.role(metadata: documents[0].metadata) == .init(reference: reference, rules: [rule])
        )
        let expected = AdminBinding(
            namespace: "payments",
            name: "registrars",
            role: reference,
            subjects: [.localUser(uid: 7, host: nil)]
        )
        #expect(binding.binding(metadata: documents[1].metadata) == expected)
    }
}
