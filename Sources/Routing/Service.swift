// SPDX-License-Identifier: Apache-2.0

package import SPIFFE

/// How the bytes of a port are read.
package enum TrafficProtocol: String, CaseIterable, Hashable, Sendable {
    /// HTTP/1, decided by request.
    case http
    /// Anything, decided by connection.
    case tcp
}

/// A port of a Service.
package struct ServicePort: Hashable, Sendable {
    package let name: String
    package let number: UInt16
    package let trafficProtocol: TrafficProtocol

    package init(name: String, number: UInt16, trafficProtocol: TrafficProtocol) {
        self.name = name
        self.number = number
        self.trafficProtocol = trafficProtocol
    }
}

/// A name for what listens: document kind Service (docs/decisions/0009).
package struct Service: Hashable, Sendable {
    /// Most ports of a Service: more are several services.
    package static let portsMax = 16
    /// Most identities of which its servers present one.
    package static let identitiesMax = 16
    /// Most static endpoints.
    package static let endpointsMax = 256

    package let namespace: String
    package let name: String
    /// Never empty; names and numbers are unique.
    package let ports: [ServicePort]
    /// The SPIFFE IDs of which its servers must present one; never empty.
    package let identities: [SPIFFEID]
    /// Addresses of mTLS listeners.
    package let endpoints: [SocketAddress]
    /// Whether proxies that listen with one of `identities` are endpoints too.
    package let isObserved: Bool

    /// Joins the parts; whether they fit each other was checked when the document was read.
    package init(
        namespace: String,
        name: String,
        ports: [ServicePort],
        identities: [SPIFFEID],
        endpoints: [SocketAddress] = [],
        isObserved: Bool = false
    ) {
        self.namespace = namespace
        self.name = name
        self.ports = ports
        self.identities = identities
        self.endpoints = endpoints
        self.isObserved = isObserved
    }

    /// The port with this name; nil if there is none.
    package func port(named name: String) -> ServicePort? {
        ports.first { $0.name == name }
    }

    /// What a client sends as server name (RFC 6066 section 3), so that a listener with several
    /// identities knows which is meant.
    package var serverName: String { "\(name).\(namespace).signet.internal" }
}
