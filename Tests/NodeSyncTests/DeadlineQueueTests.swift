// SPDX-License-Identifier: Apache-2.0

import NodeSync
import TestSeeds
import Testing

struct DeadlineQueueTests {
    @Test func `keys come by deadline, then in their own order`() {
        var queue = DeadlineQueue<Int, String>()
        queue.set("b", to: 2)
        queue.set("c", to: 1)
        queue.set("a", to: 2)
        #expect(queue.earliest == 1)
        #expect(queue.popDue(at: 0) == nil)
        #expect(queue.popDue(at: 2) == "c")
        #expect(queue.popDue(at: 2) == "a")
        #expect(queue.popDue(at: 2) == "b")
        #expect(queue.popDue(at: 2) == nil)
        #expect(queue.earliest == nil)
    }

    @Test func `a moved deadline counts only where it is now`() {
        var queue = DeadlineQueue<Int, String>()
        queue.set("a", to: 5)
        queue.set("a", to: 9)
        #expect(queue.earliest == 9)
        queue.set("a", to: 5)
        queue.set("b", to: 7)
        queue.set("a", to: nil)
        #expect(queue.earliest == 7)
        #expect(queue["a"] == nil)
        #expect(queue.count == 1)
    }

    @Test(arguments: walkSeeds)
    func `it agrees with a sorted list`(_ seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var queue = DeadlineQueue<Int, Int>()
        var reference: [Int: Int] = [:]
        for now in 0..<2_000 {
            let key = generator.below(40)
            switch generator.below(8) {
            case 0:
                queue.set(key, to: nil)
                reference[key] = nil
            case 1:
                while let due = queue.popDue(at: now) {
                    let expected = reference.filter { $0.value <= now }
                        .min { ($0.value, $0.key) < ($1.value, $1.key) }
                    #expect(expected?.key == due)
                    reference[due] = nil
                }
                #expect(reference.values.allSatisfy { $0 > now })
            default:
                let instant = now + generator.below(100)
                queue.set(key, to: instant)
                reference[key] = instant
            }
            #expect(queue.earliest == reference.values.min())
            #expect(queue.count == reference.count)
        }
    }
}
