// SPDX-License-Identifier: Apache-2.0

internal import SPIFFE

/// A revocation list as workloads are shown it: verified with an authority of the bundle beside it.
package struct ShownRevocationList: Sendable {
    /// The authority's subject key identifier.
    package let authorityKeyID: [UInt8]
    /// Big-endian; of two lists of one authority the higher is newer.
    package let number: [UInt8]
    package let der: [UInt8]

    package init(authorityKeyID: [UInt8], number: [UInt8], der: [UInt8]) {
        self.authorityKeyID = authorityKeyID
        self.number = number
        self.der = der
    }
}

extension ShownRevocationList: Hashable {
    /// An authority gives a number to one list only: the bytes need not be looked at.
    package static func == (list: Self, other: Self) -> Bool {
        list.authorityKeyID == other.authorityKeyID && list.number == other.number
    }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(authorityKeyID)
        hasher.combine(number)
    }
}

/// The revocation lists that a node was told, and those of them that may be shown.
///
/// One list for each authority, the one that came last: revisions give the order.
struct RevocationListShelf: Sendable {
    private var lists: [String: CertificateRevocationList] = [:]
    private var verified: [String: VerifiedRevocationList] = [:]
    /// In the order of their authorities' IDs.
    private(set) var shown: [ShownRevocationList] = []

    mutating func put(_ list: CertificateRevocationList) {
        lists[Hexadecimal.text(list.authorityKeyID)] = list
    }

    mutating func remove(authorityID: String) { lists[authorityID] = nil }

    /// Finds out what may be shown beside a bundle.
    ///
    /// A list is verified when its authority's certificate is there for the first time, and not
    /// again as long as both stay.
    ///
    /// - Returns: Whether that is something else than before.
    mutating func judge(beside bundle: TrustBundle?) -> Bool {
        let authorities = Set(bundle?.allAuthorities ?? [])
        var judged: [String: VerifiedRevocationList] = [:]
        for (id, list) in lists {
            if let known = verified[id], known.list == list,
                authorities.contains(known.authority)
            {
                judged[id] = known
            } else if let bundle {
                judged[id] = (try? list.verify(in: bundle)) ?? nil
            }
        }
        verified = judged
        let before = shown
        shown = judged.sorted { $0.key < $1.key }.map { _, verified in
            ShownRevocationList(
                authorityKeyID: verified.list.authorityKeyID,
                number: verified.list.number,
                der: verified.list.der
            )
        }
        return shown != before
    }
}
