// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
package import Issuance

extension AuthorityKey {
    /// The keys of use to some authorities, and no others
    /// (docs/decisions/0018-certificate-revocation-lists.md, "Keys").
    ///
    /// - Parameters:
    ///   - authorities: Their records, those that are revoked included.
    ///   - ended: The IDs of those that have signed their last revocation list.
    ///   - now: The wall clock; nil if it is not believed, when no key goes because of the time.
    /// - Returns: What a vault has to keep; whatever else it holds of these authorities' server is
    ///   of no use to anybody but a thief.
    package static func kept(
        of authorities: [Authority],
        ended: Set<String>,
        now: Date?
    ) -> Set<Self> {
        var kept: Set<Self> = []
        for authority in authorities {
            for purpose in Purpose.allCases {
                let isEnded = ended.contains(authority.id)
                guard authority.needsKey(for: purpose, isEnded: isEnded, now: now) else { continue }
                kept.insert(
                    Self(
                        authority.id,
                        for: purpose,
                        publicKey: purpose == .tokens ? authority.tokenKeySPKI : nil
                    )
                )
            }
        }
        return kept
    }
}

extension Authority {
    /// Whether one of its two keys is of use.
    fileprivate func needsKey(
        for purpose: AuthorityKey.Purpose,
        isEnded: Bool,
        now: Date?
    ) -> Bool {
        switch (state, purpose) {
        // They sign, or will.
        case (.prepared, _), (.active, _): true
        case (.old, .tokens), (.tainted, .tokens): false
        // It signs revocation lists and nothing else, and none after the authority's end.
        case (.old, .certificates), (.tainted, .certificates):
            !isEnded && now.map { $0 < notAfter } ?? true
        case (.revoked, _): false
        }
    }
}
