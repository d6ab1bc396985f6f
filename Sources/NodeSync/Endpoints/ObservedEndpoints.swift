// SPDX-License-Identifier: Apache-2.0

package import SPIFFE

/// What a listener serves: listeners of one kind are endpoints of the same ports.
package struct ListenerKind: Hashable, Sendable {
    /// Of its Proxy.
    package let namespace: String
    /// Of the listener, in the document.
    package let name: String
    /// As documents write it, `http` for example.
    package let trafficProtocol: String
    package let identity: SPIFFEID

    package init(namespace: String, name: String, trafficProtocol: String, identity: SPIFFEID) {
        self.namespace = namespace
        self.name = name
        self.trafficProtocol = trafficProtocol
        self.identity = identity
    }
}

/// An inbound listener of a Proxy on one machine.
package struct ListenerPlace: Hashable, Sendable, Comparable {
    /// `namespace/name`.
    package let proxy: String
    package let listener: String

    package init(proxy: String, listener: String) {
        self.proxy = proxy
        self.listener = listener
    }

    package static func < (lhs: Self, rhs: Self) -> Bool {
        (lhs.proxy, lhs.listener) < (rhs.proxy, rhs.listener)
    }
}

/// Where others reach a listener.
package struct EndpointAddress: Hashable, Sendable {
    /// `IP:port`.
    package let text: String
    /// Whether only its own machine reaches it.
    package let isLoopback: Bool

    package init(_ text: String, isLoopback: Bool) {
        self.text = text
        self.isLoopback = isLoopback
    }
}

/// What an agent's newest report comes to, by what is committed.
package struct ListenerReport: Hashable, Sendable {
    /// Every listener that may be an endpoint on the agent's machine, up or not.
    package var permitted: [ListenerPlace: ListenerKind]
    /// Those that are up; all of them are permitted.
    package var up: [ListenerPlace: EndpointAddress]
    /// The Proxies with a process that has said all it listens at.
    package var settled: Set<String>
    /// Listeners that are up elsewhere than their documents say.
    package var displaced: Set<ListenerPlace>
    /// Proxies of which the agent has lost sight.
    package var departed: Set<String>

    package init(
        permitted: [ListenerPlace: ListenerKind] = [:],
        up: [ListenerPlace: EndpointAddress] = [:],
        settled: Set<String> = [],
        displaced: Set<ListenerPlace> = [],
        departed: Set<String> = []
    ) {
        self.permitted = permitted
        self.up = up
        self.settled = settled
        self.displaced = displaced
        self.departed = departed
    }
}

/// A port of a Service whose endpoints are observed.
package struct ObservedPort: Hashable, Sendable, Comparable {
    package let namespace: String
    package let service: String
    /// The port's name.
    package let name: String

    package init(namespace: String, service: String, name: String) {
        self.namespace = namespace
        self.service = service
        self.name = name
    }

    package static func < (lhs: Self, rhs: Self) -> Bool {
        (lhs.namespace, lhs.service, lhs.name) < (rhs.namespace, rhs.service, rhs.name)
    }
}

/// Which listeners are the endpoints of a port, beside its name and namespace.
package struct ObservedPortRule: Hashable, Sendable {
    package let trafficProtocol: String
    /// Of which a listener has one.
    package let identities: Set<SPIFFEID>

    package init(trafficProtocol: String, identities: Set<SPIFFEID>) {
        self.trafficProtocol = trafficProtocol
        self.identities = identities
    }

    func kinds(of port: ObservedPort) -> [ListenerKind] {
        identities.map { identity in
            ListenerKind(
                namespace: port.namespace,
                name: port.name,
                trafficProtocol: trafficProtocol,
                identity: identity
            )
        }
    }
}

/// The observed endpoints of one port, all of them.
package struct ObservedEndpoints: Hashable, Sendable {
    package let port: ObservedPort
    /// `IP:port`, sorted.
    package let addresses: [String]
    /// Whether it takes nothing away of what was known before.
    package let isPartial: Bool

    package init(port: ObservedPort, addresses: [String], isPartial: Bool = false) {
        self.port = port
        self.addresses = addresses
        self.isPartial = isPartial
    }

    /// About what it has in a message.
    var sizeBytes: Int {
        addresses.reduce(32) { $0 + $1.utf8.count + 2 } + port.namespace.utf8.count
            + port.service.utf8.count + port.name.utf8.count
    }
}

/// One known endpoint, for people.
package struct EndpointStatus: Hashable, Sendable {
    /// Whether it is in use, and why not.
    package enum State: String, Sendable {
        /// Up.
        case up
        /// Lost sight of, and in use until its lease ends.
        case leased
        /// Out of use, unless fewer than half of its port's endpoints are left.
        case lost
        /// Up, and not in use yet because it came and went.
        case damped
    }

    package let agent: AgentName
    package let place: ListenerPlace
    package let kind: ListenerKind
    package let address: String
    package let state: State
}
