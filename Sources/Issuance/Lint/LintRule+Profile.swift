// SPDX-License-Identifier: Apache-2.0

internal import SPIFFE

extension LintRule {
    /// What a profile file narrows, read from the encoded bytes; lifetimes are part of
    /// `signet-validity-within-limit`.
    static let profile: [Self] = [
        Self("signet-profile-dns-names") { reading, expected in
            let names = reading.subjectAltNames?.dnsNames ?? []
            return expected.profile.limits.dnsNameOutside(names) == nil
        },
        Self("signet-profile-key") { reading, expected in
            // Reading a key again costs as much as the rest.
            guard expected.profile.limits.keys != nil else { return true }
            let key = try? SubjectPublicKey(
                subjectPublicKeyInfo: Array(reading.subjectPublicKeyInfo)
            )
            return key.map { expected.profile.limits.allows($0.algorithm) } ?? false
        },
    ]
}
