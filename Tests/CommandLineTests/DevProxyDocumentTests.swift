// SPDX-License-Identifier: Apache-2.0

import Testing
import signet

@Suite struct DevProxyDocumentTests {
    private static let shown: Set = ["agent:dev", "role:web"]

    @Test func `a Proxy is for a machine that shows all of its node selectors`() {
        for (selectors, isFor) in [
            (#"["agent:dev"]"#, true), (#"["role:web","agent:dev"]"#, true),
            (#"["agent:dev","role:db"]"#, false), (#"["agent:other"]"#, false),
        ] {
            let json = #"{"kind":"Proxy","spec":{"mode":"sidecar","nodeSelectors":\#(selectors)}}"#
            #expect(DevProxyDocument.isFor(nodeShowing: Self.shown, json: json) == isFor)
        }
    }

    @Test(arguments: ["", "{}", "[]", #"{"spec":{}}"#, #"{"spec":{"nodeSelectors":[]}}"#])
    func `what cannot be read, or selects nothing, is for no machine`(json: String) {
        #expect(!DevProxyDocument.isFor(nodeShowing: Self.shown, json: json))
    }

    @Test func `documents change by applies only`() {
        #expect(DevProxyDocument.changesDocuments(json: #"{"v":1,"event":"documentsApplied"}"#))
        #expect(!DevProxyDocument.changesDocuments(json: #"{"v":1,"event":"svidsIssued"}"#))
        #expect(!DevProxyDocument.changesDocuments(json: "documentsApplied"))
    }
}
