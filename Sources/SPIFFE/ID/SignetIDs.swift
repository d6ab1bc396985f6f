// SPDX-License-Identifier: Apache-2.0

extension SPIFFEID {
    /// The path of the ID by which a trust domain's bundle endpoint is known, one for all its servers
    /// (docs/decisions/0021-federation.md).
    package static let bundleEndpointPath = reservedPathPrefix + "bundle"

    /// The name in the ID of an agent of `trustDomain`; nil for any other ID.
    package func agentName(in trustDomain: TrustDomain) -> String? {
        only(segmentAfter: "/signet/agent/", in: trustDomain)
    }

    /// The server ID in the ID of a server of `trustDomain`; nil for any other ID.
    package func serverID(in trustDomain: TrustDomain) -> String? {
        only(segmentAfter: "/signet/server/", in: trustDomain)
    }

    private func only(segmentAfter prefix: String, in trustDomain: TrustDomain) -> String? {
        guard self.trustDomain == trustDomain, path.utf8.starts(with: prefix.utf8) else {
            return nil
        }
        let name = String(path.dropFirst(prefix.count))
        return name.isEmpty || name.utf8.contains(UInt8(ascii: "/")) ? nil : name
    }
}
