// SPDX-License-Identifier: Apache-2.0

internal import ControlAPI
internal import ControlAPIProtos
internal import Datastore
internal import FoundationEssentials
internal import HTTPSemantics
internal import NodeSync
internal import Routing
internal import SPIFFE
internal import SwiftProtobuf

/// A listener that is up and no endpoint.
struct UnusableListener: Hashable, Sendable {
    let agent: AgentName
    let place: ListenerPlace
    let identity: SPIFFEID
    let address: String
    /// For people.
    let reason: String
}

/// What an agent's report comes to by what is committed, and which ports it is told of
/// (docs/decisions/0010-observed-endpoints.md).
struct Observation: Sendable {
    var report = ListenerReport()
    var needs: [ObservedPort: ObservedPortRule] = [:]
    var unusable: [UnusableListener] = []
    /// Whether there is a Proxy in the node's scope: without one no entry changes anything here.
    var hasProxies = false

    /// Derives it.
    ///
    /// - Parameters:
    ///   - reported: The agent's newest report.
    ///   - node: The agent's node.
    ///   - source: From where its connection comes; nil if that makes no address.
    ///   - now: Entries and Proxies that have ended by then count for nothing.
    ///   - transaction: What is committed.
    /// - Throws: `DatastoreError`.
    init(
        of reported: [AttachedProxy],
        node: NodeRecord,
        source: IPAddress?,
        now: Date,
        in transaction: ReadTransaction
    ) throws {
        let agent = AgentName(node.name)
        let processes = Dictionary(grouping: reported, by: \.proxy)
        var grants = Grants(node: node.selectors, now: now, transaction: transaction)
        for record in try transaction.proxies(node: node.selectors)
        where record.expires.map({ now < $0 }) ?? true {
            hasProxies = true
            // Composed and read again before it was stored.
            guard let state = try? Signet_Node_V1alpha1_ProxyState(serializedBytes: record.state)
            else { continue }
            note(needsOf: state)
            let here = processes[record.reference] ?? []
            let attached = here.first { $0.isAttached }
            if let attached, attached.applied != nil { report.settled.insert(record.reference) }
            if attached == nil, !here.isEmpty { report.departed.insert(record.reference) }
            for listener in state.inbound {
                guard let declared = Declared(listener, of: record),
                    try grants.holds(declared.kind.identity, in: record.namespace)
                else { continue }
                report.permitted[declared.place] = declared.kind
                let said = attached?.listening.first { $0.listener == listener.name }
                guard let said, said.identity == declared.kind.identity else { continue }
                place(declared, where: said.address, source: source, agent: agent)
            }
        }
    }

    private mutating func place(
        _ declared: Declared,
        where said: Routing.SocketAddress,
        source: IPAddress?,
        agent: AgentName
    ) {
        let reason: String
        if said.address != declared.address.address || said.port != declared.address.port {
            report.displaced.insert(declared.place)
            reason = "it listens at \(said), and its document says \(declared.address)"
        } else if let address = declared.endpoint(from: source) {
            report.up[declared.place] = address
            return
        } else {
            reason =
                "\(declared.address) is no address of its own, and that of the agent's connection "
                + (source.map { "(\($0)) does not fit it" } ?? "is not known")
                + "; write an address in the Proxy"
        }
        unusable.append(
            UnusableListener(
                agent: agent,
                place: declared.place,
                identity: declared.kind.identity,
                address: "\(said)",
                reason: reason
            )
        )
    }

    private mutating func note(needsOf state: Signet_Node_V1alpha1_ProxyState) {
        let services = Dictionary(
            state.services.filter(\.observed).map { ($0.name, $0) },
            uniquingKeysWith: { first, _ in first }
        )
        for listener in state.outbound {
            guard let service = services[listener.service],
                let port = service.ports.first(where: { $0.name == listener.port }),
                let kind = port.protocol.word
            else { continue }
            let key = ObservedPort(
                namespace: state.namespace,
                service: service.name,
                name: port.name
            )
            needs[key] = ObservedPortRule(
                trafficProtocol: kind,
                identities: Set(service.identities.compactMap { try? SPIFFEID($0) })
            )
        }
    }
}

