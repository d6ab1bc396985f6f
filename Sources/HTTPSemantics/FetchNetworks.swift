// SPDX-License-Identifier: Apache-2.0

/// To which addresses a server connects because a document or a name server says so
/// (docs/decisions/0021-federation.md).
///
/// Who controls a name decides where it leads: without a rule, to what listens on the machine itself
/// or answers every machine of a cloud.
package struct FetchNetworks: Hashable, Sendable {
    /// Most blocks of a list.
    package static let blocksMax = 64

    private let blocks: [IPBlock]?

    /// - Parameter blocks: Those that are allowed; nil: all but unspecified, loopback, link-local,
    ///   multicast and broadcast addresses. Private networks are allowed then, as partners are there.
    package init(_ blocks: [IPBlock]?) { self.blocks = blocks }

    /// Whether to connect to an address.
    ///
    /// One that stands for an IPv4 address is judged by both: a translator on the way would lead to
    /// that one.
    package func allows(_ address: IPAddress) -> Bool {
        guard isListed(address) else { return false }
        return address.translatedIPv4.allSatisfy { address in
            !Self.isRefused(address) || (blocks != nil && isListed(address))
        }
    }

    private func isListed(_ address: IPAddress) -> Bool {
        guard let blocks else { return !Self.isRefused(address) }
        return blocks.contains { $0.contains(address) }
    }

    private static func isRefused(_ address: IPAddress) -> Bool {
        refused.contains { $0.contains(address) }
    }

    /// RFC 1122 section 3.2.1.3, RFC 3927, RFC 5771, RFC 1112 section 4; RFC 4291 sections 2.5 and 2.7.
    private static let refused = [
        "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4",
        "::/128", "::1/128", "fe80::/10", "ff00::/8",
    ].compactMap { IPBlock($0) }
}

extension IPAddress {
    /// The IPv4 addresses that an IPv6 address may lead to.
    ///
    /// NAT64 (RFC 6052, RFC 8215), 6to4 (RFC 3056), Teredo (RFC 4380), ISATAP (RFC 5214),
    /// IPv4-compatible (RFC 4291 section 2.5.5.1) and IPv4-translated addresses (RFC 2765 section
    /// 2.1).
    fileprivate var translatedIPv4: [IPAddress] {
        guard !isIPv4 else { return [] }
        let last = UInt32(truncatingIfNeeded: low)
        var found: [UInt32] = []
        if high == 0, [0, 0xFFFF_0000].contains(low >> 32) { found.append(last) }
        if high == 0x0064_FF9B_0000_0000, low >> 32 == 0 { found.append(last) }
        if high >> 16 == 0x0064_FF9B_0001 {
            // Only the operator knows how long its prefix is; what a shorter one leaves is zero.
            found += [
                UInt32(truncatingIfNeeded: high << 16 | low >> 40 & 0xFFFF),
                UInt32(truncatingIfNeeded: high << 24 | low >> 32 & 0xFF_FFFF),
                UInt32(truncatingIfNeeded: low >> 24), last,
            ].filter { $0 >> 24 != 0 }
        }
        if high >> 48 == 0x2002 { found.append(UInt32(truncatingIfNeeded: high >> 16)) }
        if high >> 32 == 0x2001_0000 {
            found += [UInt32(truncatingIfNeeded: high), ~last]
        }
        if low >> 32 & ~0x0200_0000 == 0x0000_5EFE { found.append(last) }
        return found.map { IPAddress(ipv4: $0) }
    }
}
