// SPDX-License-Identifier: Apache-2.0

/// Who did something, in the one grammar that roles and the audit log share:
/// `spiffe://...`, `uid:<n>@<host>`, `person:<issuer>#<subject>` or `system:<part>`.
package enum Actor: Hashable, Sendable, CustomStringConvertible {
    /// A process on the server's own machine, known by the uid the kernel reported.
    case localUser(uid: UInt32, host: String)
    /// A person known through an identity provider.
    case person(issuer: String, subject: String)
    /// A peer verified by its X.509-SVID.
    case spiffe(SPIFFEID)
    /// A part of Signet acting by itself, for example `rotation`.
    case system(String)

    package var description: String {
        switch self {
        case .localUser(let uid, let host): "uid:\(uid)@\(host)"
        case .person(let issuer, let subject): "person:\(issuer)#\(subject)"
        case .spiffe(let id): id.description
        case .system(let part): "system:\(part)"
        }
    }
}
