// SPDX-License-Identifier: Apache-2.0

package import ControlAPIProtos
internal import FoundationEssentials
internal import Routing
internal import SPIFFE
internal import SwiftProtobuf

extension ProxyState {
    /// Reads the wire form, all of it or nothing.
    ///
    /// - Throws: `WireError` naming the first field that is unknown, cannot be read, comes twice or
    ///   names what is not there.
    package init(parsing message: Signet_Node_V1alpha1_ProxyState) throws(WireError) {
        try StrictFields.known(message, "proxy")
        var identities: [SPIFFEID] = []
        for text in message.identities {
            identities.append(try StrictFields.identity(text, "proxy.identities"))
        }
        identities = try StrictFields.set(
            identities,
            "proxy.identities",
            max: Proxy.identitiesMax
        )
        guard Set(identities.map(\.trustDomain)).count == 1 else {
            throw .field("proxy.identities", "they are of more than one trust domain")
        }
        let namespace = try StrictFields.name(message.namespace, "proxy.namespace")
        let services = try Self.services(message.services, namespace: namespace)
        let inbound = try Self.inbound(message, identities: identities)
        let outbound = try Self.outbound(message, identities: identities, services: services)
        guard message.policies.count <= Self.policiesMax else {
            throw .tooMany("proxy.policies", max: Self.policiesMax)
        }
        guard message.policies.reduce(0, { $0 + $1.count }) <= Self.policiesBytesMax else {
            throw .field("proxy.policies", "more than \(Self.policiesBytesMax) bytes")
        }
        self.init(
            proxy: Proxy(
                namespace: namespace,
                name: try StrictFields.name(message.name, "proxy.name"),
                nodeSelectors: try Self.selectors(message.nodeSelectors, "proxy.node_selectors"),
                selectors: try Self.selectors(message.selectors, "proxy.selectors"),
                identities: identities,
                inbound: inbound.map(\.listener),
                outbound: outbound
            ),
            services: services,
            policies: message.policies.map { Array($0) },
            inboundPolicies: inbound.map(\.policies)
        )
    }

    private static func selectors(
        _ texts: [String],
        _ field: String
    ) throws(WireError) -> [Selector] {
        try StrictFields.set(
            try ControlAPI.selectors(texts, field),
            field,
            max: RegistrationEntry.selectorsMax
        )
    }

    private static func services(
        _ messages: [Signet_Node_V1alpha1_ServiceState],
        namespace: String
    ) throws(WireError) -> [Service] {
        guard messages.count <= servicesMax else {
            throw .tooMany("proxy.services", max: servicesMax)
        }
        var services: [Service] = []
        for message in messages {
            services.append(try Service(parsing: message, namespace: namespace))
        }
        try StrictFields.single(services.map(\.name), "proxy.services", max: servicesMax)
        return services
    }

    private static func inbound(
        _ state: Signet_Node_V1alpha1_ProxyState,
        identities: [SPIFFEID]
    ) throws(WireError) -> [(listener: InboundListener, policies: [Int])] {
        guard state.inbound.count <= Proxy.listenersMax else {
            throw .tooMany("proxy.inbound", max: Proxy.listenersMax)
        }
        var result: [(listener: InboundListener, policies: [Int])] = []
        for message in state.inbound {
            let listener = try InboundListener(parsing: message)
            guard identities.contains(listener.identity) else {
                throw .field("proxy.inbound.identity", "\(listener.identity) is not the proxy's")
            }
            var places: [Int] = []
            for place in message.policies {
                guard place < state.policies.count, places.last.map({ $0 < place }) ?? true else {
                    throw .field(
                        "proxy.inbound.policies",
                        "they are not ascending places of policies"
                    )
                }
                places.append(Int(place))
            }
            result.append((listener, places))
        }
        let max = Proxy.listenersMax
        try StrictFields.single(result.map(\.listener.name), "proxy.inbound.name", max: max)
        try StrictFields.single(
            result.map(\.listener.address.description),
            "proxy.inbound.address",
            max: max
        )
        return result
    }

