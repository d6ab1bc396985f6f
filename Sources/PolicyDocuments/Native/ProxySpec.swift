// SPDX-License-Identifier: Apache-2.0

package import Routing
package import SPIFFE
import StrictYAML

/// What a `Proxy` document says (docs/decisions/0009).
package struct ProxySpec: Hashable, Sendable {
    /// Which processes a proxy stands for.
    package enum Mode: String, CaseIterable, Hashable, Sendable {
        /// One process for some workloads of its machine.
        case sidecar
    }

    package let mode: Mode
    package let nodeSelectors: [Selector]
    package let selectors: [Selector]
    package let identities: [SPIFFEID]
    package let inbound: [InboundListener]
    package let outbound: [OutboundListener]

    package init(
        mode: Mode = .sidecar,
        nodeSelectors: [Selector],
        selectors: [Selector],
        identities: [SPIFFEID],
        inbound: [InboundListener] = [],
        outbound: [OutboundListener] = []
    ) {
        self.mode = mode
        self.nodeSelectors = nodeSelectors
        self.selectors = selectors
        self.identities = identities
        self.inbound = inbound
        self.outbound = outbound
    }

    /// The Proxy that the document makes; what travels is its `encoded`.
    package func proxy(metadata: DocumentMetadata) -> Proxy {
        Proxy(
            namespace: metadata.namespace,
            name: metadata.name,
            nodeSelectors: nodeSelectors,
            selectors: selectors,
            identities: identities,
            inbound: inbound,
            outbound: outbound
        )
    }

    /// Services of the document's namespace that it names, with the names of their ports.
    package var servicePorts: [(service: String, port: String)] {
        outbound.map { ($0.service, $0.port) }
    }
}

extension DocumentParser {
    mutating func proxySpec(_ node: YAMLNode) -> ProxySpec? {
        let before = problems.count
        guard var fields = fields(of: node, path: "spec") else { return nil }
        let mode = required("mode", of: &fields).flatMap {
            word($0, path: "spec.mode", as: ProxySpec.Mode.self)
        }
        let nodeSelectors = selectors("nodeSelectors", of: &fields)
        let selectorsNode = selectors("selectors", of: &fields, areOfProcess: true)
        let identities = required("identities", of: &fields).flatMap { node in
            list(node, path: "spec.identities", max: Proxy.identitiesMax) {
                $0.trafficIdentity($1, path: $2, isOwn: true)
            }
        }
        let inbound = fields.take("inbound").flatMap { node in
            list(node, path: "spec.inbound", max: Proxy.listenersMax) {
                $0.inboundListener($1, path: $2)
            }
        }
        let outbound = fields.take("outbound").flatMap { node in
            list(node, path: "spec.outbound", max: Proxy.listenersMax) {
                $0.outboundListener($1, path: $2)
            }
        }
        refuseUnknown(in: fields)
        guard problems.count == before, let mode, let nodeSelectors, let selectorsNode,
            let identities
        else { return nil }
        warnOfWeakSelectors(selectorsNode, at: node.position)
        let spec = ProxySpec(
            mode: mode,
            nodeSelectors: nodeSelectors,
            selectors: selectorsNode,
            identities: identities,
            inbound: inbound ?? [],
            outbound: outbound ?? []
        )
        reportFlaws(of: spec, at: node.position)
        return problems.count == before ? spec : nil
    }

    /// A user or group may be shared, and then whoever is of it can be the proxy.
    private mutating func warnOfWeakSelectors(_ selectors: [Selector], at position: TextPosition) {
        let isWeak = selectors.allSatisfy { selector in
            let kind = selector.value.split(separator: ":").first ?? ""
            return selector.type == UnixSelector.type && kind != "path" && kind != "sha256"
        }
        guard isWeak else { return }
        warn(
            position,
            "spec.selectors are only users or groups, so that every process of these can be this "
                + "proxy",
            "give the proxy a user that nothing else has, or add unix:path or unix:sha256"
        )
    }

    private mutating func reportFlaws(of spec: ProxySpec, at position: TextPosition) {
        let metadata = DocumentMetadata(name: "", namespace: "")
        for flaw in spec.proxy(metadata: metadata).flaws {
            let path =
                switch flaw.place {
                case .whole: "spec"
                case .inbound(let index, let key): "spec.inbound[\(index)].\(key)"
                case .outbound(let index, let key): "spec.outbound[\(index)].\(key)"
                }
            report(places[path] ?? position, "\(path): \(flaw.what)", flaw.remedy)
        }
    }

    /// Takes a key of a listener and remembers where its value stands.
    private mutating func placed(_ key: String, of fields: inout Fields) -> YAMLNode? {
        let node = fields.take(key)
        if let node { place(fields.path(of: key), node.position) }
        return node
    }

    private mutating func needed(_ key: String, of fields: inout Fields) -> YAMLNode? {
        let node = required(key, of: &fields)
        if let node { place(fields.path(of: key), node.position) }
        return node
    }

