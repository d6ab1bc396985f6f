// SPDX-License-Identifier: Apache-2.0

package import ControlAPIProtos

/// What a proxy process says of itself first.
package struct ProxyHello: Hashable, Sendable {
    /// `namespace/name`; empty if it leaves that to the agent.
    package let proxy: String
    package let instance: [UInt8]
    package let version: String
    package let capabilities: [String]

    package init(proxy: String, instance: [UInt8], version: String, capabilities: [String]) {
        self.proxy = proxy
        self.instance = instance
        self.version = version
        self.capabilities = capabilities
    }
}

extension ProxyHello {
    /// Reads the wire form.
    ///
    /// - Throws: `WireError` naming the first field that cannot be read.
    package init(parsing message: Signet_Proxy_V1alpha1_ProxyHello) throws(WireError) {
        guard message.instance.count == AttachedProxy.instanceBytes else {
            throw .field("hello.instance", "not \(AttachedProxy.instanceBytes) bytes")
        }
        guard message.capabilities.count <= AttachedProxy.capabilitiesMax else {
            throw .tooMany("hello.capabilities", max: AttachedProxy.capabilitiesMax)
        }
        for word in message.capabilities + [message.version]
        where word.utf8.count > AttachedProxy.wordBytesMax {
            throw .field(
                "hello",
                "a version or capability of more than \(AttachedProxy.wordBytesMax) bytes"
            )
        }
        self.init(
            proxy: message.proxy.isEmpty
                ? "" : try AttachedProxy.reference(message.proxy, "hello.proxy"),
            instance: Array(message.instance),
            version: message.version,
            capabilities: message.capabilities
        )
    }
}
