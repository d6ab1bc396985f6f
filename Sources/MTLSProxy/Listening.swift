// SPDX-License-Identifier: Apache-2.0

internal import Routing
internal import SPIFFE

extension Loop {
    /// One listener of a loop; its place stays as long as connections name it.
    struct Listening {
        /// Names remembered of one that was renamed: as many as there are revisions whose policies
        /// are.
        private static let namesMax = DecisionMemory.snapshotsMax

        /// Most identities of servers that are told apart: those of a Service, through some changes
        /// of its document; who comes after them is counted without a name.
        private static let serverIDsMax = 16 * Service.identitiesMax

        let address: ListenAddress
        private(set) var name: String
        /// Names that it had, each with the last revision that called it so.
        private var earlier: [(last: UInt64, name: String)] = []
        let isInbound: Bool
        let isHTTP: Bool
        /// Let go when it is not listened at any more, so that the kernel takes nothing for it.
        var open: OpenListener?
        /// Whether the kernel is not asked about it for a moment.
        var isPaused = false
        /// Nil as soon as it is withdrawn, and with it the key in its TLS context.
        var inbound: InboundRoute?
        var outbound: OutboundRoute?
        /// Whether the snapshot has it; a proxy that ends goes on by its listeners.
        var isActive: Bool { inbound != nil || outbound != nil }
        /// Where the next connection goes.
        var nextTarget = 0
        /// The application, or each endpoint.
        var targets: [Target] = []
        /// Of the last target that was made; none is given twice.
        var lastTarget: UInt32 = 0
        /// Identities of servers that handshakes have verified, so that a request remembers its
        /// server by a number.
        private(set) var serverIDs: [SPIFFEID] = []

        init(_ open: OpenListener, _ inbound: InboundRoute?, _ outbound: OutboundRoute?) {
            address = open.address
            name = inbound?.listener.name ?? outbound?.listener.name ?? ""
            isInbound = inbound != nil
            isHTTP = (inbound?.listener.trafficProtocol ?? outbound?.trafficProtocol) == .http
            self.open = open
            (self.inbound, self.outbound) = (inbound, outbound)
        }

        /// Whether connections of this place may go on under other routes: what they speak for,
        /// whom they reach and how they are read stays the same.
        func goesOn(as inbound: InboundRoute?, _ outbound: OutboundRoute?) -> Bool {
            let (old, new) = (self.inbound?.listener, inbound?.listener)
            let (before, after) = (self.outbound, outbound)
            return old?.identity == new?.identity && old?.forward == new?.forward
                && old?.forwardUIDs == new?.forwardUIDs
                && old?.trafficProtocol == new?.trafficProtocol
                && before?.listener.identity == after?.listener.identity
                && before?.listener.service == after?.listener.service
                && before?.listener.port == after?.listener.port
                && before?.trafficProtocol == after?.trafficProtocol
        }

        /// Takes newer routes, which may have another name.
        mutating func goOn(
            as inbound: InboundRoute?,
            _ outbound: OutboundRoute?,
            after revision: UInt64
        ) {
            (self.inbound, self.outbound) = (inbound, outbound)
            guard let new = inbound?.listener.name ?? outbound?.listener.name, new != name else {
                return
            }
            earlier.append((revision, name))
            if earlier.count > Self.namesMax { earlier.removeFirst() }
            name = new
        }

        /// The number of a server that was verified, from 1; 0 if there is no room for it.
        mutating func number(ofServer id: SPIFFEID) -> Int {
            if let index = serverIDs.firstIndex(of: id) { return index + 1 }
            guard serverIDs.count < Self.serverIDsMax else { return 0 }
            serverIDs.append(id)
            return serverIDs.count
        }

        /// The identity that a number stands for; nil for 0, and for one of a listener that had this
        /// place before.
        func server(_ number: Int) -> SPIFFEID? {
            serverIDs.indices.contains(number - 1) ? serverIDs[number - 1] : nil
        }

        /// What it was called when a decision was made, which is told with the policies of then.
        func name(under revision: UInt64) -> String {
            earlier.first { revision <= $0.last }?.name ?? name
        }
    }
}
