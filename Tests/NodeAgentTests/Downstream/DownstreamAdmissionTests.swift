// SPDX-License-Identifier: Apache-2.0

import NodeAgent
import Testing

/// How often servers below may ask, and how many streams they may have.
@Suite struct DownstreamAdmissionTests {
    @Test func `an entry has one request under way, all together eight`() {
        var admission = DownstreamAdmission()
        #expect(admission.entered(entry: "a", now: .zero) == nil)
        #expect(admission.entered(entry: "a", now: .zero) == .underWay)
        for number in 1..<DownstreamAdmission.underWayMax {
            #expect(admission.entered(entry: "\(number)", now: .zero) == nil)
        }
        #expect(admission.entered(entry: "b", now: .zero) == .underWay)
        admission.left(entry: "a")
        #expect(admission.entered(entry: "b", now: .zero) == nil)
    }

    @Test func `who asks each ten seconds is never refused`() {
        var admission = DownstreamAdmission()
        for turn in 0..<1_000 {
            #expect(admission.entered(entry: "a", now: .seconds(10 * turn)) == nil)
            admission.left(entry: "a")
        }
    }

    @Test func `who has asked twelve times at once waits, and hears how long`() {
        var admission = DownstreamAdmission()
        for _ in 0..<12 {
            #expect(admission.entered(entry: "a", now: .zero) == nil)
            admission.left(entry: "a")
        }
        guard case .rate(let wait) = admission.entered(entry: "a", now: .zero) else {
            Issue.record("a thirteenth was taken")
            return
        }
        #expect(wait > .seconds(4.9) && wait < .seconds(5.1))
        #expect(admission.entered(entry: "b", now: .zero) == nil)
        #expect(admission.entered(entry: "a", now: .seconds(5.1)) == nil)
    }

    @Test func `entries that have rested are forgotten when there are too many`() {
        var admission = DownstreamAdmission()
        for number in 0..<DownstreamAdmission.entriesMax {
            #expect(admission.entered(entry: "\(number)", now: .zero) == nil)
            admission.left(entry: "\(number)")
        }
        #expect(admission.entered(entry: "new", now: .zero) != nil)
        #expect(admission.entered(entry: "new", now: .seconds(60)) == nil)
    }

    @Test func `streams are counted for each user and for all together`() {
        var admission = DownstreamAdmission()
        for uid in 0..<8 as Range<UInt32> {
            for _ in 0..<DownstreamAdmission.watchesPerUserMax {
                #expect(admission.opened(uid: uid) == nil)
            }
            #expect(admission.opened(uid: uid) == .watches)
        }
        #expect(admission.opened(uid: 9) == .watches)
        admission.closed(uid: 0)
        #expect(admission.opened(uid: 9) == nil)
        #expect(admission.opened(uid: 0) == .watches)
    }
}
