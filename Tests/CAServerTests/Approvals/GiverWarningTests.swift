// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import Datastore
import Foundation
import NodeSync
import SPIFFE
import Testing

/// What whoever binds, and whoever approves it, is told of who gets the identities that are bound.
extension ApprovalActTests {
    /// An entry that was there before, the nodes that it selects, and a role to bind.
    private func plant(nodes: Int) throws {
        let viewer = try order(roleDocument("viewer"))
        _ = try act("alice", needed: 0) { try $0.apply(viewer, takesProposal: true, using: &$1) }
        let one = ApprovalHarness.id("one")
        try store.writeNow { transaction in
            let number = try transaction.advanceRevision().number
            try transaction.put(Self.entry("exact", one, revision: number))
            for index in 0..<nodes {
                let selectors = Set([try Selector("role:any")])
                try transaction.put(try Self.node("any-\(index)", selectors: selectors))
            }
        }
    }

    private func bind(
        _ text: String,
        by name: String = "alice",
        without left: [String] = []
    ) throws -> [String] {
        let order = try order(text)
        let answer = try act(name, needed: 0, without: left) {
            try $0.apply(order, takesProposal: true, using: &$1)
        }
        guard case .done(let result) = answer else { return [] }
        return result.warnings
    }

    @Test func `who binds and who approves see which nodes and tokens get the identity`() throws {
        try plant(nodes: 12)
        try store.writeNow { transaction in
            try transaction.put(
                JoinTokenRecord(
                    hash: Array(repeating: 7, count: 32),
                    name: "zebra",
                    selectors: [try Selector("role:any")],
                    expiresAt: Self.noon + 60,
                    createdBy: "uid:0@localhost",
                    createdAt: Self.noon
                )
            )
        }
        let one = ApprovalHarness.id("one")
        let proposal = try propose(bindingDocument("viewer", subject: one))
        let shown = try act("bob") { try $0.view(proposal.id, using: &$1).warnings }
        let told = try #require(shown.first { $0.hasPrefix("\(one) is given to ") }, "\(shown)")
        // Names are cut; a token must not be, for nobody knows who uses it.
        #expect(told.contains("to zebra (by an unused token), any-0, any-1, "))
        #expect(told.hasSuffix(" and 3 more"))
    }

    @Test func `what the caller may not see is counted, and nodes that he may not list are missed`()
        throws
    {
        try plant(nodes: 1)
        let role = """
            ---
            apiVersion: core.signet/v1alpha1
            kind: Role
            metadata: {name: binder, namespace: signet-system}
            spec:
              rules:
                - {verbs: [bundle.show]}
                - {verbs: [apply, get], kinds: [RoleBinding]}

            """
        let bob = ApprovalHarness.id("bob")
        _ = try bind(role + bindingDocument("binder", subject: bob))
        let one = bindingDocument("v", role: "viewer", subject: ApprovalHarness.id("one"))
        let blind = try bind(one, by: "bob", without: ["bob"])
        #expect(
            blind.contains { $0.hasSuffix("/one is given by 1 that you may not get") },
            "\(blind)"
        )
        #expect(!blind.contains { $0.contains("exact") })
        _ = try bind(
            role.replacing("kinds: [RoleBinding]", with: "kinds: [RoleBinding, RegistrationEntry]")
        )
        let other = bindingDocument("w", role: "viewer", subject: ApprovalHarness.id("one"))
        let seeing = try bind(other, by: "bob", without: ["bob"])
        #expect(seeing.contains { $0.contains("/one is given by RegistrationEntry default/exact") })
        #expect(seeing.contains { $0.contains("is not told, as it takes node.list") }, "\(seeing)")
    }

    @Test func `each subject is looked for once, whoever binds it besides`() throws {
        try plant(nodes: 0)
        let many = (0..<200).map { ApprovalHarness.id("s\($0)") }
        func binding(_ name: String, _ ids: [String]) -> String {
            bindingDocument(name, role: "viewer", subject: ids.joined(separator: ", "))
        }
        let told = try bind(
            binding("a", many) + binding("b", many + [ApprovalHarness.id("one")])
        )
        #expect(told.contains { $0.contains("/one is given by RegistrationEntry default/exact") })
        #expect(!told.contains { $0.contains("not of the others") })
    }
}
