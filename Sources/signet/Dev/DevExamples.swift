// SPDX-License-Identifier: Apache-2.0

/// Documents that `signet dev` writes for its user to begin with.
package enum DevExamples {
    /// An identity for every process of a user.
    package static func identity(trustDomain: String, uid: UInt32) -> String {
        """
        # Every process of this user gets the identity below: signet apply -f THIS-FILE
        \(entry("me", trustDomain: trustDomain, uid: uid, ttl: "5m"))

        """
    }

    /// Two services with a proxy each, and who may do what.
    package static func dataPath(trustDomain: String, uid: UInt32) -> String {
        let ids = "spiffe://\(trustDomain)/dev"
        let documents = [
            entry("frontend", trustDomain: trustDomain, uid: uid, ttl: "5m"),
            entry("backend", trustDomain: trustDomain, uid: uid, ttl: "5m"),
            service(ids), frontend(ids, uid), backend(ids, uid), policy(ids),
        ]
        return """
            # Two services that talk through their proxies: signet apply -f THIS-FILE
            #
            #   curl --plain--> 127.0.0.1:18081 ==mTLS==> 127.0.0.1:18443 --plain--> 127.0.0.1:18080
            #                   proxy frontend            proxy backend              any web service
            #
            # Everything here is of one user, whom these selectors mean; on machines, name programs too.
            \(documents.joined(separator: "\n---\n"))

            """
    }

    private static func service(_ ids: String) -> String {
        """
        apiVersion: core.signet/v1alpha1
        kind: Service
        metadata:
          name: backend
        spec:
          ports: [{name: http, number: 80, protocol: http}]
          # Whom its clients accept there, and where it is.
          identities: [\(ids)/backend]
          endpoints: [{address: 127.0.0.1:18443}]
        """
    }

    private static func frontend(_ ids: String, _ uid: UInt32) -> String {
        """
        apiVersion: core.signet/v1alpha1
        kind: Proxy
        metadata:
          name: frontend
        spec:
          mode: sidecar
          nodeSelectors: ["agent:\(DevSystem.agentName)"]
          # What its process must be: who is that gets the keys.
          selectors: ["unix:uid:\(uid)"]
          identities: [\(ids)/frontend]
          outbound:
            - name: backend
              identity: \(ids)/frontend
              service: backend
              port: http
              address: 127.0.0.1:18081
              # Who may send through it.
              allow: {uids: [\(uid)]}
        """
    }

    private static func backend(_ ids: String, _ uid: UInt32) -> String {
        """
        apiVersion: core.signet/v1alpha1
        kind: Proxy
        metadata:
          name: backend
        spec:
          mode: sidecar
          nodeSelectors: ["agent:\(DevSystem.agentName)"]
          selectors: ["unix:uid:\(uid)"]
          identities: [\(ids)/backend]
          inbound:
            - name: http
              address: 127.0.0.1:18443
              identity: \(ids)/backend
              protocol: http
              # Where the application is, and whose it must be.
              forward: {address: 127.0.0.1:18080, uids: [\(uid)]}
        """
    }

    private static func policy(_ ids: String) -> String {
        """
        # What no policy allows is denied.
        apiVersion: core.signet/v1alpha1
        kind: AccessPolicy
        metadata:
          name: backend-readers
        spec:
          target: {services: [backend]}
          action: ALLOW
          rules:
            - from: [{source: {principals: [\(ids)/frontend]}}]
              to: [{operation: {methods: [GET]}}]
        """
    }

    private static func entry(
        _ name: String,
        trustDomain: String,
        uid: UInt32,
        ttl: String
    ) -> String {
        """
        apiVersion: core.signet/v1alpha1
        kind: RegistrationEntry
        metadata:
          name: \(name)
        spec:
          spiffeID: spiffe://\(trustDomain)/dev/\(name)
          nodeSelectors: ["agent:\(DevSystem.agentName)"]
          workloadSelectors: ["unix:uid:\(uid)"]
          x509SVIDTTL: \(ttl)
        """
    }
}
