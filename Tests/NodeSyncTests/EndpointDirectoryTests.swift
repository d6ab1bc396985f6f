// SPDX-License-Identifier: Apache-2.0

import NodeSync
import SPIFFE
import Testing

/// docs/decisions/0010-observed-endpoints.md.
@Suite struct EndpointDirectoryTests {
    @Test("what is up is told within a tenth of a second, as one list")
    func told() throws {
        var world = try World.pair()
        world.report(1, up: ["http": "192.0.2.1:8443"])
        #expect(world.directory.deadline == world.now + EndpointDirectory.gatheringTime)
        #expect(world.directory.timerFired(now: world.now).isEmpty)
        #expect(world.list(2) == ["192.0.2.1:8443"])
        #expect(world.pass(.seconds(3_600)).isEmpty, "there is nothing more to tell")
        #expect(world.directory.deadline == nil, "an idle directory does nothing")
    }

    @Test("only listeners of the port's name, protocol, identity and namespace are endpoints")
    func kinds() throws {
        var world = try World.pair()
        let other = try SPIFFEID("spiffe://example.org/other")
        for (index, kind) in [
            ListenerKind(
                namespace: "b",
                name: "http",
                trafficProtocol: "http",
                identity: world.identity
            ),
            ListenerKind(
                namespace: "a",
                name: "admin",
                trafficProtocol: "http",
                identity: world.identity
            ),
            ListenerKind(
                namespace: "a",
                name: "http",
                trafficProtocol: "tcp",
                identity: world.identity
            ),
            ListenerKind(namespace: "a", name: "http", trafficProtocol: "http", identity: other),
        ].enumerated() {
            let place = ListenerPlace(proxy: "\(kind.namespace)/p\(index)", listener: kind.name)
            world.permitted[place] = kind
            world.up[place] = EndpointAddress("192.0.2.9:\(1000 + index)", isLoopback: false)
        }
        world.report(1, up: ["http": "192.0.2.1:8443"])
        #expect(world.list(2) == ["192.0.2.1:8443"])
    }

    @Test("a loopback address is told to the agent of the same machine only")
    func loopback() throws {
        var world = try World()
        world.open(1, "web-1")
        world.open(2, "client")
        world.need(1)
        world.need(2)
        world.report(1, up: ["http": "127.0.0.1:8443"], isLoopback: true)
        #expect(world.list(1) == ["127.0.0.1:8443"])
        #expect(world.list(2) == [])
    }

    @Test("what an attached process does not say any more is gone at once")
    func goneAtOnce() throws {
        var world = try World.pair()
        world.report(1, up: ["http": "192.0.2.1:8443"])
        #expect(world.list(2) == ["192.0.2.1:8443"])
        world.report(1, up: [:])
        #expect(world.list(2) == [])
    }

    @Test("what an agent has lost sight of stays for a lease")
    func lease() throws {
        for departs in [false, true] {
            var world = try World()
            world.open(1, "web-1")
            world.open(2, "client")
            world.need(2)
            world.report(1, up: ["http": "192.0.2.1:8443"])
            #expect(world.list(2) == ["192.0.2.1:8443"])
            if departs {
                world.report(1, up: [:], departed: true)
            } else {
                world.directory.ended(SessionID(1), now: world.now)
            }
            #expect(world.pass(EndpointDirectory.lease - .seconds(1)) == [:])
            // One that is lost stands for itself while no other is left, if its agent is away.
            _ = world.pass(.seconds(2))
            #expect(world.list(2) == (departs ? [] : ["192.0.2.1:8443"]))
            _ = world.pass(EndpointDirectory.lostMax + .seconds(2))
            #expect(world.list(2) == [])
        }
    }

    @Test("an agent that restarts says nothing at first, and its proxies stay endpoints")
    func agentRestart() throws {
        var world = try World.pair()
        world.report(1, up: ["http": "192.0.2.1:8443"])
        #expect(world.list(2) == ["192.0.2.1:8443"])
        world.directory.ended(SessionID(1), now: world.now)
        world.open(3, "web-1")
        world.report(3, up: [:], isSettled: false)
        #expect(world.pass(.seconds(5)) == [:])
        world.report(3, up: ["http": "192.0.2.1:8443"])
        #expect(world.pass(.seconds(120)) == [:], "nothing has changed")
    }

    @Test("the process that attaches again with fewer listeners has lost them")
    func fewer() throws {
        var world = try World.pair()
        world.report(1, up: ["http": "192.0.2.1:8443"])
        _ = world.list(2)
        world.open(3, "web-1")
        world.report(3, up: [:], isSettled: true)
        #expect(world.list(2) == [])
    }

