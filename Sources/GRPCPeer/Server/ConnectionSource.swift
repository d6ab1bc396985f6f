// SPDX-License-Identifier: Apache-2.0

package import SPIFFE

/// What shares one allowance of connections or requests.
package enum ConnectionSource: Hashable, Sendable, CustomStringConvertible {
    /// An IPv4 address, or an IPv6 network of 64 bits, written `a:b:c:d::/64`.
    case address(String)
    /// What a peer has proved to be.
    case identity(SPIFFEID)
    case uid(UInt32)

    /// Whom an IP address speaks for.
    ///
    /// An IPv6 host chooses among 2^64 addresses of its network (RFC 4291 section 2.5.1), so the
    /// network counts as one; an IPv4 address that came to an IPv6 socket (section 2.5.5.2) counts
    /// as itself. Text that is no address counts as itself.
    package init(host: String) {
        let address = host.prefix { $0 != "%" }
        guard address.contains(":") else {
            self = .address(host)
            return
        }
        let mapped = "::ffff:"
        if address.lowercased().hasPrefix(mapped), address.contains(".") {
            self = .address(String(address.dropFirst(mapped.count)))
            return
        }
        self = .address(Self.network(of: String(address)) ?? host)
    }

    /// Whom the address of a `PeerContext.remote` speaks for, whatever its port.
    package init(address: String) {
        let host = address.lastIndex(of: ":").map { address[..<$0] } ?? address[...]
        self.init(host: String(host.drop { $0 == "[" }.prefix { $0 != "]" }))
    }

    package var description: String {
        switch self {
        case .address(let text): text
        case .identity(let id): id.description
        case .uid(let uid): "uid:\(uid)"
        }
    }

    /// The first four of the eight groups, whatever form they are written in.
    private static func network(of text: String) -> String? {
        var groups: [Substring] = []
        if let gap = text.firstRange(of: "::") {
            let head = text[..<gap.lowerBound].split(separator: ":")
            let tail = text[gap.upperBound...].split(separator: ":")
            // An IPv4 address at the end (RFC 4291 section 2.2) stands for two groups.
            let tailCount = tail.count + (tail.last?.contains(".") == true ? 1 : 0)
            let zeros = 8 - head.count - tailCount
            guard zeros > 0 else { return nil }
            groups = head + Array(repeating: "0", count: zeros) + tail
        } else {
            groups = text.split(separator: ":")
        }
        let numbers = groups.prefix(4).compactMap { UInt16($0, radix: 16) }
        guard numbers.count == 4 else { return nil }
        return numbers.map { String($0, radix: 16) }.joined(separator: ":") + "::/64"
    }
}