    private static func outbound(
        _ state: Signet_Node_V1alpha1_ProxyState,
        identities: [SPIFFEID],
        services: [Service]
    ) throws(WireError) -> [OutboundListener] {
        guard state.outbound.count <= Proxy.listenersMax else {
            throw .tooMany("proxy.outbound", max: Proxy.listenersMax)
        }
        var result: [OutboundListener] = []
        for message in state.outbound {
            let listener = try OutboundListener(parsing: message)
            guard identities.contains(listener.identity) else {
                throw .field("proxy.outbound.identity", "\(listener.identity) is not the proxy's")
            }
            guard let service = services.first(where: { $0.name == listener.service }) else {
                throw .field("proxy.outbound.service", "no Service \(listener.service) is there")
            }
            guard service.port(named: listener.port) != nil else {
                throw .field(
                    "proxy.outbound.port",
                    "Service \(service.name) has no port \(listener.port)"
                )
            }
            result.append(listener)
        }
        let max = Proxy.listenersMax
        try StrictFields.single(result.map(\.name), "proxy.outbound.name", max: max)
        try StrictFields.single(result.map(\.listen), "proxy.outbound.listen", max: max)
        return result
    }

    /// The wire form.
    package var message: Signet_Node_V1alpha1_ProxyState {
        .with {
            $0.namespace = proxy.namespace
            $0.name = proxy.name
            $0.nodeSelectors = proxy.nodeSelectors.map(\.description)
            $0.selectors = proxy.selectors.map(\.description)
            $0.identities = proxy.identities.map(\.description)
            $0.inbound = zip(proxy.inbound, inboundPolicies).map { listener, policies in
                var message = listener.message
                message.policies = policies.map { UInt32(clamping: $0) }
                return message
            }
            $0.outbound = proxy.outbound.map(\.message)
            $0.services = services.map(\.message)
            $0.policies = policies.map { Data($0) }
        }
    }
}

extension TrafficProtocol {
    fileprivate init(
        parsing message: Signet_Node_V1alpha1_TrafficProtocol,
        _ field: String
    ) throws(WireError) {
        switch message {
        case .http: self = .http
        case .tcp: self = .tcp
        case .unspecified: throw .missing(field)
        case .UNRECOGNIZED(let number):
            throw .field(field, "\(number) is not known to this version")
        }
    }

    fileprivate var message: Signet_Node_V1alpha1_TrafficProtocol {
        switch self {
        case .http: .http
        case .tcp: .tcp
        }
    }
}

extension InboundListener {
    fileprivate init(
        parsing message: Signet_Node_V1alpha1_InboundListener
    ) throws(WireError) {
        let path = "proxy.inbound"
        try StrictFields.known(message, path)
        let forward: ForwardTarget
        switch message.forward {
        case .forwardAddress(let text):
            forward = .address(try StrictFields.loopback(text, path + ".forward_address"))
        case .forwardUnix(let text):
            forward = .unix(try StrictFields.socketPath(text, path + ".forward_unix"))
        case nil: throw .missing(path + ".forward")
        }
        let port = try StrictFields.port(message.workloadPort, path + ".workload_port")
        if case .address(let address) = forward, address.port != port {
            throw .field(path + ".workload_port", "not the port of the address that it forwards to")
        }
        self.init(
            name: try StrictFields.name(message.name, path + ".name"),
            address: try StrictFields.address(message.address, path + ".address"),
            identity: try StrictFields.identity(message.identity, path + ".identity"),
            trafficProtocol: try TrafficProtocol(
                parsing: message.protocol,
                path + ".protocol"
            ),
            forward: forward,
            forwardUIDs: try StrictFields.set(
                message.forwardUids,
                path + ".forward_uids",
                max: Proxy.allowedUIDsMax
            ),
            workloadPort: port
        )
    }

