// SPDX-License-Identifier: Apache-2.0

import Authorization
import Foundation
import PolicyDocuments
import SPIFFE
import Testing

struct DelegationPolicySpecTests {
    static let sample = """
        apiVersion: core.signet/v1alpha1
        kind: DelegationPolicy
        metadata: {name: p, namespace: shop, expires: 2036-06-30T00:00:00Z}
        spec:
          subjects: [spiffe://example.org/a, spiffe://example.org/b]
          actors: [spiffe://example.org/b, spiffe://example.org/c]
          audiences: [ledger, spiffe://example.org/d]

        """

    /// The sample with one text replaced.
    private static func changed(
        _ name: String,
        _ text: String,
        _ other: String,
        _ message: String
    ) -> BadDocument {
        BadDocument(name, sample.replacing(text, with: other, maxReplacements: 1), message)
    }

    static let refused: [BadDocument] = [
        changed(
            "no subjects",
            "  subjects: [spiffe://example.org/a, spiffe://example.org/b]\n",
            "",
            "5:3: spec.subjects is missing; add it"
        ),
        changed(
            "an unknown key",
            "spec:\n",
            "spec:\n  scope: all\n",
            "5:3: unknown key \"scope\" in spec; write one of actors, audiences, subjects"
        ),
        changed(
            "nobody who acts",
            "[spiffe://example.org/b, spiffe://example.org/c]",
            "[]",
            "6:11: spec.actors is an empty list; add a value or remove the key"
        ),
        changed(
            "a pattern",
            "spiffe://example.org/a,",
            "\"spiffe://example.org/*\",",
            "5:14: spec.subjects[0]: \"spiffe://example.org/*\" is not a SPIFFE ID; \"*\" in the "
                + "path: a segment holds only letters, digits, \".\", \"-\" and \"_\"; write a "
                + "whole ID without pattern"
        ),
        changed(
            "a trust domain",
            "spiffe://example.org/a,",
            "spiffe://example.org,",
            "5:14: spec.subjects[0]: a trust domain is no workload; write the ID of a workload"
        ),
        changed(
            "an agent as actor",
            "[spiffe://example.org/b, spiffe://example.org/c]",
            "[spiffe://example.org/signet/agent/n]",
            "6:12: spec.actors[0]: what lies below /signet/ neither delegates nor acts; write the "
                + "ID of a workload"
        ),
        changed(
            "somebody twice",
            "spiffe://example.org/c]",
            "spiffe://example.org/b]",
            "6:36: spec.actors[1] repeats spec.actors[0]; remove one of them"
        ),
        changed(
            "an audience twice",
            "[ledger, spiffe://example.org/d]",
            "[ledger, ledger]",
            "7:23: spec.audiences[1] repeats spec.audiences[0]; remove one of them"
        ),
        changed(
            "an audience over two lines",
            "[ledger,",
            "[\"a\\nb\",",
            "7:15: spec.audiences[0] holds a tab or line end; write it on one line"
        ),
        changed(
            "who would act for himself alone",
            "[spiffe://example.org/a, spiffe://example.org/b]\n  "
                + "actors: [spiffe://example.org/b, spiffe://example.org/c]",
            "[spiffe://example.org/a]\n  actors: [spiffe://example.org/a]",
            "6:11: spec.actors: nobody acts for himself; name who acts for spiffe://example.org/a"
        ),
        changed(
            "more than anybody reads",
            "[ledger, spiffe://example.org/d]",
            "[" + (0...DelegationPolicySpec.listMax).map { "l\($0)" }.joined(separator: ", ") + "]",
            "7:14: spec.audiences has 65 values, more than the 64 allowed; split the document"
        ),
    ]

    @Test(arguments: refused)
    func `a wrong policy is refused with place and remedy`(bad: BadDocument) {
        expectOnlyProblem(of: bad)
    }

    private static func document(_ text: String = sample) throws -> Document {
        try #require(try Document.parse(Array(text.utf8), file: "f.yaml").first)
    }

    private static func policy(of document: Document) throws -> DelegationPolicy {
        guard case .delegationPolicy(let spec) = document.spec else { throw DocumentIsOther() }
        return spec.policy(
            metadata: document.metadata,
            stored: StoredMetadata(
                uid: "u",
                resourceVersion: 4,
                creationTimestamp: Date(timeIntervalSince1970: 0),
                revision: 9
            )
        )
    }

    private struct DocumentIsOther: Error {}

    @Test func `a policy says what its document says`() throws {
        let policy = try Self.policy(of: Self.document())
        #expect(policy.id == "u" && policy.version == 4)
        #expect(policy.namespace == "shop" && policy.name == "p")
        #expect(policy.expires == Date(timeIntervalSince1970: 2_098_396_800))
        func permits(_ subject: String, _ actor: String, _ audience: String) throws -> Bool {
            policy.names(
                DelegationHop(
                    subject: try SPIFFEID("spiffe://example.org/\(subject)"),
                    actor: try SPIFFEID("spiffe://example.org/\(actor)"),
                    audience: audience
                )
            )
        }
        #expect(try permits("a", "c", "ledger"))
        #expect(try permits("b", "c", "spiffe://example.org/d"))
        #expect(try !permits("c", "b", "ledger"))
        #expect(try !permits("a", "c", "ledge"))
    }

    @Test func `audiences that Unicode calls equal are two`() throws {
        let text = Self.sample.replacing(
            "[ledger, spiffe://example.org/d]",
            with: "[\"caf\\u00e9\", \"cafe\\u0301\"]"
        )
        let document = try Self.document(text)
        #expect(try Self.policy(of: document).audiences.count == 2)
        let stored = try Document.parse(document.canonicalJSON, file: "f.json")
        #expect(try Self.policy(of: try #require(stored.first)).audiences.count == 2)
    }

    @Test func `who writes a policy asks for the registration of each subject`() throws {
        let actor = Actor.localUser(uid: 1, host: "host")
        let requests = try Self.document().registrations(by: actor)
        #expect(requests.map(\.spiffeID) == ["spiffe://example.org/a", "spiffe://example.org/b"])
        #expect(
            requests.allSatisfy {
                $0.kind == "RegistrationEntry" && $0.verb == .apply && $0.namespace == "shop"
            }
        )
    }

    @Test func `subjects and actors are of the own trust domain, audiences are texts`() throws {
        let document = try Self.document()
        #expect(document.problems(inTrustDomain: try TrustDomain("td")).count == 4)
        #expect(document.problems(inTrustDomain: try TrustDomain("example.org")).isEmpty)
    }

    @Test func `a policy lies in a namespace and may end`() {
        #expect(DocumentKind.delegationPolicy.isNamespaced)
        #expect(DocumentKind.delegationPolicy.isGrant)
    }
}
