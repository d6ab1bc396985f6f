// SPDX-License-Identifier: Apache-2.0

import Testing

@Suite struct RevocationListWalkTests {
    @Test(arguments: UInt64(1)...60)
    func `whatever happens, the lists keep their rules`(seed: UInt64) throws {
        var walk = RevocationListWalk(seed: seed)
        for _ in 0..<150 { try walk.step() }
    }

    @Test func `walks have been everywhere`() throws {
        var (listsCount, departedCount, leftOutCount) = (0, 0, 0)
        for seed in UInt64(1)...10 {
            var walk = RevocationListWalk(seed: seed)
            for _ in 0..<150 { try walk.step() }
            listsCount += walk.listsCount
            departedCount += walk.departedCount
            leftOutCount += walk.leftOutCount
        }
        #expect(listsCount > 100)
        #expect(departedCount > 100)
        #expect(leftOutCount > 10)
    }
}
