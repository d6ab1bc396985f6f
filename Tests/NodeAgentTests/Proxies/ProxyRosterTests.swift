// SPDX-License-Identifier: Apache-2.0

import ControlAPI
import ControlAPIProtos
import FoundationEssentials
import NodeAgent
import NodeSync
import Routing
import SPIFFE
import SwiftProtobuf
import TestPKI
import Testing

/// Who has which Proxy, and who is refused.
struct ProxyRosterTests {
    let now = testNow

    private func proxy(_ reference: String) -> NodeProxy {
        NodeProxy(
            reference: reference,
            namespace: String(reference.prefix { $0 != "/" }),
            nodeSelectors: [],
            selectors: [],
            identities: [],
            payload: []
        )
    }

    private func process(_ proxy: String, pid: Int32, instance: UInt8 = 1) -> ProxyRoster.Attached {
        ProxyRoster.Attached(
            proxy: proxy,
            hello: ProxyHello(
                proxy: proxy,
                instance: [instance, 0, 0, 0, 0],
                version: "1",
                capabilities: ["x"]
            ),
            pid: pid,
            attachedAt: now
        )
    }

    @Test(arguments: [
        (named: "", there: ["a/p"], found: "a/p"), (named: "a/p", there: ["a/p"], found: "a/p"),
        (named: "a/q", there: ["a/p", "a/q"], found: "a/q"),
        (named: "b/p", there: ["a/p", "b/p"], found: "b/p"),
    ])
    func `a process is the Proxy that it attests to and names`(
        named: String,
        there: [String],
        found: String
    ) throws {
        let match = try ProxyMatch.proxy(named: named, meaning: there.map(proxy))
        #expect(match.reference == found)
    }

