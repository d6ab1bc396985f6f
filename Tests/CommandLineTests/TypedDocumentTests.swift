// SPDX-License-Identifier: Apache-2.0

import Testing
import signet

@Suite struct TypedDocumentTests {
    @Test func `a document is named as typed or as tables show it`() throws {
        for (kind, name, namespace) in [
            ("Role", "a", nil), ("Role/a", nil, nil), ("Role/shop/a", nil, "shop"),
        ] as [(String, String?, String?)] {
            let typed = try #require(TypedDocument(kind: kind, name: name))
            #expect(typed.kind == "Role")
            #expect(typed.name == "a")
            #expect(typed.namespace == namespace)
        }
    }

    @Test func `nothing and a kind alone mean many`() throws {
        #expect(try #require(TypedDocument(kind: nil, name: nil)).kind == "")
        let kind = try #require(TypedDocument(kind: "Role", name: nil))
        #expect(kind.kind == "Role")
        #expect(kind.name == "")
    }

    @Test func `every namespace is named only where it has more`() {
        #expect(DocumentPrinter.nothing(kind: "Role", all: false).contains("-A"))
        #expect(DocumentPrinter.nothing(kind: "", all: false).contains("-A"))
        #expect(!DocumentPrinter.nothing(kind: "Role", all: true).contains("-A"))
        #expect(!DocumentPrinter.nothing(kind: "namespace", all: false).contains("-A"))
    }

    @Test func `other forms are refused`() {
        #expect(TypedDocument(kind: "Role/a", name: "b") == nil)
        #expect(TypedDocument(kind: "Role/", name: nil) == nil)
        #expect(TypedDocument(kind: "/a", name: nil) == nil)
        #expect(TypedDocument(kind: "Role//a", name: nil) == nil)
        #expect(TypedDocument(kind: "a/b/c/d", name: nil) == nil)
    }
}