    @Test("fewer than half bring all back, half do not")
    func half() throws {
        var world = try World()
        world.open(100, "client")
        world.need(100)
        for number in 1...4 {
            world.open(number, "web-\(number)")
            world.report(number, up: ["http": "192.0.2.\(number):8443"])
        }
        #expect(world.list(100)?.count == 4)
        for number in 1...2 { world.directory.ended(SessionID(UInt64(number)), now: world.now) }
        _ = world.pass(EndpointDirectory.lease + .seconds(1))
        #expect(world.list(100) == ["192.0.2.3:8443", "192.0.2.4:8443"])
        world.directory.ended(SessionID(3), now: world.now)
        _ = world.pass(EndpointDirectory.lease + .seconds(1))
        #expect(world.list(100)?.count == 4, "one of four is left, and the lost ones with it")
        world.open(5, "web-1")
        world.report(5, up: ["http": "192.0.2.1:8443"])
        #expect(world.list(100) == ["192.0.2.1:8443", "192.0.2.4:8443"])
    }

    @Test("a banned agent's endpoints go at once, and nothing of them is leased")
    func banned() throws {
        var world = try World.pair()
        world.report(1, up: ["http": "192.0.2.1:8443"])
        _ = world.list(2)
        world.directory.removed(AgentName("web-1"), now: world.now)
        world.directory.ended(SessionID(1), now: world.now)
        #expect(world.list(2) == [])
        #expect(world.directory.count == 0)
        world.report(1, up: ["http": "192.0.2.1:8443"])
        #expect(world.directory.count == 0, "a stream that was ended says nothing more")
    }

    @Test("what a Proxy does not permit any more goes, leased or not")
    func withdrawn() throws {
        var world = try World.pair()
        world.report(1, up: ["http": "192.0.2.1:8443"])
        _ = world.list(2)
        world.open(3, "web-1")
        world.permitted = [:]
        world.report(3, up: [:], isSettled: false, permits: false)
        #expect(world.list(2) == [])
    }

