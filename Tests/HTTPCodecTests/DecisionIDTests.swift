// SPDX-License-Identifier: Apache-2.0

import HTTPSemantics
import TestSeeds
import Testing

/// A decision's ID tells where its record is (docs of `DecisionID`).
@Suite struct DecisionIDTests {
    @Test(
        arguments: [
            (0, 0, 0, 0, "aaaaaaaaaaaaaaaaaaaaaaaaaa"), (1, 2, 0, 3, "aaaaaaabaaaaaaacaaaaaaaaad"),
            (1 << 40 - 1, 1 << 40 - 1, 255, 1 << 42 - 1, "77777777777777777777777777"),
            (0x12_3456_789A, 4711, 1, 1_000_000, "ci2fm6e2aaaaaethaeaaaa6qsa"),
        ] as [(UInt64, UInt64, UInt64, UInt64, String)]
    )
    func `an ID is its three parts`(
        instance: UInt64,
        revision: UInt64,
        worker: UInt64,
        count: UInt64,
        text: String
    ) throws {
        let id = DecisionID(instance: instance, revision: revision, worker: worker, count: count)
        let read = try #require(DecisionID(id.description))
        #expect(read == id)
        #expect(
            (read.instance, read.revision, read.worker, read.count)
                == (instance, revision, worker, count)
        )
        #expect(id.description == text)
    }

    @Test func `IDs of one proxy and revision begin alike and differ in the end`() {
        let first = DecisionID(instance: 7, revision: 8, worker: 0, count: 1).description
        let second = DecisionID(instance: 7, revision: 8, worker: 3, count: 1).description
        #expect(first.prefix(16) == second.prefix(16))
        #expect(first != second)
    }

    @Test func `what does not fit is cut off at the top`() {
        let id = DecisionID(instance: 1 << 40, revision: 1 << 41 | 5, worker: 256, count: 1 << 42)
        #expect(id == DecisionID(instance: 0, revision: 5, worker: 0, count: 0))
    }

    @Test(arguments: [
        "", "aaaaaaaaaaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "Aaaaaaaaaaaaaaaaaaaaaaaaaa", "1aaaaaaaaaaaaaaaaaaaaaaaaa", "8aaaaaaaaaaaaaaaaaaaaaaaaa",
        "aaaaaaaaaaaaaaaaaaaaaaaaa=", "aaaaaaaaaaaaaaaaaaaaaaaaa ", "aaaaaaaaaaaaaaaaaaaaaaaaaé",
    ])
    func `what is no ID is none`(text: String) {
        #expect(DecisionID(text) == nil)
    }

    @Test(arguments: 0..<4 as Range<UInt64>)
    func `every ID reads as itself`(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<500 {
            let id = DecisionID(
                instance: generator.next(),
                revision: generator.next(),
                worker: generator.next(),
                count: generator.next()
            )
            #expect(DecisionID(id.description) == id, "seed \(seed)")
        }
    }
}

/// The ID of a request, kept or given.
@Suite struct RequestIDTests {
    @Test func `a given ID is a random UUID`() {
        func text(_ high: UInt64, _ low: UInt64) -> String {
            let characters = RequestID(high: high, low: low).text
            return String(decoding: characters.indices.map { characters[$0] }, as: UTF8.self)
        }
        #expect(text(0, 0) == "00000000-0000-4000-8000-000000000000")
        #expect(text(.max, .max) == "ffffffff-ffff-4fff-bfff-ffffffffffff")
        #expect(
            text(0x0123_4567_89AB_CDEF, 0x0123_4567_89AB_CDEF)
                == "01234567-89ab-4def-8123-456789abcdef"
        )
    }

    @Test(arguments: [
        ("a", true), ("0f-A_b.c~d:e+f/g=h@i", true), (String(repeating: "a", count: 128), true),
        ("", false), (String(repeating: "a", count: 129), false), ("a b", false), ("a\"b", false),
        ("a,b", false), ("a;b", false), ("é", false), ("a<b", false), ("$a", false),
    ])
    func `an ID of a client is kept if it means nothing to anybody`(text: String, isKept: Bool) {
        let bytes = Array(text.utf8)
        #expect(RequestID.isWellFormed(bytes.span, ByteRange(0..<bytes.count)) == isKept)
    }
}
