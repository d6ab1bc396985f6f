// SPDX-License-Identifier: Apache-2.0

internal import HTTPSemantics
package import SPIFFE

/// How a Service travels: fields with numbers, in one order (`TaggedWriter`).
extension Service {
    /// The version that is written, and the only one that is read.
    private static let encodingVersion: UInt8 = 1

    private enum Tag {
        static let namespace: UInt8 = 1
        static let name: UInt8 = 2
        static let port: UInt8 = 3
        static let identity: UInt8 = 4
        static let endpoint: UInt8 = 5
        static let observed: UInt8 = 6
        // In a port.
        static let portName: UInt8 = 1
        static let portNumber: UInt8 = 2
        static let portProtocol: UInt8 = 3
    }

    /// The Service in the form in which it travels; equal Services have equal bytes.
    package var encoded: [UInt8] {
        var writer = TaggedWriter(version: Self.encodingVersion)
        writer.text(Tag.namespace, namespace)
        writer.text(Tag.name, name)
        for port in ports {
            writer.record(Tag.port) { writer in
                writer.text(Tag.portName, port.name)
                writer.number(Tag.portNumber, port.number)
                writer.text(Tag.portProtocol, port.trafficProtocol.rawValue)
            }
        }
        writer.texts(Tag.identity, identities.map(\.description))
        writer.texts(Tag.endpoint, endpoints.map(\.description))
        writer.flag(Tag.observed, isObserved)
        return writer.bytes
    }

    /// Reads a Service that has travelled.
    ///
    /// - Throws: `TaggedFieldError` for everything that a document of this version cannot say.
    package init(decoding bytes: [UInt8]) throws(TaggedFieldError) {
        var reader = try TaggedReader(bytes, version: Self.encodingVersion)
        let (namespace, name) = (try reader.text(Tag.namespace), try reader.text(Tag.name))
        let ports = try reader.records(Tag.port, max: Self.portsMax, Self.port)
        let identities = try reader.texts(Tag.identity, max: Self.identitiesMax)
        let endpoints = try reader.texts(Tag.endpoint, max: Self.endpointsMax)
        let isObserved = try reader.flag(Tag.observed)
        try reader.end()
        self.init(
            namespace: namespace,
            name: name,
            ports: ports,
            identities: try TaggedReader.parsed(identities, Tag.identity) { try? SPIFFEID($0) }
                ?? [],
            endpoints: try TaggedReader.parsed(endpoints, Tag.endpoint) { SocketAddress($0) }
                ?? [],
            isObserved: isObserved
        )
        guard isSound else { throw .whole }
    }

    private static func port(
        _ reader: inout TaggedReader
    ) throws(TaggedFieldError) -> ServicePort {
        let (name, number) = (
            try reader.text(Tag.portName), try reader.number(Tag.portNumber, as: UInt16.self)
        )
        let text = try reader.text(Tag.portProtocol)
        guard let trafficProtocol = TrafficProtocol(rawValue: text) else {
            throw .value(Tag.portProtocol)
        }
        return ServicePort(name: name, number: number, trafficProtocol: trafficProtocol)
    }

    /// Whether the parts fit each other as those of a document do.
    package var isSound: Bool {
        !ports.isEmpty && ports.allSatisfy { $0.number > 0 }
            && Set(ports.map(\.name)).count == ports.count
            && Set(ports.map(\.number)).count == ports.count
            && !identities.isEmpty && Set(identities).count == identities.count
            && !identities.contains(where: \.isReserved)
            && Set(endpoints).count == endpoints.count
            && (isObserved || !endpoints.isEmpty)
    }
}
