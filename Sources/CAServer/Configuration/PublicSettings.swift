// SPDX-License-Identifier: Apache-2.0

internal import Configuration
package import GRPCPeer
internal import HTTPSemantics
internal import Issuance
internal import PublicEndpoint
internal import SPIFFE

/// Where verifiers outside are served.
package enum PublicAddress: Hashable, Sendable, CustomStringConvertible {
    /// A Unix socket by its path.
    case socket(String)
    /// TLS at an IP address.
    case tls(ServerAddress)

    /// Reads `IP:port` or `unix:/path`.
    ///
    /// - Throws: What to write.
    package init(parsing text: String) throws {
        let scheme = "unix:"
        if text.hasPrefix(scheme) {
            let path = String(text.dropFirst(scheme.count))
            guard path.hasPrefix("/") else {
                throw ConfigurationValue.Refusal("write unix: and an absolute path")
            }
            self = .socket(path)
            return
        }
        self = .tls(try Self.address(parsing: text, orElse: ", or unix:/path"))
    }

    /// Reads `IP:port`.
    ///
    /// - Parameters:
    ///   - text: What was written.
    ///   - others: What else may be.
    /// - Returns: An address of this machine.
    /// - Throws: What to write.
    package static func address(
        parsing text: String,
        orElse others: String = ""
    ) throws -> ServerAddress {
        let address = try ServerAddress(parsing: text)
        guard IPAddress(address.host) != nil else {
            throw ConfigurationValue.Refusal(
                "write an IP address of this machine with a port, such as \"[::]:8443\"" + others
            )
        }
        return address
    }

    package var description: String {
        switch self {
        case .socket(let path): "unix:\(path)"
        case .tls(let address): address.description
        }
    }
}

/// What `publicDocuments` may name; docs/decisions/0019 says what strangers learn from each.
package enum PublicDocumentKind: String, Hashable, Sendable, CaseIterable {
    /// The SPIFFE bundle.
    case bundle
    /// Certificate revocation lists.
    case crl
    /// Discovery and keys for OpenID Connect.
    case oidc

    /// Reads a value of the configuration.
    ///
    /// - Throws: What to write.
    package init(parsing text: String) throws {
        guard let value = Self(rawValue: text) else {
            let names = Self.allCases.map(\.rawValue).joined(separator: ", ")
            throw ConfigurationValue.Refusal("write one of \(names)")
        }
        self = value
    }
}

extension ServerConfiguration {
    /// Least `publicHold`: what is cached for a minute is copied and fetched some times in it.
    package static let publicHoldMin: Duration = .seconds(15 * 60)
    /// Most `publicHold`: half of what an authority lives by default.
    package static let publicHoldMax: Duration = .seconds(12 * 3600)
    /// `publicHold` if it is not said: more than any verifier of which we know waits.
    package static let publicHoldDefault: Duration = .seconds(3600)

    /// Whether others than agents follow the bundle, who fetch it when they choose.
    var isFollowedOutside: Bool { publicURL != nil || federationListen != nil }

    /// How long an authority is published before it signs.
    package var hold: Duration {
        isFollowedOutside
            ? publicHold ?? Self.publicHoldDefault : AuthorityRotation.publicationHold
    }

    /// What is served on `publicListen`.
    package var servedDocuments: Set<PublicDocumentKind> {
        publicDocuments.isEmpty ? [.oidc] : Set(publicDocuments)
    }

