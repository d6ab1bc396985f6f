// SPDX-License-Identifier: Apache-2.0

internal import CTLS
package import FoundationEssentials
internal import SPIFFE

/// What the verification of a peer needs and finds, on the stack during one call of the library.
@safe struct TLSJudgement {
    private let requirements: PeerRequirements
    private let now: Date
    private let table: UnsafePointer<ctls_provider>
    /// nil until the library has asked.
    private(set) var outcome: Result<TLSPeer, PeerRefusal>?

    init(_ requirements: PeerRequirements, now: Date, _ table: UnsafePointer<ctls_provider>) {
        self.requirements = requirements
        self.now = now
        unsafe self.table = table
    }

    /// What the library calls with a judgement and the chain that it was shown.
    static let verify: ctls_verify = { argument, chain in
        let judgement = unsafe argument.assumingMemoryBound(to: TLSJudgement.self)
        return unsafe judgement.pointee.judge(chain)
    }

    /// - Returns: 0, or the alert.
    mutating func judge(_ chain: OpaquePointer) -> UInt8 {
        let count = unsafe table.pointee.chain_count(chain)
        var ders: [[UInt8]] = []
        for index in 0..<min(count, Int(CTLS_CHAIN_COUNT_MAX)) {
            let bytes = unsafe table.pointee.chain_certificate(chain, index)
            unsafe ders.append(Array(UnsafeBufferPointer(start: bytes.bytes, count: bytes.count)))
        }
        // One more than allowed is enough to be refused for.
        if count > ders.count { ders.append([]) }
        do throws(PeerRefusal) {
            let peer = try TLSPeer.verified(chain: ders, requirements: requirements, now: now) {
                (usable, domain) throws(PeerVerificationError) in
                try unsafe findPath(chain, usable, domain)
            }
            outcome = .success(peer)
            return 0
        } catch {
            outcome = .failure(error)
            return error.alert
        }
    }

    private func findPath(
        _ chain: OpaquePointer,
        _ usable: UInt32,
        _ domain: TLSAuthorities.Domain
    ) throws(PeerVerificationError) -> FoundPath {
        var authorities: UInt64 = 0
        for (index, certificate) in domain.certificates.enumerated()
        where certificate.isValid(at: now) {
            authorities |= 1 << UInt64(index)
        }
        let path = unsafe table.pointee.chain_path(chain, usable, domain.parsed, authorities)
        switch unsafe path.result {
        case ctls_path_found: break
        case ctls_path_refused:
            let reason = unsafe path.reason.map { unsafe String(cString: $0) }
            throw .pathRefused(reason: reason ?? "a rule of RFC 5280 is broken")
        default: throw .noPath
        }
        let places = unsafe withUnsafeBytes(of: path.certificates) { places in
            unsafe places.prefix(Int(path.count)).map(Int.init)
        }
        let authority = (places.last ?? 0) - Int(CTLS_PATH_AUTHORITY)
        guard places.first == 0, domain.certificates.indices.contains(authority) else {
            throw .noPath
        }
        return FoundPath(presented: Array(places.dropFirst().dropLast()), authority: authority)
    }
}

extension PeerRequirements {
    /// Judges a chain outside of a handshake, by the same steps.
    ///
    /// - Parameters:
    ///   - chain: DER of each certificate, leaf first.
    ///   - now: The wall clock.
    /// - Returns: Who would be let in by it, if he holds its key.
    /// - Throws: Why nobody would.
    package func verify(chain: [[UInt8]], now: Date) throws(PeerRefusal) -> TLSPeer {
        let table = unsafe authorities.provider.table
        var judgement = unsafe TLSJudgement(self, now: now, table)
        // The ones that are too many are counted, not looked at.
        unsafe withBytes(chain) { ranges in
            unsafe ranges.withUnsafeBufferPointer { ranges in
                guard let first = ranges.baseAddress,
                    let made = unsafe table.pointee.chain_new(first, ranges.count)
                else { return }
                _ = unsafe judgement.judge(made)
                unsafe table.pointee.chain_free(made)
            }
        }
        guard let outcome = judgement.outcome else { throw .verification(.chainEmpty) }
        return try outcome.get()
    }
}
