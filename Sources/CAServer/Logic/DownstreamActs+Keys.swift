// SPDX-License-Identifier: Apache-2.0

internal import ControlAPI
internal import Datastore
internal import FoundationEssentials
internal import Issuance
internal import SPIFFE

/// Which keys may be certified as authorities of servers below.
extension ServerLogic {
    /// A key is of one entry and one node, and of none once it was revoked.
    func requireSame(
        _ known: DownstreamRecord,
        _ entry: RegistrationEntry,
        _ node: NodeRecord
    ) throws(APIError) {
        guard !known.isRevoked else { throw Self.keyRevoked(known.id) }
        guard known.entry.id == entry.id, known.node == node.name else {
            throw APIError(
                .permissionDenied,
                "keyOfAnother",
                "the key \(known.id) was certified for another entry or node, and stays its own: the "
                    + "server below has to make another"
            )
        }
    }

    static func keyRevoked(_ id: String) -> APIError {
        APIError(
            .permissionDenied,
            "authorityRevoked",
            "the key \(id) was revoked, and no key comes back: the server below has to make another"
        )
    }

    /// The upstream may copy the subject, and what is certified with another authority's is refused:
    /// that it is taken has to be known before anything is signed.
    func requireNewSubject(
        _ request: DownstreamRequest,
        in transaction: ReadTransaction
    ) throws {
        var known = try transaction.authorities().map(\.certificateDER)
        known += try transaction.upstreams().map(\.certificateDER)
        known += try transaction.downstreamAuthorities()
            .filter { $0.id != request.publicKey.keyID }.map(\.certificateDER)
        guard known.allSatisfy({ UpstreamChain.subject(of: $0) != request.subject }) else {
            throw APIError(
                .permissionDenied,
                "subjectTaken",
                "the request's subject is another authority's; the server below has to make another key"
            )
        }
    }

    /// A key that is something else already would be revoked, or believed, as that.
    func requireNewKey(
        _ key: SubjectPublicKey,
        of entry: RegistrationEntry,
        in transaction: ReadTransaction
    ) throws {
        let spki = key.subjectPublicKeyInfo
        var taken: [[UInt8]] = []
        for known in try transaction.authorities() {
            taken += [
                try? LeafCertificate(der: known.certificateDER).spkiBytes, known.tokenKeySPKI,
            ]
            .compactMap(\.self)
        }
        for known in try transaction.upstreams() {
            taken += [try? LeafCertificate(der: known.certificateDER).spkiBytes].compactMap(\.self)
        }
        let isAbove = try transaction.upstream(id: key.keyID) != nil
        let isAuthority = try transaction.authority(id: key.keyID) != nil
        guard !taken.contains(spki), !isAbove, !isAuthority else {
            throw APIError(
                .permissionDenied,
                "keyOfAuthority",
                "the key is or was an authority's, or is above them, and never becomes one below"
            )
        }
        let isLeaf = try transaction.hasLeaf(
            with: spki,
            sha256: key.spkiSHA256,
            of: entry.spiffeID
        )
        guard !isLeaf else {
            throw APIError(
                .permissionDenied,
                "keyOfLeaf",
                "the key is an agent's, or of an SVID of the entry, and never becomes an authority's"
            )
        }
    }
}
