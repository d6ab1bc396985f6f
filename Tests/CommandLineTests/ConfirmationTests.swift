// SPDX-License-Identifier: Apache-2.0

import ControlAPIProtos
import SwiftProtobuf
import Testing
import signet

@Suite struct ConfirmationTests {
    private static func outcome(
        _ change: (inout Signet_Admin_V1alpha1_WaitResponse) -> Void
    ) -> ConfirmationOutcome {
        ConfirmationOutcome(.with(change), revision: 7)
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
                "web-3/shop/c refused proxy shop/c: no such listener",
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

    @Test func `who may not ask hears that the change was made, with status 3`() {
        struct Refusal: Error, CustomStringConvertible {
            let description = "alice may not node.list [adminDenied]"
        }
        let failure = ConfirmationOutcome.unknown(revision: 7, because: Refusal())
        #expect(failure.status == .unconfirmed)
        #expect(
            failure.message
                == "revision 7 is applied, but who has it is not known: "
                + "alice may not node.list [adminDenied]"
        )
        #expect(failure.remedy?.contains("in force on the server") == true)
    }
}