/// An inbound listener as its document says it.
private struct Declared {
    let place: ListenerPlace
    let kind: ListenerKind
    let address: Routing.SocketAddress

    init?(_ listener: Signet_Node_V1alpha1_InboundListener, of record: ProxyRecord) {
        guard let identity = try? SPIFFEID(listener.identity),
            let address = Routing.SocketAddress(listener.address),
            let kind = listener.protocol.word
        else { return nil }
        place = ListenerPlace(proxy: record.reference, listener: listener.name)
        self.kind = ListenerKind(
            namespace: record.namespace,
            name: listener.name,
            trafficProtocol: kind,
            identity: identity
        )
        self.address = address
    }

    /// Where others reach it; nil if that is not known.
    func endpoint(from source: IPAddress?) -> EndpointAddress? {
        guard address.address.isUnspecified else {
            return address.address.isReachable
                ? EndpointAddress("\(address)", isLoopback: address.isLoopback) : nil
        }
        guard let source, source.isReachable, source.isIPv4 || !address.address.isIPv4 else {
            return nil
        }
        let text = source.isIPv4 ? "\(source):\(address.port)" : "[\(source)]:\(address.port)"
        guard let address = Routing.SocketAddress(text) else { return nil }
        return EndpointAddress(text, isLoopback: address.isLoopback)
    }
}

/// Which identities a node's proxies may have: as of signing.
private struct Grants {
    let node: Set<Selector>
    let now: Date
    let transaction: ReadTransaction
    private var known: [String: Bool] = [:]
    private var templates: [String: [RegistrationEntry]] = [:]

    init(node: Set<Selector>, now: Date, transaction: ReadTransaction) {
        self.node = node
        self.now = now
        self.transaction = transaction
    }

    mutating func holds(_ id: SPIFFEID, in namespace: String) throws -> Bool {
        let key = "\(namespace) \(id)"
        if let known = known[key] { return known }
        let exact = try transaction.entries(
            namespace: namespace,
            naming: id,
            limit: ProxyComposer.entriesPerIdentityMax
        )
        let all =
            try templates[namespace]
            ?? transaction.templates(namespace: namespace, limit: ProxyComposer.templatesMax)
        templates[namespace] = all
        let holds = (exact + all).contains { entry in
            entry.needsNothingOfWorkload && entry.mayGive(id) && entry.matches(node: node)
                && (entry.expires.map { now < $0 } ?? true)
        }
        known[key] = holds
        return holds
    }
}

extension Signet_Node_V1alpha1_TrafficProtocol {
    /// As documents write it.
    fileprivate var word: String? {
        switch self {
        case .http: TrafficProtocol.http.rawValue
        case .tcp: TrafficProtocol.tcp.rawValue
        case .unspecified, .UNRECOGNIZED: nil
        }
    }
}

extension IPAddress {
    /// The address of a peer, written `IP:port`; IPv4 in its IPv6 form is IPv4.
    ///
    /// - Returns: nil for anything else, and for an address with a zone.
    init?(ofPeer text: String) {
        guard let colon = text.utf8.lastIndex(of: UInt8(ascii: ":")) else { return nil }
        let host = text[..<colon].filter { $0 != "[" && $0 != "]" }
        self.init(host)
    }

    /// `0.0.0.0` or `::`.
    var isUnspecified: Bool {
        isIPv4 ? UInt32(truncatingIfNeeded: low) == 0 : high == 0 && low == 0
    }

    /// Whether one machine can be meant that others find: not unspecified, link-local (RFC 3927,
    /// RFC 4291 section 2.5.6) or multicast.
    var isReachable: Bool {
        guard !isUnspecified else { return false }
        if isIPv4 {
            let address = UInt32(truncatingIfNeeded: low)
            return address >> 16 != 0xA9FE && address >> 28 < 0xE
        }
        return high >> 54 != 0x3FA && high >> 56 != 0xFF
    }
}
