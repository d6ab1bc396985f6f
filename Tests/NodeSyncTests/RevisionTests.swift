// SPDX-License-Identifier: Apache-2.0

import NodeSync
import TestSeeds
import Testing

struct RevisionTests {
    @Test func `an epoch reads back from its bytes and its digits`() throws {
        var generator = SeededGenerator(seed: 1)
        let epoch = Epoch(using: &generator)
        #expect(epoch.bytes.count == Epoch.byteCount)
        #expect(try Epoch(bytes: epoch.bytes) == epoch)
        #expect(try Epoch(hex: epoch.hex) == epoch)
        let fixed = try Epoch(bytes: Array(0..<16))
        #expect(fixed.hex == "000102030405060708090a0b0c0d0e0f")
    }

    @Test(arguments: [
        ("", EpochError.length),
        ("00", .length),
        ("000102030405060708090a0b0c0d0e0f00", .length),
        ("000102030405060708090A0B0C0D0E0F", .notLowercaseHexadecimal),
        ("000102030405060708090a0b0c0d0e0g", .notLowercaseHexadecimal),
    ])
    func `an epoch is refused unless it is 32 lowercase digits`(_ text: String, _ error: EpochError)
    {
        #expect(throws: error) { try Epoch(hex: text) }
    }

    @Test func `two epochs drawn one after the other differ`() {
        var generator = SeededGenerator(seed: 2)
        #expect(Epoch(using: &generator) != Epoch(using: &generator))
    }

    @Test func `what takes away is ordered before what gives`() {
        let keys = [
            ResourceKey(.document, "a"), ResourceKey(.entry, "b"), ResourceKey(.entry, "a"),
            ResourceKey(.bundle, "z"), ResourceKey(.revocation, "z"),
        ]
        #expect(
            keys.sorted() == [
                ResourceKey(.revocation, "z"), ResourceKey(.bundle, "z"),
                ResourceKey(.entry, "a"), ResourceKey(.entry, "b"), ResourceKey(.document, "a"),
            ]
        )
    }
}
