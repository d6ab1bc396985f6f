// SPDX-License-Identifier: Apache-2.0

package import HTTPSemantics
package import SPIFFE

/// What is asked of a workload, as plain values: for explanations, tests in documents and the
/// reference evaluator.
package struct AccessRequest: Hashable, Sendable {
    /// What only a request over HTTP has.
    package struct HTTP: Hashable, Sendable {
        package let method: String
        /// Without query, in the spelling in which paths are compared.
        package let path: [UInt8]

        /// - Returns: nil for a path that decision 0007 refuses; `*` is the one of OPTIONS.
        package init?(method: String, path: String) {
            let bytes = Array(path.utf8)
            let range = ByteRange(0..<bytes.count)
            if path != "*" || method != "OPTIONS" {
                guard CanonicalPath.refusal(bytes.span, range) == nil else { return nil }
            }
            self.method = method
            self.path = CanonicalPath.spelling(bytes.span, range)
        }
    }

    /// The verified peer; nil if it showed no certificate.
    package let peer: SPIFFEID?
    /// Whether the peer is of another trust domain than the workload: an ALLOW admits it only by
    /// name.
    package let isForeign: Bool
    /// The other end of the connection.
    package let address: IPAddress
    /// The workload's port.
    package let port: UInt16
    /// nil for a TCP connection.
    package let http: HTTP?

    /// A request at a workload of `trustDomain`.
    package init(
        peer: SPIFFEID?,
        in trustDomain: TrustDomain,
        address: IPAddress,
        port: UInt16,
        http: HTTP? = nil
    ) {
        self.peer = peer
        isForeign = peer.map { $0.trustDomain != trustDomain } ?? false
        self.address = address
        self.port = port
        self.http = http
    }
}

/// Whether it may be, and which rule says so.
package struct AccessVerdict: Hashable, Sendable {
    /// The rule that decided.
    package struct Cause: Hashable, Sendable, Comparable {
        package let namespace: String
        package let policy: String
        /// Its place in the policy, from 0.
        package let rule: Int

        package init(namespace: String, policy: String, rule: Int) {
            self.namespace = namespace
            self.policy = policy
            self.rule = rule
        }

        package static func < (lhs: Self, rhs: Self) -> Bool {
            (lhs.namespace, lhs.policy, lhs.rule) < (rhs.namespace, rhs.policy, rhs.rule)
        }
    }

    package let isAllowed: Bool
    /// nil when no rule matched: the default, deny.
    package let cause: Cause?

    package init(isAllowed: Bool, cause: Cause?) {
        self.isAllowed = isAllowed
        self.cause = cause
    }

    package static let denyByDefault = Self(isAllowed: false, cause: nil)
}