    fileprivate var message: Signet_Node_V1alpha1_InboundListener {
        .with {
            $0.name = name
            $0.address = address.description
            $0.identity = identity.description
            $0.protocol = trafficProtocol.message
            switch forward {
            case .address(let address): $0.forwardAddress = address.description
            case .unix(let path): $0.forwardUnix = path
            }
            $0.forwardUids = forwardUIDs
            $0.workloadPort = UInt32(workloadPort)
        }
    }
}

extension OutboundListener {
    fileprivate init(
        parsing message: Signet_Node_V1alpha1_OutboundListener
    ) throws(WireError) {
        let path = "proxy.outbound"
        try StrictFields.known(message, path)
        let listen: OutboundAddress
        switch message.listen {
        case .address(let text):
            listen = .address(try StrictFields.loopback(text, path + ".address"))
        case .unix(let text): listen = .unix(try StrictFields.socketPath(text, path + ".unix"))
        case nil: throw .missing(path + ".listen")
        }
        self.init(
            name: try StrictFields.name(message.name, path + ".name"),
            identity: try StrictFields.identity(message.identity, path + ".identity"),
            service: try StrictFields.name(message.service, path + ".service"),
            port: try StrictFields.name(message.port, path + ".port"),
            listen: listen,
            allowedUIDs: try StrictFields.set(
                message.allowUids,
                path + ".allow_uids",
                max: Proxy.allowedUIDsMax
            )
        )
    }

    fileprivate var message: Signet_Node_V1alpha1_OutboundListener {
        .with {
            $0.name = name
            $0.identity = identity.description
            $0.service = service
            $0.port = port
            switch listen {
            case .address(let address): $0.address = address.description
            case .unix(let path): $0.unix = path
            }
            $0.allowUids = allowedUIDs
        }
    }
}

extension Service {
    fileprivate init(
        parsing message: Signet_Node_V1alpha1_ServiceState,
        namespace: String
    ) throws(WireError) {
        let path = "proxy.services"
        try StrictFields.known(message, path)
        guard message.ports.count <= Self.portsMax else {
            throw .tooMany(path + ".ports", max: Self.portsMax)
        }
        var ports: [ServicePort] = []
        for port in message.ports {
            try StrictFields.known(port, path + ".ports")
            ports.append(
                ServicePort(
                    name: try StrictFields.name(port.name, path + ".ports.name"),
                    number: try StrictFields.port(port.number, path + ".ports.number"),
                    trafficProtocol: try TrafficProtocol(
                        parsing: port.protocol,
                        path + ".ports.protocol"
                    )
                )
            )
        }
        _ = try StrictFields.set(ports.map(\.name), path + ".ports.name", max: Self.portsMax)
        _ = try StrictFields.set(ports.map(\.number), path + ".ports.number", max: Self.portsMax)
        guard message.identities.count <= Self.identitiesMax else {
            throw .tooMany(path + ".identities", max: Self.identitiesMax)
        }
        var identities: [SPIFFEID] = []
        for text in message.identities {
            identities.append(try StrictFields.identity(text, path + ".identities"))
        }
        guard message.endpoints.count <= Self.endpointsMax else {
            throw .tooMany(path + ".endpoints", max: Self.endpointsMax)
        }
        var endpoints: [Routing.SocketAddress] = []
        for text in message.endpoints {
            endpoints.append(try StrictFields.address(text, path + ".endpoints"))
        }
        try StrictFields.single(endpoints, path + ".endpoints", max: Self.endpointsMax)
        self.init(
            namespace: namespace,
            name: try StrictFields.name(message.name, path + ".name"),
            ports: ports,
            identities: try StrictFields.set(
                identities,
                path + ".identities",
                max: Self.identitiesMax
            ),
            endpoints: endpoints,
            isObserved: message.observed
        )
    }

    fileprivate var message: Signet_Node_V1alpha1_ServiceState {
        .with {
            $0.name = name
            $0.ports = ports.map { port in
                .with {
                    $0.name = port.name
                    $0.number = UInt32(port.number)
                    $0.protocol = port.trafficProtocol.message
                }
            }
            $0.identities = identities.map(\.description)
            $0.endpoints = endpoints.map(\.description)
            $0.observed = isObserved
        }
    }
}
