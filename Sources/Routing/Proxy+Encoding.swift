// SPDX-License-Identifier: Apache-2.0

internal import HTTPSemantics
package import SPIFFE

/// How a Proxy travels: fields with numbers, in one order (`TaggedWriter`).
extension Proxy {
    /// The version that is written, and the only one that is read.
    private static let encodingVersion: UInt8 = 1

    private enum Tag {
        static let namespace: UInt8 = 1
        static let name: UInt8 = 2
        static let nodeSelector: UInt8 = 3
        static let selector: UInt8 = 4
        static let identity: UInt8 = 5
        static let inbound: UInt8 = 6
        static let outbound: UInt8 = 7
        // In an inbound listener.
        static let inboundName: UInt8 = 1
        static let inboundAddress: UInt8 = 2
        static let inboundIdentity: UInt8 = 3
        static let inboundProtocol: UInt8 = 4
        static let forwardAddress: UInt8 = 5
        static let forwardUnix: UInt8 = 6
        static let forwardUID: UInt8 = 7
        static let workloadPort: UInt8 = 8
        // In an outbound listener.
        static let outboundName: UInt8 = 1
        static let outboundIdentity: UInt8 = 2
        static let service: UInt8 = 3
        static let port: UInt8 = 4
        static let listenAddress: UInt8 = 5
        static let listenUnix: UInt8 = 6
        static let allowedUID: UInt8 = 7
    }

    /// The Proxy in the form in which it travels; equal Proxies have equal bytes.
    package var encoded: [UInt8] {
        var writer = TaggedWriter(version: Self.encodingVersion)
        writer.text(Tag.namespace, namespace)
        writer.text(Tag.name, name)
        writer.texts(Tag.nodeSelector, nodeSelectors.map(\.description))
        writer.texts(Tag.selector, selectors.map(\.description))
        writer.texts(Tag.identity, identities.map(\.description))
        for listener in inbound {
            writer.record(Tag.inbound) { Self.write(listener, to: &$0) }
        }
        for listener in outbound {
            writer.record(Tag.outbound) { Self.write(listener, to: &$0) }
        }
        return writer.bytes
    }

    private static func write(_ listener: InboundListener, to writer: inout TaggedWriter) {
        writer.text(Tag.inboundName, listener.name)
        writer.text(Tag.inboundAddress, listener.address.description)
        writer.text(Tag.inboundIdentity, listener.identity.description)
        writer.text(Tag.inboundProtocol, listener.trafficProtocol.rawValue)
        switch listener.forward {
        case .address(let address): writer.text(Tag.forwardAddress, address.description)
        case .unix(let path): writer.text(Tag.forwardUnix, path)
        }
        for uid in listener.forwardUIDs { writer.number(Tag.forwardUID, uid) }
        writer.number(Tag.workloadPort, listener.workloadPort)
    }

    private static func write(_ listener: OutboundListener, to writer: inout TaggedWriter) {
        writer.text(Tag.outboundName, listener.name)
        writer.text(Tag.outboundIdentity, listener.identity.description)
        writer.text(Tag.service, listener.service)
        writer.text(Tag.port, listener.port)
        switch listener.listen {
        case .address(let address): writer.text(Tag.listenAddress, address.description)
        case .unix(let path): writer.text(Tag.listenUnix, path)
        }
        for uid in listener.allowedUIDs { writer.number(Tag.allowedUID, uid) }
    }

    // MARK: - Reading

    /// Most selectors of each kind that are read: as many as a document may have.
    private static let selectorsMax = 32