    /// The keys for verifiers outside that do not fit each other, and what to write.
    var publicProblems: [(key: ServerConfigurationKey, remedy: String)] {
        var problems = holdProblems
        if publicURL == nil, publicListen != nil {
            problems.append(
                (.publicURL, "is missing: write the https URL by which verifiers come")
            )
        }
        switch publicListen {
        case .socket(adminSocket):
            problems.append((.publicListen, "is the admins' socket: write another path"))
        case .tls(let address) where address.port != 0 && address.port == listen.port:
            problems.append(
                (.publicListen, "agents are served at \(listen): write another port")
            )
        default: break
        }
        let files: [(key: ServerConfigurationKey, path: String?)] = [
            (.publicCertificate, publicCertificate), (.publicKey, publicKey),
        ]
        for (key, path) in files {
            switch (publicListen, path) {
            case (.tls, nil):
                problems.append(
                    (
                        key,
                        "is missing: \(publicListen?.description ?? "") is served over TLS; write "
                            + "the path of a PEM file, or publicListen: unix:/path"
                    )
                )
            case (.socket, _?):
                problems.append((key, "a Unix socket is served without TLS; leave it out"))
            case (nil, _?):
                problems.append((key, "nothing is served without publicListen; leave it out"))
            case (.tls, let path?) where !path.hasPrefix("/"):
                problems.append((key, "write an absolute path"))
            default: break
            }
        }
        if publicListen == nil, !publicDocuments.isEmpty {
            problems.append(
                (.publicDocuments, "nothing is served without publicListen; leave it out")
            )
        }
        return problems
    }

    private var holdProblems: [(key: ServerConfigurationKey, remedy: String)] {
        guard isFollowedOutside else {
            guard publicHold != nil else { return [] }
            return [
                (
                    .publicHold,
                    "nobody outside is waited for without publicURL or federationListen; leave it "
                        + "out"
                )
            ]
        }
        let most = lifetimes.publicationHoldMax
        guard hold > most else { return [] }
        let text = SVIDLifetimes.text
        let remedy =
            most < Self.publicHoldMin
            ? "raise authorityTTL or lower the others"
            : "write at most \(text(most)), raise authorityTTL or lower the others"
        return [
            (
                .publicHold,
                "\(text(hold)) is longer than a next authority can wait: authorityTTL / 2 - "
                    + "max(authorityTTL / 6, 2 x the longest SVID) is \(text(max(most, .zero))) "
                    + "(authorityTTL \(text(lifetimes.authority)), longest SVID "
                    + "\(text(lifetimes.longestSVID)) by workloadSVIDTTLMax and agentSVIDTTL); "
                    + remedy
            )
        ]
    }

    /// The issuer of tokens "A, through B"; nil: none are made.
    package var delegatedIssuer: String? {
        exchangesTokens ? publicURL?.delegatedIssuer : nil
    }

    /// What does not fit `tokenExchange`, and what to write.
    var exchangeProblems: [(key: ServerConfigurationKey, remedy: String)] {
        guard exchangesTokens else { return [] }
        guard let issuer = publicURL?.delegatedIssuer else {
            return [(.publicURL, "is missing: tokenExchange names the issuer of tokens by it")]
        }
        let most = DelegationClaims.issuerBytesMax
        guard issuer.utf8.count > most else { return [] }
        return [
            (
                .publicURL,
                "with tokenExchange at most \(most - PublicURL.delegatedPath.utf8.count) bytes: "
                    + "\(PublicURL.delegatedPath) is put behind it, and verifiers take \(most)"
            )
        ]
    }

    static func publicHold(
        _ text: String
    ) throws(ConfigurationValue.Refusal) -> Duration {
        let duration = try ConfigurationValue.duration(text)
        guard (publicHoldMin...publicHoldMax).contains(duration) else {
            throw .init(
                "write \(SVIDLifetimes.text(publicHoldMin)) to \(SVIDLifetimes.text(publicHoldMax))"
            )
        }
        return duration
    }

    /// The conditions of health about verifiers outside; readiness depends on none of them.
    var publicConditions: [String] {
        (publicListen == nil ? [] : [Publication.condition])
            + (federationListen == nil ? [] : [FederationEndpoint.condition])
            + (isFollowedOutside ? [ServerCore.publicKeysCondition] : [])
    }

    /// What an operator should know before verifiers complain.
    package var publicWarnings: [String] {
        guard let publicURL else { return [] }
        var warnings: [String] = []
        if publicURL.port != nil {
            warnings.append("publicURL has a port: AWS refuses such an issuer")
        }
        if (tokenKeyType ?? authorityKeyType) == .p384 {
            warnings.append(
                "the next key for tokens is ec-p384: GCP refuses what it signs; tokenKeyType: "
                    + "rsa-2048 serves every verifier that is known"
            )
        }
        return warnings
    }
}
