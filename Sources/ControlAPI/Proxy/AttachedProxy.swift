// SPDX-License-Identifier: Apache-2.0

package import ControlAPIProtos
package import FoundationEssentials
package import NodeSync
package import Routing
package import SPIFFE
internal import SwiftProtobuf

/// An inbound listener that accepts connections now.
package struct ProxyListening: Hashable, Sendable {
    package let listener: String
    package let identity: SPIFFEID
    package let address: Routing.SocketAddress

    package init(listener: String, identity: SPIFFEID, address: Routing.SocketAddress) {
        self.listener = listener
        self.identity = identity
        self.address = address
    }
}

/// A proxy process as its agent sees it; observed, never stored.
package struct AttachedProxy: Hashable, Sendable {
    /// Bytes of `instance`: decision IDs begin with them.
    package static let instanceBytes = 5
    /// Most capabilities that a proxy names.
    package static let capabilitiesMax = 64
    /// Longest version or capability.
    package static let wordBytesMax = 64
    /// Longest reason of a refused state that is kept; the rest is in the proxy's log.
    package static let reasonBytesMax = 500
    /// Most proxies in one report: far more than run on one machine.
    package static let reportedMax = 1_024

    /// `namespace/name`.
    package let proxy: String
    package let instance: [UInt8]
    package let version: String
    package let capabilities: [String]
    /// Nil before the first.
    package let applied: Revision?
    /// Nil if the newest state was not refused.
    package let refused: Revision?
    /// Why; empty if nothing was refused.
    package let refusedReason: String
    package let listening: [ProxyListening]
    package let pid: Int32
    package let attachedAt: Date
    /// False: it left without draining, runs still, and may go on with what it has until its SVIDs
    /// end.
    package let isAttached: Bool

    package init(
        proxy: String,
        instance: [UInt8],
        version: String,
        capabilities: [String] = [],
        applied: Revision? = nil,
        refused: Revision? = nil,
        refusedReason: String = "",
        listening: [ProxyListening] = [],
        pid: Int32,
        attachedAt: Date,
        isAttached: Bool
    ) {
        self.proxy = proxy
        self.instance = instance
        self.version = version
        self.capabilities = capabilities
        self.applied = applied
        self.refused = refused
        self.refusedReason = refusedReason
        self.listening = listening
        self.pid = pid
        self.attachedAt = attachedAt
        self.isAttached = isAttached
    }
}

extension AttachedProxy {
    /// Reads a whole report.
    ///
    /// - Throws: `WireError` naming the first field that cannot be read.
    package static func report(
        parsing message: Signet_Node_V1alpha1_ProxyReport
    ) throws(WireError) -> [AttachedProxy] {
        guard message.proxies.count <= reportedMax else {
            throw .tooMany("proxy_report.proxies", max: reportedMax)
        }
        var result: [AttachedProxy] = []
        for proxy in message.proxies { result.append(try AttachedProxy(parsing: proxy)) }
        return result
    }

    /// The end of the year 9999, the last that every form of a time can say.
    private static let attachedAtMax: Int64 = 253_402_300_799_999

    /// Reads the wire form.
    ///
    /// - Throws: `WireError` naming the first field that cannot be read.
    package init(parsing message: Signet_Node_V1alpha1_AttachedProxy) throws(WireError) {
        let path = "proxy_report.proxies"
        guard message.instance.count == Self.instanceBytes else {
            throw .field(path + ".instance", "not \(Self.instanceBytes) bytes")
        }
        guard message.capabilities.count <= Self.capabilitiesMax else {
            throw .tooMany(path + ".capabilities", max: Self.capabilitiesMax)
        }
        for word in message.capabilities + [message.version]
        where word.utf8.count > Self.wordBytesMax {
            throw .field(path, "a version or capability of more than \(Self.wordBytesMax) bytes")
        }
        guard (0...Self.attachedAtMax).contains(message.attachedAtUnixMilliseconds) else {
            throw .field(path + ".attached_at_unix_milliseconds", "not between 1970 and 9999")
        }
        self.init(
            proxy: try Self.reference(message.proxy, path + ".proxy"),
            instance: Array(message.instance),
            version: message.version,
            capabilities: message.capabilities,
            applied: message.hasApplied ? try Revision(parsing: message.applied) : nil,
            refused: message.hasRefused ? try Revision(parsing: message.refused) : nil,
            refusedReason: Self.cut(message.refusedReason),
            listening: try ProxyListening.list(parsing: message.listening, path + ".listening"),
            pid: message.pid,
            attachedAt: Date(unixMilliseconds: message.attachedAtUnixMilliseconds),
            isAttached: message.attached
        )
    }

    /// The wire form.
    package var message: Signet_Node_V1alpha1_AttachedProxy {
        .with {
            $0.proxy = proxy
            $0.instance = Data(instance)
            $0.version = version
            $0.capabilities = capabilities
            if let applied { $0.applied = applied.message }
            if let refused { $0.refused = refused.message }
            $0.refusedReason = refusedReason
            $0.listening = listening.map(\.message)
            $0.pid = pid
            $0.attachedAtUnixMilliseconds = attachedAt.unixMilliseconds
            $0.attached = isAttached
        }
    }

    /// Reads `namespace/name`.
    ///
    /// - Throws: `WireError` naming `field`.
    package static func reference(
        _ text: String,
        _ field: String
    ) throws(WireError) -> String {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2 else { throw .field(field, "not namespace/name") }
        for part in parts { _ = try StrictFields.name(String(part), field) }
        return text
    }

    /// A reason without what exceeds `reasonBytesMax`.
    package static func cut(_ reason: String) -> String {
        reason.utf8.count <= reasonBytesMax
            ? reason : String(decoding: reason.utf8.prefix(reasonBytesMax), as: UTF8.self)
    }
}

extension ProxyListening {
    /// Reads what one process listens at.
    ///
    /// - Throws: `WireError` naming what of `field` cannot be read.
    package static func list(
        parsing messages: [Signet_Node_V1alpha1_ProxyListening],
        _ field: String
    ) throws(WireError) -> [ProxyListening] {
        guard messages.count <= Proxy.listenersMax else {
            throw .tooMany(field, max: Proxy.listenersMax)
        }
        var result: [ProxyListening] = []
        for message in messages {
            result.append(
                ProxyListening(
                    listener: try StrictFields.name(message.listener, field + ".listener"),
                    identity: try StrictFields.identity(message.identity, field + ".identity"),
                    address: try StrictFields.address(message.address, field + ".address")
                )
            )
        }
        try StrictFields.single(result.map(\.listener), field, max: Proxy.listenersMax)
        return result
    }

    /// The wire form.
    package var message: Signet_Node_V1alpha1_ProxyListening {
        .with {
            $0.listener = listener
            $0.identity = identity.description
            $0.address = address.description
        }
    }
}
