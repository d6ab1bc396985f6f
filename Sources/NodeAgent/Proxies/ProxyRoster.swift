// SPDX-License-Identifier: Apache-2.0

package import ControlAPI
package import FoundationEssentials
package import NodeSync

/// Which processes have which Proxies of this node, and which left with keys that are still good.
package struct ProxyRoster: Sendable {
    /// Most processes remembered that left without draining: a proxy that crashes again and again
    /// does not fill the agent's memory.
    package static let departedMax = 64
    /// Most processes whose instance is remembered after they left, whether they drained or not:
    /// decisions that begin with it are in the decision log.
    package static let instancesMax = 1_024

    /// A process with an open stream.
    package struct Attached: Hashable, Sendable {
        package let proxy: String
        package let hello: ProxyHello
        package let pid: Int32
        package let attachedAt: Date
        package var standing = ProxyStanding()
        package var isDraining = false

        package init(proxy: String, hello: ProxyHello, pid: Int32, attachedAt: Date) {
            self.proxy = proxy
            self.hello = hello
            self.pid = pid
            self.attachedAt = attachedAt
        }
    }

    private var attached: [SubscriberID: Attached] = [:]
    private var departed: [(id: SubscriberID, process: Attached, until: Date)] = []
    private var left: [Instance] = []

    package init() {}

    /// Processes that have a Proxy and do not drain.
    package var count: Int { attached.values.count { !$0.isDraining } }

    /// Who has a Proxy now; nil if it may be given to somebody.
    package func holder(of proxy: String) -> (id: SubscriberID, pid: Int32)? {
        attached.first { $0.value.proxy == proxy && !$0.value.isDraining }
            .map { ($0.key, $0.value.pid) }
    }

    /// The process of a stream; nil once it has ended.
    package func process(_ id: SubscriberID) -> Attached? { attached[id] }

    /// Whether another process of this agent has the instance of this one, or had it.
    ///
    /// Processes choose it at random, so that only one who has read it in another's decisions has
    /// the same. A process that comes back, perhaps as another Proxy, is known by its PID.
    package func isInstanceTaken(_ process: Attached) -> Bool {
        let own = Instance(process)
        return attached.values.contains { Instance($0).isOther(own) }
            || left.contains { $0.isOther(own) }
    }

    /// Gives a Proxy that nobody holds to a process.
    package mutating func attach(_ id: SubscriberID, _ process: Attached) {
        // The same process is back.
        departed.removeAll {
            $0.process.proxy == process.proxy
                && $0.process.hello.instance == process.hello.instance
        }
        attached[id] = process
    }

    /// What a process made of its states, or that it drains.
    package mutating func changed(_ id: SubscriberID, _ standing: ProxyStanding, isDraining: Bool) {
        attached[id]?.standing = standing
        // Who drains does not begin again; what is told of before may come after.
        if isDraining { attached[id]?.isDraining = true }
    }

    /// A stream ended.
    ///
    /// - Parameters:
    ///   - id: Whose.
    ///   - now: The wall clock: who left without draining is remembered until its last SVID ends,
    ///     or until it has exited.
    package mutating func detach(_ id: SubscriberID, now: Date) {
        guard let process = attached.removeValue(forKey: id) else { return }
        let instance = Instance(process)
        left.removeAll { $0 == instance }
        left.append(instance)
        if left.count > Self.instancesMax { left.removeFirst() }
        guard !process.isDraining, let until = process.standing.newestNotAfter, until > now
        else { return }
        departed.append((id, process, until))
        if departed.count > Self.departedMax { departed.removeFirst() }
    }

    /// The process of a stream that has ended is no more: it holds no keys.
    ///
    /// - Returns: Whether it was told of until now.
    package mutating func exited(_ id: SubscriberID) -> Bool {
        let before = departed.count
        departed.removeAll { $0.id == id }
        return departed.count < before
    }

    /// The ended streams of those that left without draining and are told of.
    package var departures: Set<SubscriberID> { Set(departed.map(\.id)) }

    /// When the next of those that left without draining is forgotten; nil if there is none.
    package var nextEnd: Date? { departed.map(\.until).min() }

    /// All that the server is told, sorted.
    ///
    /// - Parameters:
    ///   - now: The wall clock.
    ///   - mayListen: Whether a Proxy names an identity: nothing else is believed of a process.
    /// - Returns: Processes with a Proxy, and those that left without draining.
    package mutating func report(
        now: Date,
        mayListen: (_ proxy: String, ProxyListening) -> Bool
    ) -> [AttachedProxy] {
        departed.removeAll { $0.until <= now }
        let here = attached.values.filter { !$0.isDraining }.map { process in
            process.report(
                isAttached: true,
                listening: process.standing.listening.filter { mayListen(process.proxy, $0) }
            )
        }
        let gone = departed.map { $0.process.report(isAttached: false, listening: []) }
        let all = (here + gone).sorted {
            ($0.proxy, $0.attachedAt, $0.pid) < ($1.proxy, $1.attachedAt, $1.pid)
        }
        return Array(all.prefix(AttachedProxy.reportedMax))
    }
}

/// Which process says which instance it is.
private struct Instance: Hashable {
    let bytes: [UInt8]
    let pid: Int32

    init(_ process: ProxyRoster.Attached) { (bytes, pid) = (process.hello.instance, process.pid) }

    /// Whether it is another process of the same instance.
    func isOther(_ other: Self) -> Bool { bytes == other.bytes && pid != other.pid }
}

extension ProxyRoster.Attached {
    fileprivate func report(isAttached: Bool, listening: [ProxyListening]) -> AttachedProxy {
        AttachedProxy(
            proxy: proxy,
            instance: hello.instance,
            version: hello.version,
            capabilities: hello.capabilities,
            applied: standing.applied,
            refused: standing.refused,
            refusedReason: standing.refusedReason,
            listening: listening,
            pid: pid,
            attachedAt: attachedAt,
            isAttached: isAttached
        )
    }
}
