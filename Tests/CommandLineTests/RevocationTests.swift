// SPDX-License-Identifier: Apache-2.0

import ControlAPIProtos
import SwiftProtobuf
import Testing
import signet

@Suite struct RevocationTests {
    private static func view(entries: [String]) -> RevocationView {
        RevocationView(
            .with {
                $0.issuedBeforeUnixSeconds = 1_900_000_000
                $0.entries = entries
            },
            of: "spiffe://example.org/web"
        )
    }

    @Test(arguments: [("1s", UInt32(1)), ("90s", 90), ("1h", 3600), ("30d", 2_592_000)])
    func `a time without SVIDs is read`(text: String, seconds: UInt32) throws {
        #expect(try RevocationView.seconds(text) == seconds)
    }

    @Test(arguments: ["", "0s", "0d", "31d", "721h", "soon", "-1h", "99999999999999999999d"])
    func `one of no length, or longer than the server takes, is refused`(text: String) {
        #expect(throws: (any Error).self) { try RevocationView.seconds(text) }
    }

    @Test func `every entry that still grants it is named by the command that ends it`() {
        let advice = Self.view(entries: ["shop/web", "shop/web-2"]).advice(isForLater: false)
        #expect(advice[0].hasPrefix("warning: 2 entries still give it, with a new SVID at once"))
        #expect(advice.contains("  signet delete RegistrationEntry/shop/web"))
        #expect(advice.contains("  signet delete RegistrationEntry/shop/web-2"))
    }

    @Test func `with a time without SVIDs it says when there will be some again`() {
        let advice = Self.view(entries: ["shop/web"]).advice(isForLater: true)
        #expect(advice[0].contains("an entry still gives it"))
        #expect(advice[0].contains("from 2030-03-17T17:46:40Z on"))
    }

    @Test func `an entry with variables that may give it is named, and what is hidden counted`() {
        let view = RevocationView(
            .with {
                $0.templateEntries = ["shop/batch"]
                $0.hiddenEntries = 2
                $0.entriesCut = true
            },
            of: "spiffe://example.org/batch/job-1"
        )
        #expect(
            view.advice(isForLater: false) == [
                "warning: 1 with variables may give it, with a new SVID at once",
                "  To end that:",
                "  signet delete RegistrationEntry/shop/batch",
                "warning: 2 that you may not see give it, or may do so",
                "warning: there are more entries than are named here",
            ]
        )
    }

    @Test func `nothing is warned of when no entry grants it`() {
        let advice = Self.view(entries: []).advice(isForLater: false)
        #expect(advice == ["no entry gives spiffe://example.org/web to anybody any more"])
    }
}
