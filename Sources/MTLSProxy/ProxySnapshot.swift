// SPDX-License-Identifier: Apache-2.0

package import Authorization
package import Reactor
package import Routing

/// Everything a proxy does at one time: immutable, built and released off the loops.
///
/// A loop takes a new one between two turns. New connections use it at once, TLS contexts included;
/// live ones keep their TLS session and are judged again by its policies and revocations.
package final class ProxySnapshot: Sendable {
    /// Greater than that of every snapshot before it in this process.
    package let generation: UInt64
    /// The number of the revision that it was made from, for the IDs of decisions.
    package let revision: UInt64
    package let inbound: [InboundRoute]
    package let outbound: [OutboundRoute]
    /// Listeners that are left out because their identity has no certificate.
    package let unserved: [UnservedListener]
    /// What is recorded of requests.
    package let recording: ProxyRecording
    package let limits: ProxyLimits

    package init(
        generation: UInt64,
        revision: UInt64,
        inbound: [InboundRoute],
        outbound: [OutboundRoute],
        unserved: [UnservedListener] = [],
        recording: ProxyRecording = .denials,
        limits: ProxyLimits = ProxyLimits()
    ) {
        self.generation = generation
        self.revision = revision
        self.inbound = inbound
        self.outbound = outbound
        self.unserved = unserved
        self.recording = recording
        self.limits = limits
    }
}

/// What a loop tells of single requests.
package enum ProxyRecording: Hashable, Sendable {
    /// Only what was denied or failed.
    case denials
    /// Every request and connection.
    case all
}

/// One inbound listener with everything that it needs.
package final class InboundRoute: Sendable {
    package let listener: InboundListener
    /// For new connections.
    package let context: TLSContext
    /// Whom handshakes believe; revocations are looked at for live connections too.
    package let requirements: PeerRequirements
    package let policies: CompiledPolicySet

    package init(
        listener: InboundListener,
        context: TLSContext,
        requirements: PeerRequirements,
        policies: CompiledPolicySet
    ) {
        self.listener = listener
        self.context = context
        self.requirements = requirements
        self.policies = policies
    }
}

/// One outbound listener with everything that it needs.
package final class OutboundRoute: Sendable {
    package let listener: OutboundListener
    package let trafficProtocol: TrafficProtocol
    package let context: TLSContext
    /// Whom handshakes believe; `expected` are the Service's identities.
    package let requirements: PeerRequirements
    /// What is asked for as server name.
    package let serverName: String
    /// Addresses of mTLS listeners; without any, every request is answered 503.
    package let endpoints: [SocketAddress]
    /// Greater than before whenever what connections stand on has changed.
    ///
    /// That is the identity and whom handshakes believe. Connections of an older one get no further
    /// request.
    package let connectionGeneration: UInt64

    package init(
        listener: OutboundListener,
        trafficProtocol: TrafficProtocol,
        context: TLSContext,
        requirements: PeerRequirements,
        serverName: String,
        endpoints: [SocketAddress],
        connectionGeneration: UInt64
    ) {
        self.listener = listener
        self.trafficProtocol = trafficProtocol
        self.context = context
        self.requirements = requirements
        self.serverName = serverName
        self.endpoints = endpoints
        self.connectionGeneration = connectionGeneration
    }
}

/// Where a listener listens.
package enum ListenAddress: Hashable, Sendable, CustomStringConvertible {
    case tcp(SocketAddress)
    case unix(String)

    package var description: String {
        switch self {
        case .tcp(let address): address.description
        case .unix(let path): path
        }
    }
}

extension OutboundRoute {
    var listenAddress: ListenAddress {
        switch listener.listen {
        case .address(let address): .tcp(address)
        case .unix(let path): .unix(path)
        }
    }
}

extension InboundRoute {
    var listenAddress: ListenAddress { .tcp(listener.address) }
}
