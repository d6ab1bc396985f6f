// SPDX-License-Identifier: Apache-2.0

import ControlAPIProtos
import Foundation
import SwiftProtobuf
import Testing
import signet

@Suite struct ConfirmationTests {
    private static func outcome(
        _ change: (inout Signet_Admin_V1alpha1_WaitResponse) -> Void
    ) -> ConfirmationOutcome {
        ConfirmationOutcome(.with(change), of: .with { $0.revision.number = 7 })
    }

    /// A document, and what was done to it.
    private typealias Change = (kind: String, name: String, action: String)

    /// What came of documents that were changed so.
    private static func outcome(
        of changes: [Change],
        _ answer: (inout Signet_Admin_V1alpha1_WaitResponse) -> Void
    ) -> ConfirmationOutcome {
        ConfirmationOutcome(
            .with(answer),
            of: .with {
                $0.revision.number = 7
                $0.changes = changes.map { change in
                    .with {
                        $0.key.kind = change.kind
                        $0.key.namespace = "shop"
                        $0.key.name = change.name
                        $0.action = change.action
                    }
                }
            }
        )
    }

    @Test func `agents and proxies that applied it are counted apart`() {
        let both = Self.outcome {
            $0.complete = true
            $0.applied = ["web-1", "web-2", "web-1/shop/frontend"]
        }
        #expect(both.failure == nil)
        #expect(both.lines == ["revision 7 applied by 2 agent(s) and 1 proxy process(es)"])
        let agents = Self.outcome {
            $0.complete = true
            $0.applied = ["web-1"]
        }
        #expect(agents.lines == ["revision 7 applied by 1 agent(s)"])
    }

