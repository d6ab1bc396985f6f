// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import ControlAPIProtos
import Datastore
import FoundationEssentials
import NodeSync
import Routing
import SPIFFE
import SwiftProtobuf
import Testing

/// A `Proxy` document with one inbound listener, and one outbound listener if it names a Service.
func proxyDocument(
    _ name: String = "web",
    namespace: String = "default",
    node: String = "role:web",
    selectors: String = "unix:path:/usr/bin/signet-proxy",
    identity: String = "spiffe://example.org/web",
    traffic: String = "http",
    uids: String? = nil,
    service: String? = nil
) -> String {
    let outbound = """
          outbound:
          - name: out
            identity: \(identity)
            service: \(service ?? "")
            port: main
            unix: /run/demo/out.sock
            allow: {uids: [1000]}
        """
    return """
        ---
        apiVersion: core.signet/v1alpha1
        kind: Proxy
        metadata: {name: \(name), namespace: \(namespace)}
        spec:
          mode: sidecar
          nodeSelectors: ["\(node)"]
          selectors: ["\(selectors)"]
          identities: [\(identity)]
          inbound:
          - name: in
            address: 127.0.0.1:8443
            identity: \(identity)
            protocol: \(traffic)
            forward:
              unix: /run/demo/app.sock
        \(uids.map { "      uids: \($0)" } ?? "")
            workloadPort: 8080
        \(service == nil ? "" : outbound)

        """
}

/// A `Service` document with one port of a name.
func serviceDocument(
    _ name: String = "api",
    namespace: String = "default",
    port: String = "main",
    endpoint: String = "127.0.0.1:9443"
) -> String {
    """
    ---
    apiVersion: core.signet/v1alpha1
    kind: Service
    metadata: {name: \(name), namespace: \(namespace)}
    spec:
      ports:
      - {name: \(port), number: 80, protocol: http}
      identities: [spiffe://example.org/api]
      endpoints:
      - {address: "\(endpoint)"}

    """
}

/// An `AccessPolicy` document that admits one peer.
func policyDocument(
    _ name: String = "allow",
    namespace: String = "default",
    action: String = "ALLOW",
    target: String? = nil,
    operation: String = "ports: [8080]",
    more: String = ""
) -> String {
    """
    ---
    apiVersion: core.signet/v1alpha1
    kind: AccessPolicy
    metadata: {name: \(name), namespace: \(namespace)}
    spec:
    \(target.map { "  target: \($0)" } ?? "")
      action: \(action)
      rules:
      - from:
        - source: {principals: [spiffe://example.org/client]}
        to:
        - operation: {\(operation)}
    \(more)

    """
}

/// A `Namespace` document.
func namespaceDocument(_ name: String) -> String {
    """
    ---
    apiVersion: core.signet/v1alpha1
    kind: Namespace
    metadata: {name: \(name)}

    """
}

extension TestServer {
    /// What agents are sent for a Proxy.
    func state(_ reference: String = "default/web") async throws -> ProxyState? {
        guard let record = try await core.read({ try $0.proxy(reference) }) else { return nil }
        let key = ResourceKey(.proxy, reference)
        guard case .proxy(let state) = try ResourcePayload(key, record.state) else { return nil }
        return state
    }

    /// Deletes one document.
    @discardableResult
    func delete(
        _ kind: String,
        _ name: String,
        namespace: String = "default"
    ) async throws -> Signet_Admin_V1alpha1_ApplyResponse {
        try await documents.delete(
            .with {
                $0.keys = [
                    .with { ($0.kind, $0.namespace, $0.name) = (kind, namespace, name) }
                ]
            }
        )
    }

    /// The numbers under which a Proxy's state changed.
    func changes(of reference: String = "default/web") async throws -> [UInt64] {
        let stored = try await core.read { try $0.eachChange(after: 0, limit: 1000) }
        guard case .delta(let changes) = stored else { return [] }
        return changes.filter { $0.key == ResourceKey(.proxy, reference) }.map(\.number)
    }
}
