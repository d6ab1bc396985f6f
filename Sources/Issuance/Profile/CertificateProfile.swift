// SPDX-License-Identifier: Apache-2.0

/// Whose certificate it is; the role decides lifetime and form of the ID.
package enum SubjectRole: String, Hashable, Sendable, CaseIterable, Codable {
    /// An agent: `/signet/agent/<name>`.
    case agent
    /// What serves the trust domain's bundle to other trust domains: `/signet/bundle`.
    case bundleEndpoint
    /// A server: `/signet/server/<id>`.
    case server
    /// A workload with a registration entry.
    case workload
}

/// What a certificate contains: the same for every subject of one kind, and nothing else.
///
/// The files in `pki/profiles` state the same profiles for people and for the tests, which read
/// every issued certificate against them; a server can be given files that narrow them.
package struct CertificateProfile: Hashable, Sendable {
    /// Purposes of the key (RFC 5280 section 4.2.1.3).
    package let keyUsage: KeyUsage
    /// Both purposes or none (X509-SVID section 4.4).
    package let isForTLSPeers: Bool
    /// How many authorities may stand between the subject and a leaf; nil: it signs nothing.
    package let pathLength: Int?
    /// Whether it is signed with its own key.
    package let isSelfSigned: Bool
    /// What a file narrows.
    package let limits: ProfileLimits

    /// Every SVID that authenticates: workload, agent and server alike.
    ///
    /// `keyEncipherment` is left out for RSA keys too: TLS 1.3 only ever signs.
    package static let leaf = Self(
        keyUsage: .digitalSignature,
        isForTLSPeers: true,
        pathLength: nil,
        isSelfSigned: false,
        limits: .none
    )

    /// Whether the subject is a signing certificate (X509-SVID section 3.2).
    package var isAuthority: Bool { pathLength != nil }

    /// The same, and narrower by what the limits say.
    package func narrowed(by limits: ProfileLimits) -> Self {
        Self(
            keyUsage: keyUsage,
            isForTLSPeers: isForTLSPeers,
            pathLength: pathLength,
            isSelfSigned: isSelfSigned,
            limits: limits
        )
    }

    /// A self-signed authority that signs leaves only (pathLenConstraint 0).
    package static let root = signing(pathLength: 0, isSelfSigned: true)

    /// An authority that another one certified; signs leaves only.
    package static let authority = signing(pathLength: 0, isSelfSigned: false)

    /// What certifies authorities, below an offline root.
    package static let intermediate = signing(pathLength: 1, isSelfSigned: false)

    /// The offline root.
    package static let upstreamRoot = signing(pathLength: 2, isSelfSigned: true)

    private static func signing(pathLength: Int, isSelfSigned: Bool) -> Self {
        Self(
            keyUsage: [.keyCertSign, .cRLSign],
            isForTLSPeers: false,
            pathLength: pathLength,
            isSelfSigned: isSelfSigned,
            limits: .none
        )
    }
}

/// The named bits of KeyUsage that profiles use (RFC 5280 section 4.2.1.3), bit 0 first.
package struct KeyUsage: OptionSet, Hashable, Sendable {
    package let rawValue: UInt8

    package init(rawValue: UInt8) {
        self.rawValue = rawValue
    }

    package static let digitalSignature = Self(rawValue: 0x80)
    package static let keyCertSign = Self(rawValue: 0x04)
    package static let cRLSign = Self(rawValue: 0x02)
}
