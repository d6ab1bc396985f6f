// SPDX-License-Identifier: Apache-2.0

/// The kinds of certificate that Signet signs, by the names of their files in `pki/profiles`.
package enum ProfileKind: String, Hashable, Sendable, CaseIterable {
    /// An agent's.
    case agent
    /// An authority's that another one certified.
    case authority
    /// That of what certifies authorities, below an offline root.
    case intermediate
    /// A self-signed authority's.
    case root
    /// A server's own.
    case server
    /// The offline root's.
    case upstreamRoot = "upstream-root"
    /// A workload's.
    case workload

    /// What the code makes, with nothing narrower.
    package var builtIn: CertificateProfile {
        switch self {
        case .agent, .server, .workload: .leaf
        case .authority: .authority
        case .intermediate: .intermediate
        case .root: .root
        case .upstreamRoot: .upstreamRoot
        }
    }

    /// Whether a server signs such certificates, so that its files can narrow them; the others are
    /// made in the ceremony (`signet pki`).
    package var isOfServer: Bool { self != .intermediate && self != .upstreamRoot }

    /// The kinds that a server signs.
    package static let ofServer = allCases.filter(\.isOfServer)
}

/// The profiles that a server issues by: those of its files, and the built-in ones.
package struct CertificateProfiles: Hashable, Sendable {
    private let narrowed: [ProfileKind: CertificateProfile]

    /// The built-in ones.
    package static let standard = Self([:])

    /// Takes what `CertificateProfile(parsing:kind:)` read; a kind that is missing is built in.
    package init(_ narrowed: [ProfileKind: CertificateProfile]) {
        self.narrowed = narrowed
    }

    /// The profile of a kind.
    package subscript(kind: ProfileKind) -> CertificateProfile { narrowed[kind] ?? kind.builtIn }

    /// The profile of a leaf.
    package subscript(role: SubjectRole) -> CertificateProfile {
        switch role {
        case .agent: self[ProfileKind.agent]
        case .bundleEndpoint, .server: self[ProfileKind.server]
        case .workload: self[ProfileKind.workload]
        }
    }
}