    @Test("who flaps comes back later each time")
    func flapping() throws {
        var world = try World.pair()
        world.report(1, up: ["http": "192.0.2.1:8443"])
        #expect(world.list(2) == ["192.0.2.1:8443"])
        // Once it may be a restart.
        world.report(1, up: [:])
        #expect(world.list(2) == [])
        world.report(1, up: ["http": "192.0.2.1:8443"])
        #expect(world.list(2) == ["192.0.2.1:8443"])
        for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
            world.report(1, up: [:])
            #expect(world.list(2) == [])
            world.report(1, up: ["http": "192.0.2.1:8443"])
            #expect(world.pass(.seconds(wait) - .milliseconds(200)) == [:])
            _ = world.pass(.milliseconds(300))
            #expect(world.list(2) == ["192.0.2.1:8443"])
        }
        _ = world.pass(EndpointDirectory.calmTime)
        world.report(1, up: [:])
        _ = world.list(2)
        _ = world.pass(EndpointDirectory.calmTime)
        world.report(1, up: ["http": "192.0.2.1:8443"])
        #expect(world.list(2) == ["192.0.2.1:8443"], "it was calm for a minute")
    }

    @Test("one that waits to come back is not used while its agent is away")
    func dampedAndAway() throws {
        var world = try World.pair()
        for _ in 1...2 {
            world.report(1, up: ["http": "192.0.2.1:8443"])
            world.report(1, up: [:])
        }
        world.report(1, up: ["http": "192.0.2.1:8443"])
        #expect(world.directory.statuses(namespace: "a").map(\.state) == [.damped])
        world.directory.ended(SessionID(1), now: world.now)
        _ = world.pass(.seconds(10))
        #expect(world.list(2) == [])
        #expect(world.directory.count == 0)
    }

    @Test("an endpoint has one address, the newest")
    func newAddress() throws {
        var world = try World.pair()
        world.report(1, up: ["http": "192.0.2.1:8443"])
        _ = world.list(2)
        world.open(3, "web-1")
        world.report(3, up: ["http": "192.0.2.7:8443"])
        #expect(world.list(2) == ["192.0.2.7:8443"], "one that moves is used at once")
        #expect(world.directory.count == 1)
    }

    @Test("machines with the same loopback address find their own each")
    func twoLoopbacks() throws {
        var world = try World()
        for (session, agent) in [(1, "web-1"), (2, "web-2"), (3, "client")] {
            world.open(session, agent)
            world.need(session)
        }
        for session in [1, 2] {
            world.report(session, up: ["http": "127.0.0.1:8443"], isLoopback: true)
        }
        _ = world.pass(.seconds(1))
        #expect(world.list(1) == ["127.0.0.1:8443"])
        #expect(world.list(2) == ["127.0.0.1:8443"])
        #expect(world.list(3) == [])
    }

    @Test("a list that came out the same is not told again")
    func unchanged() throws {
        var world = try World()
        for session in 1...2 { world.open(session, "web-\(session)") }
        world.open(3, "client")
        world.need(3)
        world.report(1, up: ["http": "192.0.2.1:8443"])
        _ = world.list(3)
        // Another machine at the same address, behind a translation of addresses.
        world.report(2, up: ["http": "192.0.2.1:8443"])
        #expect(world.pass(.seconds(1)) == [:])
        world.report(1, up: [:])
        #expect(world.pass(.seconds(1)) == [:])
        #expect(world.list(3) == ["192.0.2.1:8443"])
    }

    @Test("of two streams that are opened at a time the newer counts")
    func order() throws {
        var world = try World()
        world.open(3, "client")
        world.need(3)
        world.open(2, "web-1")
        world.open(1, "web-1")
        world.directory.ended(SessionID(1), now: world.now)
        world.report(2, up: ["http": "192.0.2.1:8443"])
        #expect(world.list(3) == ["192.0.2.1:8443"])
        #expect(world.directory.isOpen(SessionID(2)) && !world.directory.isOpen(SessionID(1)))
    }

    @Test("an agent that does not report nothing is not waited for")
    func silent() throws {
        var world = try World(awaiting: ["old"])
        world.open(2, "client")
        world.need(2)
        world.directory.opened(
            SessionID(9),
            by: AgentName("old"),
            reports: false,
            now: world.now
        )
        #expect(world.pass(.seconds(1))[2]?.isPartial == false)
    }

    @Test("a server that has just started takes nothing away until everybody was heard")
    func start() throws {
        var world = try World(awaiting: ["web-1", "web-2"])
        world.open(2, "client")
        world.need(2)
        world.open(1, "web-1")
        world.report(1, up: ["http": "192.0.2.1:8443"])
        var told = world.pass(.seconds(1))
        #expect(told[2]?.isPartial == true)
        #expect(told[2]?.addresses == ["192.0.2.1:8443"])
        world.open(3, "web-2")
        world.report(3, up: ["http": "192.0.2.2:8443"])
        told = world.pass(.seconds(1))
        #expect(told[2]?.isPartial == false)
        #expect(told[2]?.addresses == ["192.0.2.1:8443", "192.0.2.2:8443"])
    }

    @Test("it waits for them for a quarter of an hour at most")
    func startEnds() throws {
        var world = try World(awaiting: ["gone"])
        world.open(2, "client")
        world.need(2)
        #expect(world.pass(.seconds(1))[2]?.isPartial == true)
        #expect(world.pass(EndpointDirectory.startingMax)[2]?.isPartial == false)
    }

    @Test("of more than 256 each agent has its own part, and together they have all")
    func many() throws {
        var world = try World()
        for number in 1...600 {
            world.open(number, "web-\(number)")
            world.report(number, up: ["http": "10.0.\(number / 250).\(number % 250):8443"])
        }
        var seen: Set<String> = []
        for client in 1...20 {
            world.open(1_000 + client, "client-\(client)")
            world.need(1_000 + client)
        }
        let told = world.pass(.seconds(1))
        for client in 1...20 {
            let list = try #require(told[1_000 + client]?.addresses)
            #expect(list.count == EndpointDirectory.listMax)
            seen.formUnion(list)
        }
        #expect(seen.count == 600)
    }

    @Test("one agent and one namespace have their limits, and what is held stays")
    func limits() throws {
        var world = try World()
        world.open(1, "web-1")
        for number in 0...EndpointDirectory.perAgentMax {
            let place = ListenerPlace(proxy: "a/p\(number)", listener: "http")
            world.permitted[place] = world.kind
            world.up[place] = EndpointAddress("192.0.2.1:\(number + 1)", isLoopback: false)
        }
        #expect(world.report(1, up: [:]) == 1)
        #expect(world.directory.count == EndpointDirectory.perAgentMax)
        #expect(world.report(1, up: [:]) == 1, "saying it again changes nothing")
        for agent in 2...20 {
            world.open(agent, "web-\(agent)")
            world.report(agent, up: [:])
        }
        #expect(world.directory.count == EndpointDirectory.perNamespaceMax)
        world.open(21, "web-21")
        #expect(world.report(21, up: [:]) == EndpointDirectory.perAgentMax + 1)
        #expect(world.report(1, up: [:]) == 1)
        #expect(world.directory.count == EndpointDirectory.perNamespaceMax)
    }

    @Test("a message holds what fits, and the rest is asked for again")
    func pages() throws {
        var world = try World()
        world.open(1, "web-1")
        world.open(2, "client")
        world.report(1, up: ["http": "192.0.2.1:8443"])
        let rule = ObservedPortRule(trafficProtocol: "http", identities: [world.identity])
        let ports = (1...3).map { ObservedPort(namespace: "a", service: "s\($0)", name: "http") }
        let fits = world.directory.needs(
            Dictionary(uniqueKeysWithValues: ports.map { ($0, rule) }),
            on: SessionID(2),
            now: world.now
        )
        #expect(fits)
        world.now += .seconds(1)
        #expect(world.directory.timerFired(now: world.now) == [SessionID(2)])
        for place in 0..<3 {
            let next = world.directory.take(SessionID(2), bytesMax: 10)
            #expect(next.lists.map(\.port) == [ports[place]])
            #expect(next.isMore == (place < 2))
        }
    }

    @Test("ports of no more interest are forgotten with the stream")
    func forgets() throws {
        var world = try World.pair()
        _ = world.pass(.seconds(1))
        world.directory.ended(SessionID(2), now: world.now)
        world.report(1, up: ["http": "192.0.2.1:8443"])
        #expect(world.pass(.seconds(1)) == [:])
        #expect(world.directory.statuses(namespace: "a").map(\.state) == [.up])
        #expect(world.directory.statuses(namespace: "b").isEmpty)
    }
}