    @Test func `who waits, is away or refused is named, with status 3`() throws {
        let outcome = Self.outcome {
            $0.applied = ["web-1"]
            $0.waiting = ["web-1/shop/a"]
            $0.unreachable = ["web-2/shop/b"]
            $0.refused = [
                .with {
                    $0.node = "web-3/shop/c"
                    $0.resource = "proxy shop/c"
                    $0.reason = "no such listener"
                }
            ]
        }
        let failure = try #require(outcome.failure)
        #expect(failure.status == .unconfirmed)
        for name in ["web-1/shop/a", "web-2/shop/b", "web-3/shop/c (refused)"] {
            #expect(failure.message.contains(name), "\(failure.message)")
        }
        #expect(
            outcome.lines == [
                "web-3/shop/c refused it: no such listener",
                "not reachable: web-2/shop/b",
            ]
        )
    }

    @Test func `a refusal alone is no success, though nobody is waited for`() throws {
        let outcome = Self.outcome {
            $0.complete = true
            $0.refused = [.with { $0.node = "web-1/shop/a" }]
        }
        let failure = try #require(outcome.failure)
        #expect(failure.message.hasSuffix("not confirmed by all: web-1/shop/a (refused)"))
        #expect(!outcome.lines.contains { $0.contains("applied by") })
    }

    @Test func `a proxy that refuses is named, and not its node`() throws {
        let outcome = Self.outcome {
            $0.complete = true
            $0.applied = ["dev"]
            $0.refused = [
                .with {
                    $0.node = "dev"
                    $0.resource = "proxy default/frontend"
                    $0.reason = "cannot listen on 127.0.0.1:8443"
                }
            ]
        }
        #expect(
            outcome.lines == ["dev/default/frontend refused it: cannot listen on 127.0.0.1:8443"]
        )
        let failure = try #require(outcome.failure)
        #expect(failure.message.hasSuffix("not confirmed by all: dev/default/frontend (refused)"))
    }

    @Test func `an agent that refuses several things is named once, and what it refused`() throws {
        let outcome = Self.outcome {
            $0.refused = ["entry a", "entry b"].map { resource in
                .with {
                    $0.node = "dev"
                    $0.resource = resource
                    $0.reason = "too new"
                }
            }
        }
        #expect(outcome.lines == ["dev refused entry a: too new", "dev refused entry b: too new"])
        let failure = try #require(outcome.failure)
        #expect(failure.message.hasSuffix("not confirmed by all: dev (refused)"))
    }

    @Test func `Proxies of the change that no process has are named`() {
        let changes: [Change] = [
            ("Proxy", "a", "created"), ("Proxy", "b", "updated"), ("Proxy", "c", "unchanged"),
            ("Proxy", "d", "deleted"), ("Service", "e", "created"),
        ]
        let nobody = Self.outcome(of: changes) {
            $0.complete = true
            $0.applied = ["dev"]
        }
        #expect(nobody.failure == nil)
        #expect(nobody.lines.last == "no process of shop/a, shop/b is attached yet")
        let one = Self.outcome(of: changes) {
            $0.complete = true
            $0.applied = ["dev", "dev/shop/b", "dev/workshop/a"]
        }
        #expect(one.notAttached == ["shop/a"])
        let refuses = Self.outcome(of: changes) {
            $0.applied = ["dev", "dev/shop/b"]
            $0.refused = [
                .with {
                    $0.node = "dev"
                    $0.resource = "proxy shop/a"
                }
            ]
        }
        #expect(refuses.notAttached == [])
        // What an agent has that is away is not known.
        let away = Self.outcome(of: changes) { $0.unreachable = ["dev"] }
        #expect(away.notAttached == [])
    }

    @Test func `an agent that is not connected is said to be so, and since when`() throws {
        let outcome = Self.outcome {
            $0.waiting = ["hangs"]
            $0.unreachable = ["drained", "gone"]
            $0.lastSeenUnixSeconds = ["drained": 1_767_323_045]
        }
        let message = try #require(outcome.failure).message
        #expect(
            message == "revision 7 is not confirmed by all: hangs, "
                + "drained (not connected since 2026-01-02T03:04:05Z), gone (not connected)"
        )
        let told = try Self.told(outcome)
        #expect(told["lastSeen"] as? [String: String] == ["drained": "2026-01-02T03:04:05Z"])
    }

    @Test func `programs are told the same`() throws {
        let outcome = Self.outcome(of: [("Proxy", "z", "created")]) {
            $0.applied = ["dev"]
            $0.waiting = ["dev/shop/a"]
            $0.unreachable = ["dev/shop/b"]
            $0.refused = [("proxy shop/c", "busy"), ("entry x", "too new")].map { one in
                .with {
                    $0.node = "dev"
                    $0.resource = one.0
                    $0.reason = one.1
                }
            }
        }
        let told = try Self.told(outcome)
        #expect(told["confirmed"] as? Bool == false)
        #expect(told["applied"] as? [String] == ["dev"])
        #expect(told["waiting"] as? [String] == ["dev/shop/a"])
        #expect(told["unreachable"] as? [String] == ["dev/shop/b"])
        #expect(told["notAttached"] as? [String] == ["shop/z"])
        #expect(
            told["refused"] as? [[String: String]] == [
                ["name": "dev/shop/c", "reason": "busy"],
                ["name": "dev", "resource": "entry x", "reason": "too new"],
            ]
        )
        #expect(told["problem"] == nil)
        let all = Self.outcome {
            $0.complete = true
            $0.applied = ["dev"]
        }
        #expect(try Self.told(all)["confirmed"] as? Bool == true)
    }

    private static func told(_ outcome: ConfirmationOutcome) throws -> [String: Any] {
        let json = try JSONEncoder().encode(outcome.view)
        return try #require(try JSONSerialization.jsonObject(with: json) as? [String: Any])
    }

    @Test func `who may not ask hears that the change was made, with status 3`() throws {
        struct Refusal: Error, CustomStringConvertible {
            let description = "alice may not node.list [adminDenied]"
        }
        let outcome = ConfirmationOutcome(unknown: Refusal(), revision: 7)
        #expect(outcome.lines == [])
        let failure = try #require(outcome.failure)
        #expect(failure.status == .unconfirmed)
        #expect(
            failure.message
                == "revision 7 is applied, but who has it is not known: "
                + "alice may not node.list [adminDenied]"
        )
        #expect(failure.remedy?.contains("in force on the server") == true)
        let told = try Self.told(outcome)
        #expect(told["confirmed"] as? Bool == false)
        #expect(told["problem"] as? String == failure.message)
    }
}
