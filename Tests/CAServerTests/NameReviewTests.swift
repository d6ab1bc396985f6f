// SPDX-License-Identifier: Apache-2.0

import ControlAPIProtos
import Testing

/// Names in policies that mean nobody; `NarrowAdminTests` has who is told what.
@Suite(.timeLimit(.minutes(1)))
struct NameReviewTests {
    private static let entries =
        entryDocument("frontend", spiffeID: "spiffe://example.org/shop/frontend")
        + entryDocument("batch", spiffeID: "spiffe://example.org/batch/{node.name}")

    private static func policy(
        _ principal: String,
        key: String = "principals",
        target: String? = nil
    ) -> String {
        policyDocument(target: target).replacing(
            "principals: [spiffe://example.org/client]",
            with: "\(key): [\(principal)]"
        )
    }

    @Test(
        arguments: [
            (
                "spiffe://example.org/shop/frontnd",
                "no entry gives spiffe://example.org/shop/frontnd; did you mean "
                    + "spiffe://example.org/shop/frontend?"
            ),
            (
                "spiffe://example.org/shpo/frontend",
                "no entry gives spiffe://example.org/shpo/frontend; did you mean "
                    + "spiffe://example.org/shop/frontend?"
            ),
            (
                "spiffe://example.org/quite/another",
                "no entry gives spiffe://example.org/quite/another"
            ),
            ("spiffe://example.org/batch/a/b", "no entry gives spiffe://example.org/batch/a/b"),
            (
                "spiffe://partner.example/app",
                "principal spiffe://partner.example/app is of another trust domain than this "
                    + "server's, example.org, and no FederatedTrustDomain names it, so no peer is "
                    + "ever it"
            ),
            (
                "spiffe://partner.example/*",
                "principal spiffe://partner.example/* is of another trust domain than this "
                    + "server's, example.org, and no FederatedTrustDomain names it, so no peer is "
                    + "ever it"
            ),
        ]
    )
    func `a principal that nobody is, is warned of`(principal: String, says: String) async throws {
        try await withServer { server in
            try await server.apply(Self.entries)
            let warnings = try await server.apply(Self.policy(principal)).warnings
            #expect(warnings == ["AccessPolicy default/allow: \(says)"])
        }
    }

    @Test(
        arguments: [
            "spiffe://example.org/shop/frontend", "spiffe://example.org/batch/web-1",
            "spiffe://example.org/nobody/*", "spiffe://example.org/later",
        ]
    )
    func `one that somebody is, may be or is to be is not`(principal: String) async throws {
        try await withServer { server in
            try await server.apply(Self.entries)
            let later = entryDocument("later", spiffeID: "spiffe://example.org/later")
            let warnings = try await server.apply(Self.policy(principal) + later).warnings
            #expect(warnings.isEmpty, "\(warnings)")
        }
    }

    @Test func `whom a rule leaves out is looked for in the own trust domain`() async throws {
        try await withServer { server in
            try await server.apply(Self.entries)
            let key = "notPrincipals"
            let slip = Self.policy("spiffe://example.org/shop/frontnd", key: key)
            #expect(try await server.apply(slip).warnings.count == 1)
            let partner = Self.policy("spiffe://partner.example/app", key: key)
            #expect(try await server.apply(partner).warnings.isEmpty)
        }
    }

    @Test func `a Service that is not there is warned of`() async throws {
        try await withServer { server in
            try await server.apply(serviceDocument() + Self.entries)
            let web = "spiffe://example.org/shop/frontend"
            let slip = Self.policy(web, target: "{services: [apy]}")
            #expect(
                try await server.apply(slip).warnings.contains(
                    "AccessPolicy default/allow: there is no Service default/apy; did you mean api?"
                )
            )
            let right = Self.policy(web, target: "{services: [api]}")
            #expect(
                try await server.apply(right).warnings.allSatisfy { !$0.contains("no Service") }
            )
        }
    }

    @Test func `a policy that is off, and a document that did not change, are read alike`()
        async throws
    {
        try await withServer { server in
            let slip = Self.policy("spiffe://example.org/nobody")
            let first = try await server.apply(slip)
            let again = try await server.apply(slip)
            #expect(first.warnings.count == 1 && again.warnings == first.warnings)
            let off = slip.replacing("action: ALLOW", with: "action: ALLOW\n  mode: off")
            let last = try await server.apply(off)
            #expect(last.warnings.isEmpty)
        }
    }
}
