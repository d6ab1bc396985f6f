// SPDX-License-Identifier: Apache-2.0

package import Routing
package import SPIFFE
import StrictYAML

/// What a `Service` document says (docs/decisions/0009).
package struct ServiceSpec: Hashable, Sendable {
    package let ports: [ServicePort]
    package let identities: [SPIFFEID]
    package let endpoints: [SocketAddress]
    /// Whether proxies that listen with one of `identities` are endpoints too (docs/decisions/0010).
    package let isObserved: Bool

    package init(
        ports: [ServicePort],
        identities: [SPIFFEID],
        endpoints: [SocketAddress],
        isObserved: Bool = false
    ) {
        self.ports = ports
        self.identities = identities
        self.endpoints = endpoints
        self.isObserved = isObserved
    }

    /// The Service that the document makes; what travels is its `encoded`.
    package func service(metadata: DocumentMetadata) -> Service {
        Service(
            namespace: metadata.namespace,
            name: metadata.name,
            ports: ports,
            identities: identities,
            endpoints: endpoints,
            isObserved: isObserved
        )
    }
}

extension DocumentParser {
    mutating func serviceSpec(_ node: YAMLNode) -> ServiceSpec? {
        let before = problems.count
        guard var fields = fields(of: node, path: "spec") else { return nil }
        let portsNode = required("ports", of: &fields)
        let ports = portsNode.flatMap { node in
            list(node, path: "spec.ports", max: Service.portsMax) { $0.servicePort($1, path: $2) }
        }
        let identities = required("identities", of: &fields).flatMap { node in
            list(node, path: "spec.identities", max: Service.identitiesMax) {
                $0.trafficIdentity($1, path: $2, isOwn: false)
            }
        }
        var isObserved = false
        if let observed = fields.take("observed") {
            isObserved = true
            if case .scalar("true", isPlain: true) = observed.content {
            } else {
                reportType(of: observed, path: "spec.observed", expected: "true")
            }
        }
        // Where there are observed ones, none has to be listed.
        let listed = isObserved ? fields.take("endpoints") : required("endpoints", of: &fields)
        let endpoints = listed.flatMap { node in
            list(node, path: "spec.endpoints", max: Service.endpointsMax) {
                $0.endpoint($1, path: $2)
            }
        }
        refuseUnknown(in: fields)
        guard problems.count == before, let ports, let identities, let portsNode else {
            return nil
        }
        for (what, count) in [
            ("name", Set(ports.map(\.name)).count), ("number", Set(ports.map(\.number)).count),
        ] where count != ports.count {
            report(portsNode.position, "spec.ports: two have one \(what)", "change one of them")
        }
        return ServiceSpec(
            ports: ports,
            identities: identities,
            endpoints: endpoints ?? [],
            isObserved: isObserved
        )
    }

    private mutating func servicePort(_ node: YAMLNode, path: String) -> ServicePort? {
        let before = problems.count
        guard var fields = fields(of: node, path: path) else { return nil }
        let name = required("name", of: &fields).flatMap { shortName($0, path: "\(path).name") }
        let number = required("number", of: &fields).flatMap {
            portNumber($0, path: "\(path).number")
        }
        let kind = required("protocol", of: &fields).flatMap {
            word($0, path: "\(path).protocol", as: TrafficProtocol.self)
        }
        refuseUnknown(in: fields)
        guard problems.count == before, let name, let number, let kind else { return nil }
        return ServicePort(name: name, number: number, trafficProtocol: kind)
    }

    private mutating func endpoint(_ node: YAMLNode, path: String) -> SocketAddress? {
        let before = problems.count
        guard var fields = fields(of: node, path: path) else { return nil }
        let address = required("address", of: &fields).flatMap {
            socketAddress($0, path: "\(path).address")
        }
        refuseUnknown(in: fields)
        return problems.count == before ? address : nil
    }

    /// Reads the name of a port or listener: one DNS label.
    mutating func shortName(_ node: YAMLNode, path: String) -> String? {
        guard let text = string(node, path: path, bytesMax: MetadataLimits.namespaceBytesMax)
        else { return nil }
        guard DNSName.isLabel(text) else {
            report(
                node.position,
                "\(path): \"\(Self.shown(text))\" is not a name",
                "write lower-case letters, digits and \"-\", for example web"
            )
            return nil
        }
        return text
    }

    /// Reads `192.0.2.1:443` or `[2001:db8::1]:443`.
    mutating func socketAddress(_ node: YAMLNode, path: String) -> SocketAddress? {
        guard let text = literal(node, path: path, expected: "an address with a port") else {
            return nil
        }
        if let address = SocketAddress(text) { return address }
        report(
            node.position,
            "\(path): \"\(Self.shown(text))\" is not an IP address with a port",
            "write 192.0.2.1:443 or \"[2001:db8::1]:443\"; names are not resolved"
        )
        return nil
    }

    /// Reads a whole SPIFFE ID that carries traffic.
    mutating func trafficIdentity(_ node: YAMLNode, path: String, isOwn: Bool) -> SPIFFEID? {
        guard let text = string(node, path: path, bytesMax: SPIFFEID.bytesMax) else { return nil }
        do throws(SPIFFEIDError) {
            let id = try SPIFFEID(text)
            guard !id.isReserved else {
                report(
                    node.position,
                    "\(path): what lies below \(SPIFFEID.reservedPathPrefix) is Signet's own and "
                        + "carries no traffic",
                    "remove it"
                )
                return nil
            }
            if isOwn { use(id.trustDomain, as: .own, path: path, at: node.position) }
            return id
        } catch {
            report(
                node.position,
                "\(path): \"\(Self.shown(text))\" is not a SPIFFE ID",
                "\(error); write a whole ID without pattern"
            )
            return nil
        }
    }
}