    private mutating func inboundListener(_ node: YAMLNode, path: String) -> InboundListener? {
        let before = problems.count
        guard var fields = fields(of: node, path: path) else { return nil }
        let name = needed("name", of: &fields).flatMap { shortName($0, path: "\(path).name") }
        let address = needed("address", of: &fields).flatMap {
            socketAddress($0, path: "\(path).address")
        }
        let identity = needed("identity", of: &fields).flatMap {
            trafficIdentity($0, path: "\(path).identity", isOwn: true)
        }
        let kind = needed("protocol", of: &fields).flatMap {
            word($0, path: "\(path).protocol", as: TrafficProtocol.self)
        }
        let forwardNode = needed("forward", of: &fields)
        let forward = forwardNode.flatMap { self.forward($0, path: "\(path).forward") }
        let portNode = placed("workloadPort", of: &fields)
        let port = portNode.flatMap { portNumber($0, path: "\(path).workloadPort") }
        refuseUnknown(in: fields)
        guard problems.count == before, let name, let address, let identity, let kind, let forward
        else { return nil }
        let workloadPort: UInt16
        switch (forward.target, port) {
        case (.address(let address), nil): workloadPort = address.port
        case (.unix, let port?): workloadPort = port
        case (.address, .some):
            report(
                portNode?.position ?? node.position,
                "\(path).workloadPort: policies see the port of forward.address",
                "remove it"
            )
            return nil
        case (.unix, nil):
            report(
                node.position,
                "\(path).workloadPort is missing",
                "add the port that policies see, since a Unix socket has none"
            )
            return nil
        }
        return InboundListener(
            name: name,
            address: address,
            identity: identity,
            trafficProtocol: kind,
            forward: forward.target,
            forwardUIDs: forward.uids,
            workloadPort: workloadPort
        )
    }

    private mutating func forward(
        _ node: YAMLNode,
        path: String
    ) -> (target: ForwardTarget, uids: [UInt32])? {
        let before = problems.count
        guard var fields = fields(of: node, path: path) else { return nil }
        let (addressNode, pathNode) = (fields.take("address"), fields.take("unix"))
        let uids = fields.take("uids").flatMap { self.uids($0, path: "\(path).uids") }
        refuseUnknown(in: fields)
        let address = addressNode.flatMap { socketAddress($0, path: "\(path).address") }
        let socket = pathNode.flatMap { socketPath($0, path: "\(path).unix") }
        guard problems.count == before else { return nil }
        switch (address, socket) {
        case (let address?, nil): return (.address(address), uids ?? [])
        case (nil, let socket?): return (.unix(socket), uids ?? [])
        default:
            report(
                node.position,
                "\(path) needs one of address and unix",
                "write where the application listens"
            )
            return nil
        }
    }

    private mutating func outboundListener(_ node: YAMLNode, path: String) -> OutboundListener? {
        let before = problems.count
        guard var fields = fields(of: node, path: path) else { return nil }
        let name = needed("name", of: &fields).flatMap { shortName($0, path: "\(path).name") }
        let identity = needed("identity", of: &fields).flatMap {
            trafficIdentity($0, path: "\(path).identity", isOwn: true)
        }
        let service = needed("service", of: &fields).flatMap {
            self.name($0, path: "\(path).service")
        }
        let port = needed("port", of: &fields).flatMap { shortName($0, path: "\(path).port") }
        let (addressNode, pathNode) = (
            placed("address", of: &fields), placed("unix", of: &fields)
        )
        let address = addressNode.flatMap { socketAddress($0, path: "\(path).address") }
        let socket = pathNode.flatMap { socketPath($0, path: "\(path).unix") }
        let uids = needed("allow", of: &fields).flatMap { allowed($0, path: "\(path).allow") }
        refuseUnknown(in: fields)
        guard problems.count == before, let name, let identity, let service, let port, let uids
        else { return nil }
        let listen: OutboundAddress
        switch (address, socket) {
        case (let address?, nil): listen = .address(address)
        case (nil, let socket?): listen = .unix(socket)
        default:
            report(
                node.position,
                "\(path) needs one of address and unix",
                "write where the application reaches the Service"
            )
            return nil
        }
        return OutboundListener(
            name: name,
            identity: identity,
            service: service,
            port: port,
            listen: listen,
            allowedUIDs: uids
        )
    }

    private mutating func allowed(_ node: YAMLNode, path: String) -> [UInt32]? {
        guard var fields = fields(of: node, path: path) else { return nil }
        let uids = required("uids", of: &fields).flatMap { self.uids($0, path: "\(path).uids") }
        refuseUnknown(in: fields)
        return uids
    }

    private mutating func uids(_ node: YAMLNode, path: String) -> [UInt32]? {
        list(node, path: path, max: Proxy.allowedUIDsMax) { parser, node, path in
            guard let number = parser.number(node, path: path) else { return nil }
            // The highest number stands for nobody (credentials(7), chown(2)).
            guard let uid = UInt32(exactly: number), uid < .max else {
                parser.report(
                    node.position,
                    "\(path): \(number) is not a user",
                    "write the number of a user, as id -u does"
                )
                return nil
            }
            return uid
        }
    }

    private mutating func socketPath(_ node: YAMLNode, path: String) -> String? {
        string(node, path: path, bytesMax: Proxy.socketPathBytesMax)
    }
}