    /// Reads a Proxy that has travelled.
    ///
    /// - Throws: `TaggedFieldError` for everything that a document of this version cannot say.
    package init(decoding bytes: [UInt8]) throws(TaggedFieldError) {
        var reader = try TaggedReader(bytes, version: Self.encodingVersion)
        let (namespace, name) = (try reader.text(Tag.namespace), try reader.text(Tag.name))
        let nodes = try reader.texts(Tag.nodeSelector, max: Self.selectorsMax)
        let selectors = try reader.texts(Tag.selector, max: Self.selectorsMax)
        let identities = try reader.texts(Tag.identity, max: Self.identitiesMax)
        let inbound = try reader.records(Tag.inbound, max: Self.listenersMax, Self.inboundListener)
        let outbound = try reader.records(
            Tag.outbound,
            max: Self.listenersMax,
            Self.outboundListener
        )
        try reader.end()
        self.init(
            namespace: namespace,
            name: name,
            nodeSelectors: try Self.selectors(nodes, Tag.nodeSelector),
            selectors: try Self.selectors(selectors, Tag.selector),
            identities: try TaggedReader.parsed(identities, Tag.identity) { try? SPIFFEID($0) }
                ?? [],
            inbound: inbound,
            outbound: outbound
        )
        guard flaws.isEmpty else { throw .whole }
    }

    private static func selectors(
        _ texts: [String]?,
        _ tag: UInt8
    ) throws(TaggedFieldError) -> [Selector] {
        try TaggedReader.parsed(texts, tag) { try? Selector($0) } ?? []
    }

    private static func identity(
        _ reader: inout TaggedReader,
        _ tag: UInt8
    ) throws(TaggedFieldError) -> SPIFFEID {
        let text = try reader.text(tag)
        guard let id = try? SPIFFEID(text) else { throw .value(tag) }
        return id
    }

    private static func address(
        _ text: String,
        _ tag: UInt8
    ) throws(TaggedFieldError) -> SocketAddress {
        guard let address = SocketAddress(text) else { throw .value(tag) }
        return address
    }

    private static func inboundListener(
        _ reader: inout TaggedReader
    ) throws(TaggedFieldError) -> InboundListener {
        let name = try reader.text(Tag.inboundName)
        let listen = try address(try reader.text(Tag.inboundAddress), Tag.inboundAddress)
        let identity = try identity(&reader, Tag.inboundIdentity)
        let text = try reader.text(Tag.inboundProtocol)
        guard let trafficProtocol = TrafficProtocol(rawValue: text) else {
            throw .value(Tag.inboundProtocol)
        }
        let addresses = try reader.texts(Tag.forwardAddress, max: 1)
        let paths = try reader.texts(Tag.forwardUnix, max: 1)
        let forward: ForwardTarget
        switch (addresses?.first, paths?.first) {
        case (let text?, nil): forward = .address(try address(text, Tag.forwardAddress))
        case (nil, let path?): forward = .unix(path)
        default: throw .value(Tag.forwardUnix)
        }
        let uids = try reader.numbers(Tag.forwardUID, max: allowedUIDsMax, as: UInt32.self)
        return InboundListener(
            name: name,
            address: listen,
            identity: identity,
            trafficProtocol: trafficProtocol,
            forward: forward,
            forwardUIDs: uids ?? [],
            workloadPort: try reader.number(Tag.workloadPort, as: UInt16.self)
        )
    }

    private static func outboundListener(
        _ reader: inout TaggedReader
    ) throws(TaggedFieldError) -> OutboundListener {
        let name = try reader.text(Tag.outboundName)
        let identity = try identity(&reader, Tag.outboundIdentity)
        let (service, port) = (try reader.text(Tag.service), try reader.text(Tag.port))
        let addresses = try reader.texts(Tag.listenAddress, max: 1)
        let paths = try reader.texts(Tag.listenUnix, max: 1)
        let listen: OutboundAddress
        switch (addresses?.first, paths?.first) {
        case (let text?, nil): listen = .address(try address(text, Tag.listenAddress))
        case (nil, let path?): listen = .unix(path)
        default: throw .value(Tag.listenUnix)
        }
        let uids = try reader.numbers(Tag.allowedUID, max: allowedUIDsMax, as: UInt32.self)
        return OutboundListener(
            name: name,
            identity: identity,
            service: service,
            port: port,
            listen: listen,
            allowedUIDs: uids ?? []
        )
    }
}
