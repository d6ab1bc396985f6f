// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import NodeSync
import SPIFFE
import Testing

/// What a cache makes of a wall clock that was wrong.
struct ClockStepTests {
    /// The clock was ahead when the first was issued, and was put right: the second counts, although
    /// it seems to be older.
    @Test func `which SVID is newer does not depend on the node's clock`() throws {
        let values = try CacheValues()
        var cache = values.cache()
        let changes: [NodeCache.Change] = [
            .bundle(values.bundle(values.trustDomain)), .entry(try values.entry("a")),
        ]
        _ = cache.received(changes, now: values.time(0))
        let id = SubscriberID(1)
        _ = cache.subscribe(id, selectors: [try Selector("unix:uid:1")], now: values.time(0))
        let key = try values.key("a")
        func serial() -> [UInt8]? { cache.view(for: id).svids.first?.serial }
        let ahead = values.issued(key, at: 836, serial: 1, notBefore: -60)
        _ = cache.received([ahead], now: values.time(836))
        #expect(serial() == [1])
        _ = cache.clockStepped(now: values.time(10))
        let right = values.issued(key, at: 10, serial: 2)
        _ = cache.received([right], now: values.time(10))
        #expect(serial() == [2])
        // What was overtaken on the way changes nothing.
        let late = values.issued(key, at: 20, serial: 3, notBefore: -55)
        _ = cache.received([late], now: values.time(20))
        #expect(serial() == [2])
    }
}