    @Test(arguments: [
        (named: "", there: [], refusal: ProxyRefusal.noProxy),
        (named: "a/p", there: [], refusal: .noProxy),
        (named: "a/other", there: ["a/p"], refusal: .noProxy),
        (named: "", there: ["a/p", "a/q"], refusal: .severalProxies(["a/p", "a/q"])),
        (named: "", there: ["a/p", "b/p"], refusal: .ambiguous(["a/p", "b/p"])),
        (named: "c/p", there: ["a/p", "b/p"], refusal: .noProxy),
    ])
    func `a process that could be several, or none, is refused`(
        named: String,
        there: [String],
        refusal: ProxyRefusal
    ) {
        #expect(throws: refusal) {
            try ProxyMatch.proxy(named: named, meaning: there.map(proxy))
        }
    }

    struct Attested: Sendable {
        let asked: [String]
        let omitted: Set<String>
        let isInPart: Bool
    }

    @Test(arguments: [
        Attested(asked: ["unix:uid:7"], omitted: ["path"], isInPart: true),
        Attested(
            asked: ["unix:uid:7", "unix:path:/usr/bin/p"],
            omitted: ["path", "sha256"],
            isInPart: true
        ),
        Attested(asked: ["unix:uid:7", "unix:path:/usr/bin/p"], omitted: [], isInPart: false),
        Attested(asked: ["unix:uid:8", "unix:path:/bin/p"], omitted: ["path"], isInPart: false),
        Attested(asked: ["unix:user:p"], omitted: ["path", "sha256"], isInPart: false),
        Attested(asked: ["unix:user:p"], omitted: ["user"], isInPart: true),
    ])
    func `what could not be found out is told apart from what is not there`(
        _ attested: Attested
    ) throws {
        let proxy = NodeProxy(
            reference: "a/p",
            namespace: "a",
            nodeSelectors: [],
            selectors: try attested.asked.map { try Selector($0) },
            identities: [],
            payload: []
        )
        let shown: Set = [try Selector("unix:uid:7")]
        let isInPart = ProxyMatch.isInPart(proxy, shown, without: attested.omitted)
        #expect(isInPart == attested.isInPart)
    }

    @Test func `one process has a Proxy until it leaves or drains`() {
        var roster = ProxyRoster()
        roster.attach(SubscriberID(1), process("a/p", pid: 10))
        #expect(roster.holder(of: "a/p")?.pid == 10)
        #expect(roster.holder(of: "a/q") == nil)
        roster.changed(SubscriberID(1), ProxyStanding(), isDraining: true)
        #expect(roster.holder(of: "a/p") == nil)
        roster.attach(SubscriberID(2), process("a/p", pid: 11, instance: 2))
        roster.detach(SubscriberID(1), now: now)
        #expect(roster.holder(of: "a/p")?.pid == 11)
        #expect(roster.count == 1)
        roster.detach(SubscriberID(2), now: now)
        #expect(roster.holder(of: "a/p") == nil)
    }

    @Test func `who left without draining is told of until its last SVID ends`() {
        var roster = ProxyRoster()
        var standing = ProxyStanding()
        standing.newestNotAfter = now.addingTimeInterval(60)
        roster.attach(SubscriberID(1), process("a/p", pid: 10))
        roster.changed(SubscriberID(1), standing, isDraining: false)
        roster.attach(SubscriberID(2), process("a/q", pid: 11, instance: 2))
        roster.changed(SubscriberID(2), standing, isDraining: true)
        roster.attach(SubscriberID(3), process("a/r", pid: 12, instance: 3))
        for number in 1...3 { roster.detach(SubscriberID(UInt64(number)), now: now) }
        func left(_ seconds: Double) -> [String] {
            roster.report(now: now.addingTimeInterval(seconds)) { _, _ in true }
                .map { "\($0.proxy) \($0.isAttached)" }
        }
        #expect(left(59) == ["a/p false"])
        #expect(roster.nextEnd == now.addingTimeInterval(60))
        #expect(left(60) == [])
        #expect(roster.nextEnd == nil)
    }

    @Test func `who left without draining and has exited is told of no more`() {
        var roster = ProxyRoster()
        var standing = ProxyStanding()
        standing.newestNotAfter = now.addingTimeInterval(60)
        for number in 1...3 as ClosedRange<UInt64> {
            let next = process("a/p", pid: Int32(number), instance: UInt8(number))
            roster.attach(SubscriberID(number), next)
            roster.changed(SubscriberID(number), standing, isDraining: number == 3)
        }
        // Who is there has not left, whatever is said of it.
        #expect(roster.departures == [])
        #expect(roster.exited(SubscriberID(1)) == false)
        for number in 1...3 as ClosedRange<UInt64> { roster.detach(SubscriberID(number), now: now) }
        #expect(roster.departures == [SubscriberID(1), SubscriberID(2)])
        #expect(roster.exited(SubscriberID(1)) == true)
        #expect(roster.exited(SubscriberID(1)) == false)
        #expect(roster.report(now: now) { _, _ in true }.map(\.pid) == [2])
        #expect(roster.exited(SubscriberID(2)) == true)
        #expect(roster.nextEnd == nil)
        // Its instance stays its own: its decisions are in the log.
        #expect(roster.isInstanceTaken(process("a/p", pid: 9, instance: 1)))
    }

    @Test func `a process that comes back is not told of twice`() {
        var roster = ProxyRoster()
        var standing = ProxyStanding()
        standing.newestNotAfter = now.addingTimeInterval(60)
        roster.attach(SubscriberID(1), process("a/p", pid: 10))
        roster.changed(SubscriberID(1), standing, isDraining: false)
        roster.detach(SubscriberID(1), now: now)
        roster.attach(SubscriberID(2), process("a/p", pid: 10))
        #expect(roster.report(now: now) { _, _ in true }.map(\.isAttached) == [true])
    }

    @Test func `a process of another Proxy that says it is the same makes none forgotten`() {
        var roster = ProxyRoster()
        var standing = ProxyStanding()
        standing.newestNotAfter = now.addingTimeInterval(60)
        roster.attach(SubscriberID(1), process("a/p", pid: 10))
        roster.changed(SubscriberID(1), standing, isDraining: false)
        roster.detach(SubscriberID(1), now: now)
        roster.attach(SubscriberID(2), process("a/q", pid: 11))
        #expect(roster.report(now: now) { _, _ in true }.map(\.proxy) == ["a/p", "a/q"])
    }

    @Test func `nobody is the instance that another process is or was`() {
        var roster = ProxyRoster()
        let victim = process("a/p", pid: 10)
        roster.attach(SubscriberID(1), victim)
        #expect(roster.isInstanceTaken(process("b/q", pid: 11)))
        #expect(roster.isInstanceTaken(process("a/p", pid: 11)))
        #expect(!roster.isInstanceTaken(process("b/q", pid: 11, instance: 2)))
        // Who drained is remembered as well.
        roster.changed(SubscriberID(1), ProxyStanding(), isDraining: true)
        #expect(roster.isInstanceTaken(process("b/q", pid: 11)))
        roster.detach(SubscriberID(1), now: now)
        #expect(roster.isInstanceTaken(process("b/q", pid: 11)))
        // It is back.
        #expect(!roster.isInstanceTaken(victim))
        for number in 0..<ProxyRoster.instancesMax {
            let id = SubscriberID(UInt64(2 + number))
            roster.attach(id, process("a/p", pid: Int32(100 + number), instance: 3))
            roster.detach(id, now: now)
        }
        #expect(!roster.isInstanceTaken(process("b/q", pid: 11)))
    }

    @Test func `who drains does not begin again, though older news come later`() {
        var roster = ProxyRoster()
        roster.attach(SubscriberID(1), process("a/p", pid: 10))
        roster.changed(SubscriberID(1), ProxyStanding(), isDraining: true)
        roster.changed(SubscriberID(1), ProxyStanding(), isDraining: false)
        #expect(roster.holder(of: "a/p") == nil)
    }

    @Test func `those that left are bounded`() {
        var roster = ProxyRoster()
        var standing = ProxyStanding()
        standing.newestNotAfter = now.addingTimeInterval(60)
        for number in 0..<(ProxyRoster.departedMax + 10) {
            let id = SubscriberID(UInt64(number))
            roster.attach(id, process("a/p", pid: Int32(number), instance: UInt8(number)))
            roster.changed(id, standing, isDraining: false)
            roster.detach(id, now: now)
        }
        let report = roster.report(now: now) { _, _ in true }
        #expect(report.count == ProxyRoster.departedMax)
        #expect(report.first?.pid == 10)
    }

    @Test func `a process is not believed to listen for an identity that is not its Proxy's`()
        throws
    {
        var roster = ProxyRoster()
        var standing = ProxyStanding()
        standing.listening = try ["a", "b"].map {
            ProxyListening(
                listener: $0,
                identity: try SPIFFEID("spiffe://example.org/\($0)"),
                address: try #require(.init("192.0.2.1:443"))
            )
        }
        roster.attach(SubscriberID(1), process("a/p", pid: 10))
        roster.changed(SubscriberID(1), standing, isDraining: false)
        let report = roster.report(now: now) { proxy, one in
            proxy == "a/p" && one.identity.path == "/a"
        }
        #expect(report.first?.listening.map(\.listener) == ["a"])
    }

    @Test func `records are counted by verdict and policy, and what is too much is dropped`() {
        var message = Signet_Proxy_V1alpha1_TrafficRecords()
        message.counts = [
            .with { ($0.allowed, $0.policyNamespace, $0.policy, $0.count) = (true, "a", "p", 3) },
            .with { ($0.allowed, $0.policyNamespace, $0.policy, $0.count) = (true, "a", "p", 4) },
            .with { $0.count = 5 },
        ]
        message.dropped = 7
        let first = ProxyRecords.counted(message)
        #expect(
            first.decisions == [
                .init(isAllowed: true, policy: "a/p"): 7,
                .init(isAllowed: false, policy: "none"): 5,
            ]
        )
        #expect(first.dropped == 7)
        message.counts = Array(
            repeating: message.counts[0],
            count: ProxyRecords.countsMax + 2
        )
        message.denials = Array(repeating: .init(), count: ProxyRecords.denialsMax + 3)
        message.dropped = 1
        let second = ProxyRecords.counted(message)
        #expect(second.decisions.values.first == 3 * ProxyRecords.countsMax)
        #expect(second.dropped == 6)
        message.counts = [
            .with { ($0.policy, $0.count) = (String(repeating: "x", count: 999), .max) }
        ]
        #expect(ProxyRecords.counted(message).decisions.keys.first?.policy == "other")
    }
}
