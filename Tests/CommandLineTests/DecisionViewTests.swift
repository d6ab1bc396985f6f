// SPDX-License-Identifier: Apache-2.0

import ControlAPIProtos
import SwiftProtobuf
import Testing
import signet

@Suite struct DecisionViewTests {
    private static func denied(
        _ change: (inout Signet_Node_V1alpha1_DecisionExplanation) -> Void = { _ in }
    ) -> DecisionView {
        DecisionView(
            .with {
                $0.allowed = false
                $0.rule = -1
                $0.reason = "noMatch"
                $0.identity = "spiffe://example.org/db"
                $0.peer = "spiffe://example.org/web"
                $0.port = 5432
                $0.method = "GET"
                $0.path = "/rows"
                $0.revision.number = 12
                change(&$0)
            }
        )
    }

    @Test func `the verdict stands first, then who decided and at which revision`() {
        let lines = Self.denied().text.split(separator: "\n")
        #expect(
            lines[0] == """
                DENIED: GET /rows from spiffe://example.org/web to spiffe://example.org/db port 5432
                """
        )
        #expect(lines[1] == "  by default: no ALLOW rule matches it")
        #expect(lines.contains("  judged at revision 12"))
        #expect(lines.last == "no rule could have decided")
    }

    @Test func `what comes from the decision log says so, and has no account of rules`() {
        let text = Self.denied {
            $0.logged.agent = "spiffe://example.org/signet/agent/web-1"
            $0.logged.proxy = "shop/db"
        }.text
        #expect(
            text.contains("from the decision log: Proxy shop/db, sent by spiffe://example.org/")
        )
        #expect(!text.contains("no rule could have decided"))
    }

    @Test func `who tells it is named, and whether the log has the same`() {
        let live = Self.denied {
            $0.toldBy.agent = "spiffe://example.org/signet/agent/web-1"
            $0.toldBy.proxy = "shop/db"
        }.text
        #expect(live.contains("told by the process of Proxy shop/db at spiffe://example.org/"))
        #expect(live.contains("the decision log has no record of it\nno rule could have decided"))
        let both = Self.denied {
            $0.logged.proxy = "shop/db"
            $0.toldBy.proxy = "shop/db"
            $0.rules = [.with { $0.policy = "db" }]
        }.text
        #expect(both.contains("its process tells the same\nrules that could have decided:"))
        let disputed = Self.denied {
            $0.logged.proxy = "shop/db"
            $0.toldBy.proxy = "shop/db"
            $0.toldBy.contradiction = "the process says now that it allowed it"
        }.text
        #expect(disputed.contains("it has no account of each rule"))
        #expect(disputed.hasSuffix("not undisputed: the process says now that it allowed it"))
    }

    @Test func `a rule of which not enough is remembered is shown as neither`() {
        let text = Self.denied {
            $0.rules = [
                .with {
                    ($0.policyNamespace, $0.policy, $0.action) = ("shop", "db", "ALLOW")
                    $0.mode = "enforce"
                    $0.failed = "to[0].operation.hosts asks"
                    $0.isNotRemembered = true
                }
            ]
        }.text
        #expect(
            text.hasSuffix("ALLOW shop/db rule 0  not remembered: to[0].operation.hosts asks")
        )
    }

    @Test func `each rule is shown with its first failing clause, and the nearest miss`() {
        let view = Self.denied {
            $0.rules = [
                .with {
                    $0.policyNamespace = "shop"
                    $0.policy = "db"
                    $0.rule = 0
                    $0.action = "ALLOW"
                    $0.mode = "enforce"
                    $0.failed = "from[0].source.principals differs"
                },
                .with {
                    $0.policyNamespace = "shop"
                    $0.policy = "later"
                    $0.rule = 1
                    $0.action = "ALLOW"
                    $0.mode = "shadow"
                    $0.matches = true
                },
            ]
            $0.nearestMiss = "shop/db rule 0 lacks principals"
        }
        let lines = view.text.split(separator: "\n")
        #expect(lines.contains("  ALLOW shop/db rule 0  no: from[0].source.principals differs"))
        #expect(lines.contains("  ALLOW shop/later rule 1 (shadow)  matches"))
        #expect(lines.last == "nearest miss: shop/db rule 0 lacks principals")
    }

    @Test func `a policy that decided is named with its rule, and what shadow would change`() {
        let view = Self.denied {
            $0.rule = 3
            $0.reason = "guardrail"
            $0.policyNamespace = "shop"
            $0.policy = "never"
            $0.shadowDiffers = true
            $0.shadowAllowed = true
            $0.shadowPolicy = "shop/trial"
        }
        #expect(view.text.contains("  by policy shop/never, rule 3 (guardrail)\n"))
        #expect(
            view.text.contains(
                "with the policies in shadow enforced it would be ALLOWED by policy shop/trial"
            )
        )
    }

    @Test func `words of a newer release are shown as they are`() {
        let text = Self.denied { $0.reason = "tooLate" }.text
        #expect(text.contains("  by no rule: tooLate\n"))
        #expect(Self.denied { $0.reason = "reservedPeer" }.text.contains("Signet's own parts"))
    }

    @Test func `a connection has no method, and a peer may have no identity`() {
        let text = Self.denied {
            $0.method = ""
            $0.path = ""
            $0.peer = ""
            $0.peerAddress = "192.0.2.1"
        }.text
        let first = text.split(separator: "\n")[0]
        #expect(first.hasPrefix("DENIED: connection from a peer without identity (192.0.2.1) to"))
    }

    @Test func `what a peer chose does not steer the terminal`() {
        let text = Self.denied { $0.path = "/\u{1B}[2J\u{202E}x" }.text
        #expect(text.contains("/?[2J?x"))
        #expect(!text.contains("\u{1B}"))
    }

    @Test func `a method in small letters is warned of`() {
        #expect(
            TypedMethod.warning("get") == "warning: methods are case-sensitive, and get is not GET"
        )
        #expect(TypedMethod.warning("Patch") != nil)
        #expect(TypedMethod.warning("GET") == nil)
        #expect(TypedMethod.warning("M-SEARCH") == nil)
    }

    @Test func `a decision ID is read in any case, and nothing else is`() {
        let id = "mzxw6ytboi2dmnzqgaydamrrge"
        #expect(TypedDecision.id(id) == id)
        #expect(TypedDecision.id(id.uppercased()) == id)
        let others = [
            "", "\(id)a", String(id.dropLast()), "0\(id.dropFirst())", "é\(id.dropFirst(2))",
        ]
        for text in others {
            #expect(TypedDecision.id(text) == nil, "\(text)")
        }
    }
}
