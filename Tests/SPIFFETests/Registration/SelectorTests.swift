// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import SPIFFE
import Testing

@Suite struct SelectorTests {
    @Test func `a selector is split at the first colon`() throws {
        let selector = try Selector("unix:uid:1000")
        #expect(selector.type == "unix")
        #expect(selector.value == "uid:1000")
        #expect(selector.description == "unix:uid:1000")
    }

    @Test(arguments: [
        ("unix", SelectorError.separatorMissing), ("", .separatorMissing), (":a", .typeCharacter),
        ("Unix:a", .typeCharacter), ("a b:c", .typeCharacter), ("a:", .valueEmpty),
        ("a:b\nc", .valueCharacter), ("a:b\0", .valueCharacter), ("a:\u{7F}", .valueCharacter),
        ("a:" + String(repeating: "b", count: 4200), .tooLong),
    ])
    func `a malformed selector is refused by name`(_ text: String, _ error: SelectorError) {
        #expect(throws: error) { try Selector(text) }
    }

    @Test func `a selector is coded as its text and checked when it is decoded`() throws {
        let coded = try JSONEncoder().encode([Selector("unix:user:alice")])
        #expect(String(decoding: coded, as: UTF8.self) == #"["unix:user:alice"]"#)
        #expect(
            try JSONDecoder().decode([Selector].self, from: coded) == [Selector("unix:user:alice")]
        )
        #expect(throws: SelectorError.separatorMissing) {
            try JSONDecoder().decode([Selector].self, from: Data(#"["unix"]"#.utf8))
        }
    }
}

@Suite struct RegistrationEntryTests {
    private func entry(node: [Selector], workload: [Selector]) -> RegistrationEntry {
        RegistrationEntry(
            id: "1",
            namespace: "default",
            name: "web",
            revision: 1,
            createdAt: Date(timeIntervalSince1970: 0),
            spiffeID: "spiffe://td/web",
            nodeSelectors: node,
            workloadSelectors: workload
        )
    }

    @Test func `an entry matches whoever shows all of its selectors`() throws {
        let (a, b, c) = (try Selector("t:a"), try Selector("t:b"), try Selector("t:c"))
        let entry = entry(node: [a, b], workload: [c])
        #expect(entry.matches(node: [a, b, c]))
        #expect(!entry.matches(node: [a]))
        #expect(entry.matches(workload: [c, a]))
        #expect(!entry.matches(workload: [a, b]))
    }

    @Test func `an entry without selectors matches nobody`() throws {
        let entry = entry(node: [], workload: [])
        #expect(!entry.matches(node: [try Selector("t:a")]))
        #expect(!entry.matches(workload: [try Selector("t:a")]))
    }

    @Test func `selectors are sorted and single, also after decoding`() throws {
        let (a, b) = (try Selector("t:a"), try Selector("t:b"))
        let made = entry(node: [b, a, b], workload: [b, b])
        #expect(made.nodeSelectors == [a, b])
        #expect(made.workloadSelectors == [b])
        let coded = String(decoding: try JSONEncoder().encode(made), as: UTF8.self)
        let shuffled = coded.replacing(#"["t:a","t:b"]"#, with: #"["t:b","t:a","t:b"]"#)
        #expect(shuffled != coded)
        let decoded = try JSONDecoder().decode(RegistrationEntry.self, from: Data(shuffled.utf8))
        #expect(decoded == made)
    }
}