/// One port `http` of Service `a/web`, and the agents that are concerned.
private struct World {
    var directory: EndpointDirectory
    var now: Duration = .seconds(1_000)
    let identity: SPIFFEID
    let kind: ListenerKind
    let port = ObservedPort(namespace: "a", service: "web", name: "http")
    var permitted: [ListenerPlace: ListenerKind] = [:]
    var up: [ListenerPlace: EndpointAddress] = [:]

    init(awaiting names: [String] = []) throws {
        directory = EndpointDirectory(
            startedAt: now,
            awaiting: Set(names.map { AgentName($0) })
        )
        identity = try SPIFFEID("spiffe://example.org/web")
        kind = ListenerKind(
            namespace: "a",
            name: "http",
            trafficProtocol: "http",
            identity: identity
        )
    }

    /// Stream 1 of a machine that serves, and stream 2 of one that asks.
    static func pair() throws -> World {
        var world = try World()
        world.open(1, "web-1")
        world.open(2, "client")
        world.need(2)
        return world
    }

    mutating func open(_ session: Int, _ agent: String) {
        directory.opened(SessionID(UInt64(session)), by: AgentName(agent), now: now)
    }

    mutating func need(_ session: Int) {
        let rule = ObservedPortRule(trafficProtocol: "http", identities: [identity])
        let fits = directory.needs([port: rule], on: SessionID(UInt64(session)), now: now)
        precondition(fits)
    }

    /// Reports the listeners of Proxy `a/web` by name, with what is in `up`.
    @discardableResult
    mutating func report(
        _ session: Int,
        up listeners: [String: String],
        isLoopback: Bool = false,
        isSettled: Bool = true,
        departed: Bool = false,
        permits: Bool = true
    ) -> Int {
        var report = ListenerReport(permitted: permitted, up: up)
        if permits { report.permitted[ListenerPlace(proxy: "a/web", listener: "http")] = kind }
        for (name, address) in listeners {
            report.up[ListenerPlace(proxy: "a/web", listener: name)] = EndpointAddress(
                address,
                isLoopback: isLoopback
            )
        }
        if departed {
            report.departed = ["a/web"]
        } else if isSettled {
            report.settled = ["a/web"]
        }
        return directory.reported(report, on: SessionID(UInt64(session)), now: now)
    }

    /// What each stream was told of the port last while so much time passed.
    mutating func pass(_ time: Duration) -> [Int: ObservedEndpoints] {
        var told: [Int: ObservedEndpoints] = [:]
        let end = now + time
        while let deadline = directory.deadline, deadline <= end {
            now = max(now, deadline)
            for session in directory.timerFired(now: now) {
                for list in directory.take(session).lists {
                    told[Int(session.number)] = list
                    lists[Int(session.number)] = list.addresses
                }
            }
        }
        now = end
        return told
    }

    private var lists: [Int: [String]] = [:]

    /// What a stream knows of the port a moment later.
    mutating func list(_ session: Int) -> [String]? {
        _ = pass(.milliseconds(150))
        return lists[session]
    }
}
