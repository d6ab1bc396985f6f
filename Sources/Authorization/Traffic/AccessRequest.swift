// SPDX-License-Identifier: Apache-2.0

package import HTTPSemantics
package import SPIFFE

/// What is asked of a workload, as plain values: for explanations, tests in documents and the
/// reference evaluator.
package struct AccessRequest: Hashable, Sendable {
    /// What only a request over HTTP has.
    package struct HTTP: Hashable, Sendable {
        /// A line of the head.
        package struct Field: Hashable, Sendable {
            /// In small letters.
            package let name: String
            package let value: String

            package init(name: String, value: String) {
                self.name = String(
                    decoding: name.utf8.map(Octet.lowercased),
                    as: UTF8.self
                )
                self.value = value
            }
        }

        package let method: String
        /// Without query, in the spelling in which paths are compared.
        package let path: [UInt8]
        /// nil if it is not known.
        package let host: RequestedHost?
        /// The host, if it is known which one is meant: it is not an address, and no field that
        /// servers take for another Host names another one.
        package var knownHost: RequestedHost? {
            guard let host, !host.isAddress else { return nil }
            for field in fields ?? [] {
                switch field.name {
                case "forwarded":
                    if Self.mentionsHost(field.value) { return nil }
                case "x-forwarded-host", "x-host", "x-http-host-override", "x-original-host":
                    if RequestedHost(authority: field.value) != host { return nil }
                default: break
                }
            }
            return host
        }
        /// Every line; nil if they are not known.
        package let fields: [Field]?

        private static func mentionsHost(_ value: String) -> Bool {
            let (bytes, word) = (value.utf8.map(Octet.lowercased), Array("host".utf8))
            return bytes.indices.contains { bytes[$0...].starts(with: word) }
        }

        /// - Returns: nil for a path that decision 0007 refuses; `*` is the one of OPTIONS.
        package init?(
            method: String,
            path: String,
            host: RequestedHost? = nil,
            fields: [Field]? = nil
        ) {
            let bytes = Array(path.utf8)
            let range = ByteRange(0..<bytes.count)
            if path != "*" || method != "OPTIONS" {
                guard CanonicalPath.refusal(bytes.span, range) == nil else { return nil }
            }
            self.method = method
            self.host = host
            self.fields = fields
            self.path = CanonicalPath.spelling(bytes.span, range)
        }
    }

    /// The verified peer; nil if it showed no certificate.
    package let peer: SPIFFEID?
    /// Whether the peer is of another trust domain than the workload: an ALLOW admits it only by
    /// name.
    package let isForeign: Bool
    /// Whether "everybody" of an ALLOW has not this peer: it is of another trust domain, or nobody.
    package var isStranger: Bool { isForeign || peer == nil }
    /// The other end of the connection.
    package let address: IPAddress
    /// The workload's port.
    package let port: UInt16
    /// The name that the client asked for in the handshake; nil if it is not known.
    ///
    /// Of a request over HTTP it never is: what is asked for is named by the request.
    package let serverName: RequestedHost?
    /// nil for a TCP connection.
    package let http: HTTP?
    /// Whether host, fields and server name are left out because nobody has remembered them.
    ///
    /// An explanation then says so; for a verdict they are not known.
    package let isPartial: Bool

    /// A request at a workload of `trustDomain`.
    package init(
        peer: SPIFFEID?,
        in trustDomain: TrustDomain,
        address: IPAddress,
        port: UInt16,
        serverName: RequestedHost? = nil,
        http: HTTP? = nil,
        isPartial: Bool = false
    ) {
        self.peer = peer
        isForeign = peer.map { $0.trustDomain != trustDomain } ?? false
        self.address = address
        self.port = port
        self.serverName = http == nil ? serverName : nil
        self.http = http
        self.isPartial = isPartial
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
