// SPDX-License-Identifier: Apache-2.0

internal import HTTPSemantics
internal import SPIFFE

/// Which rules of one set can hold for one connection: looked up once, so that a request compares
/// only what it asks for.
///
/// It is made by `CompiledPolicySet.access` and understood by that set alone.
package struct PeerAccess: Sendable {
    /// The set that made it.
    let fingerprint: Int
    /// One bit for each block of clauses that has one.
    let summary: [UInt64]
    /// Those blocks, in order.
    let blocks: [SIMD8<UInt64>]
    /// Whether the peer is one of Signet's own parts.
    let isReserved: Bool

    /// Of a peer that nobody has looked up: every set denies it everything.
    package static let nobody = PeerAccess(fingerprint: 0, isReserved: true, clauses: [])

    init(fingerprint: Int, isReserved: Bool, clauses: [SIMD8<UInt64>]) {
        self.fingerprint = fingerprint
        self.isReserved = isReserved
        var summary = [UInt64](repeating: 0, count: (clauses.count + 63) / 64)
        for (place, block) in clauses.enumerated() where block != .zero {
            summary[place / 64] |= 1 << UInt64(place % 64)
        }
        self.summary = summary
        blocks = clauses.filter { $0 != .zero }
    }

    /// The clauses of one block that can hold.
    @inline(__always)
    func block(at place: Int) -> SIMD8<UInt64> {
        let (index, bit) = (place / 64, UInt64(place % 64))
        let bits = summary[index]
        guard (bits >> bit) & 1 == 1 else { return .zero }
        var before = (bits & ((1 << bit) - 1)).nonzeroBitCount
        for earlier in 0..<index { before += summary[earlier].nonzeroBitCount }
        return blocks[before]
    }
}

/// Finds the sources that a peer matches without looking at those that name others.
struct SourceIndex: Sendable {
    private struct Source: Sendable {
        let source: AccessSource
        /// A source of a DENY matches whom it cannot tell.
        let isDeny: Bool
        /// Number of the list of its clauses.
        let clauses: UInt32
    }

    private struct Base: Hashable, Sendable {
        let trustDomain: TrustDomain
        let path: Substring
    }

    private var sources: [Source] = []
    private var exact: [SPIFFEID: [UInt32]] = [:]
    private var below: [Base: [UInt32]] = [:]
    private var domains: [TrustDomain: [UInt32]] = [:]
    /// Those that name nobody whom they want.
    private var unnamed: [UInt32] = []
    /// Those of a DENY that name somebody, for peers without identity.
    private var named: [UInt32] = []

    /// Adds a source; each source of an action once.
    mutating func add(_ source: AccessSource, isDeny: Bool, clauses: UInt32) {
        let number = UInt32(sources.count)
        sources.append(Source(source: source, isDeny: isDeny, clauses: clauses))
        guard source.names else {
            unnamed.append(number)
            return
        }
        if isDeny { named.append(number) }
        guard let wanted = source.principals.anyOf else {
            for trustDomain in source.trustDomains.anyOf ?? [] {
                domains[trustDomain, default: []].append(number)
            }
            return
        }
        for pattern in wanted {
            switch pattern {
            case .exact(let id): exact[id, default: []].append(number)
            case .below(let trustDomain, let path):
                below[Base(trustDomain: trustDomain, path: path[...]), default: []].append(number)
            }
        }
    }

    /// Calls `body` with the list of clauses of each source that matches; of some more than once.
    func forEachMatch(
        of peer: SPIFFEID?,
        isForeign: Bool,
        at address: IPAddress,
        _ body: (UInt32) -> Void
    ) {
        func look(_ numbers: [UInt32]) {
            for number in numbers {
                let source = sources[Int(number)]
                if Self.matches(source, peer, isForeign, address) { body(source.clauses) }
            }
        }
        look(unnamed)
        guard let peer else { return look(named) }
        if let numbers = domains[peer.trustDomain] { look(numbers) }
        if let numbers = exact[peer] { look(numbers) }
        guard !below.isEmpty else { return }
        let bytes = peer.path.utf8
        for slash in bytes.indices where bytes[slash] == UInt8(ascii: "/") {
            let base = Base(trustDomain: peer.trustDomain, path: peer.path[..<slash])
            if let numbers = below[base] { look(numbers) }
        }
    }

    private static func matches(
        _ source: Source,
        _ peer: SPIFFEID?,
        _ isForeign: Bool,
        _ address: IPAddress
    ) -> Bool {
        if peer == nil, !source.isDeny, !source.source.namesAddresses { return false }
        let principals = source.source.principals
        // An ALLOW admits a peer of another trust domain only by name.
        if isForeign, !source.isDeny, !source.source.names { return false }
        let domains = source.source.trustDomains
        if let peer {
            let isWanted = principals.anyOf?.contains { $0.matches(peer) } ?? true
            let isExcluded = principals.noneOf?.contains { $0.matches(peer) } ?? false
            guard isWanted, !isExcluded, domains.anyOf?.contains(peer.trustDomain) ?? true,
                !(domains.noneOf?.contains(peer.trustDomain) ?? false)
            else { return false }
        } else if !principals.isAbsent || !domains.isAbsent, !source.isDeny {
            return false
        }
        let addresses = source.source.addresses
        let isWithin = addresses.anyOf?.contains { $0.contains(address) } ?? true
        let isExcluded = addresses.noneOf?.contains { $0.contains(address) } ?? false
        return isWithin && !isExcluded
    }
}
