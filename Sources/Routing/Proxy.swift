// SPDX-License-Identifier: Apache-2.0

package import SPIFFE

/// What one proxy process may be and do, on every node that shows its node selectors: document kind
/// Proxy (docs/decisions/0009).
package struct Proxy: Hashable, Sendable {
    /// Most identities that one process speaks for.
    package static let identitiesMax = 32
    /// Most listeners of each direction.
    package static let listenersMax = 64
    /// Most users of an outbound listener, or of a forward target.
    package static let allowedUIDsMax = 64
    /// Longest path of a Unix socket: what `sockaddr_un` holds, without its end.
    package static let socketPathBytesMax = 107

    package let namespace: String
    package let name: String
    /// What the node must show, all of it; never empty.
    package let nodeSelectors: [Selector]
    /// What the process must attest to, all of it; never empty.
    package let selectors: [Selector]
    /// The whole SPIFFE IDs it may present; never empty, of the own trust domain, not below
    /// `/signet/`.
    package let identities: [SPIFFEID]
    package let inbound: [InboundListener]
    package let outbound: [OutboundListener]

    /// Joins the parts; whether they fit each other was checked when the document was read.
    package init(
        namespace: String,
        name: String,
        nodeSelectors: [Selector],
        selectors: [Selector],
        identities: [SPIFFEID],
        inbound: [InboundListener] = [],
        outbound: [OutboundListener] = []
    ) {
        self.namespace = namespace
        self.name = name
        self.nodeSelectors = nodeSelectors
        self.selectors = selectors
        self.identities = identities
        self.inbound = inbound
        self.outbound = outbound
    }

    /// `namespace/name`.
    package var reference: String { "\(namespace)/\(name)" }
}

/// Where the application is, behind an inbound listener.
package enum ForwardTarget: Hashable, Sendable {
    /// A loopback address.
    case address(SocketAddress)
    /// The absolute path of a Unix socket.
    case unix(String)
}

/// Takes mTLS from the network and forwards it to the application.
package struct InboundListener: Hashable, Sendable {
    package let name: String
    package let address: SocketAddress
    package let identity: SPIFFEID
    package let trafficProtocol: TrafficProtocol
    package let forward: ForwardTarget
    /// Users whose processes may listen at `forward`; empty in a document that leaves it to the
    /// entries of the identity, never in what a proxy is given.
    package let forwardUIDs: [UInt32]
    /// What policies see as the port.
    package let workloadPort: UInt16

    package init(
        name: String,
        address: SocketAddress,
        identity: SPIFFEID,
        trafficProtocol: TrafficProtocol,
        forward: ForwardTarget,
        forwardUIDs: [UInt32],
        workloadPort: UInt16
    ) {
        self.name = name
        self.address = address
        self.identity = identity
        self.trafficProtocol = trafficProtocol
        self.forward = forward
        self.forwardUIDs = forwardUIDs
        self.workloadPort = workloadPort
    }
}

/// Where an application reaches its proxy.
package enum OutboundAddress: Hashable, Sendable {
    /// A loopback address.
    case address(SocketAddress)
    /// The absolute path of a Unix socket.
    case unix(String)
}

/// Takes plain traffic of the application and carries it to a Service by mTLS.
package struct OutboundListener: Hashable, Sendable {
    package let name: String
    package let identity: SPIFFEID
    /// Name of a Service of the Proxy's namespace.
    package let service: String
    /// Name of one of its ports.
    package let port: String
    package let listen: OutboundAddress
    /// Users whose processes may connect; never empty.
    package let allowedUIDs: [UInt32]

    package init(
        name: String,
        identity: SPIFFEID,
        service: String,
        port: String,
        listen: OutboundAddress,
        allowedUIDs: [UInt32]
    ) {
        self.name = name
        self.identity = identity
        self.service = service
        self.port = port
        self.listen = listen
        self.allowedUIDs = allowedUIDs
    }
}
