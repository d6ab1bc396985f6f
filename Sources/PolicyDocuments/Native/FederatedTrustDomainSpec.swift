// SPDX-License-Identifier: Apache-2.0

package import HTTPSemantics
package import SPIFFE
import StrictYAML

/// What a `FederatedTrustDomain` document says: whose bundle is fetched, from where, and by what its
/// endpoint is known (docs/decisions/0021-federation.md).
package struct FederatedTrustDomainSpec: Hashable, Sendable {
    /// Longest bundle document by which an endpoint is verified first: twice what is taken of one
    /// that was fetched.
    package static let trustDomainBundleBytesMax = 128 << 10
    /// How long a bundle is believed that could not be fetched again, if the document does not say:
    /// an endpoint may be away for a night.
    package static let staleAfterSecondsDefault = 24 * 3600
    /// Shorter: two turns of an hour that fail would take a bundle away.
    package static let staleAfterSecondsMin = 2 * 3600
    /// Longer than a month nobody means to believe a key that may have been revoked.
    package static let staleAfterSecondsMax = 30 * 24 * 3600

    /// Never the server's own.
    package let trustDomain: TrustDomain
    package let bundleEndpointURL: HTTPSURL
    package let bundleEndpointProfile: BundleEndpointProfile
    package let staleAfterSeconds: Int

    package init(
        trustDomain: TrustDomain,
        bundleEndpointURL: HTTPSURL,
        bundleEndpointProfile: BundleEndpointProfile,
        staleAfterSeconds: Int = Self.staleAfterSecondsDefault
    ) {
        self.trustDomain = trustDomain
        self.bundleEndpointURL = bundleEndpointURL
        self.bundleEndpointProfile = bundleEndpointProfile
        self.staleAfterSeconds = staleAfterSeconds
    }

    /// The trust domain by whose bundle the endpoint is known, if it is not the fetched one's: whoever
    /// holds that one decides who is believed in this one.
    package var vouchingTrustDomain: TrustDomain? {
        guard case .spiffe(let id, _) = bundleEndpointProfile, id.trustDomain != trustDomain else {
            return nil
        }
        return id.trustDomain
    }
}

/// How a bundle endpoint is known (SPIFFE Federation section 5.2); neither profile is ever tried for
/// the other.
package enum BundleEndpointProfile: Hashable, Sendable {
    /// `https_spiffe`: by an X.509-SVID of exactly this ID.
    ///
    /// The text is the bundle document that verifies the first one, of exactly those endpoints whose
    /// ID is of the trust domain that is fetched: it is at hand nowhere else.
    case spiffe(SPIFFEID, trustDomainBundle: String?)
    /// `https_web`: by a certificate of a web authority for the URL's host.
    case web
}

/// The profiles by the names of the standard.
private enum ProfileName: String, CaseIterable {
    case spiffe = "https_spiffe"
    case web = "https_web"
}

extension DocumentParser {
    mutating func federatedTrustDomainSpec(_ node: YAMLNode) -> FederatedTrustDomainSpec? {
        let before = problems.count
        guard var fields = fields(of: node, path: "spec") else { return nil }
        let trustDomain = required("trustDomain", of: &fields).flatMap {
            foreignTrustDomain($0, path: "spec.trustDomain")
        }
        let urlNode = required("bundleEndpointURL", of: &fields)
        let url = urlNode.flatMap { bundleEndpointURL($0) }
        let profile = required("bundleEndpointProfile", of: &fields).flatMap {
            endpointProfile($0)
        }
        let bundleNode = fields.take("trustDomainBundle")
        let bundle = bundleNode.flatMap { trustDomainBundle($0) }
        let bounds = (
            FederatedTrustDomainSpec.staleAfterSecondsMin,
            FederatedTrustDomainSpec.staleAfterSecondsMax
        )
        let staleAfter = lifetime("staleAfter", of: &fields, in: bounds.0...bounds.1)
        refuseUnknown(in: fields)
        guard problems.count == before, let trustDomain, let url, let urlNode, let profile else {
            return nil
        }
        let needsBundle: Bool
        switch profile {
        case .spiffe(let id, _): needsBundle = id.trustDomain == trustDomain
        case .web:
            needsBundle = false
            refuseAddress(in: url, at: urlNode.position)
        }
        check(bundle: bundleNode?.position, isNeeded: needsBundle, at: fields.position)
        guard problems.count == before else { return nil }
        return FederatedTrustDomainSpec(
            trustDomain: trustDomain,
            bundleEndpointURL: url,
            bundleEndpointProfile: profile.with(bundle),
            staleAfterSeconds: staleAfter ?? FederatedTrustDomainSpec.staleAfterSecondsDefault
        )
    }

    private mutating func bundleEndpointURL(_ node: YAMLNode) -> HTTPSURL? {
        let path = "spec.bundleEndpointURL"
        guard let text = string(node, path: path, bytesMax: HTTPSURL.bytesMax) else { return nil }
        do throws(HTTPSURLError) {
            return try HTTPSURL(parsing: text)
        } catch {
            report(
                node.position,
                "\(path): \"\(Self.shown(text))\" is not the URL of a bundle endpoint",
                error.description
            )
            return nil
        }
    }

    /// Web authorities vouch for names.
    private mutating func refuseAddress(in url: HTTPSURL, at position: TextPosition) {
        guard case .address(let address) = url.host else { return }
        report(
            position,
            "spec.bundleEndpointURL: \(address) is an address, and https_web knows an endpoint by "
                + "its DNS name",
            "write the name, or use https_spiffe"
        )
    }

    /// Reads the profile, as yet without the bundle.
    private mutating func endpointProfile(_ node: YAMLNode) -> BundleEndpointProfile? {
        let path = "spec.bundleEndpointProfile"
        guard var fields = fields(of: node, path: path) else { return nil }
        let name = required("type", of: &fields).flatMap {
            word($0, path: "\(path).type", as: ProfileName.self)
        }
        let idNode: YAMLNode?
        switch name {
        case .spiffe: idNode = required("endpointSPIFFEID", of: &fields)
        case .web, nil: idNode = fields.take("endpointSPIFFEID")
        }
        refuseUnknown(in: fields)
        guard let name else { return nil }
        switch name {
        case .spiffe:
            return idNode.flatMap { endpointID($0, path: "\(path).endpointSPIFFEID") }.map {
                .spiffe($0, trustDomainBundle: nil)
            }
        case .web:
            guard let idNode else { return .web }
            report(
                idNode.position,
                "\(path).endpointSPIFFEID has no meaning with https_web, which knows an endpoint by "
                    + "its DNS name",
                "remove it, or write type: https_spiffe"
            )
            return nil
        }
    }

    private mutating func endpointID(_ node: YAMLNode, path: String) -> SPIFFEID? {
        guard let text = string(node, path: path, bytesMax: SPIFFEID.bytesMax) else { return nil }
        do throws(SPIFFEIDError) {
            let id = try SPIFFEID(text)
            guard !id.path.isEmpty else {
                report(
                    node.position,
                    "\(path): \(id) is a trust domain, and no endpoint presents that",
                    "write the ID of the endpoint, as the partner tells it"
                )
                return nil
            }
            use(id.trustDomain, as: .foreign, path: path, at: node.position)
            return id
        } catch {
            report(
                node.position,
                "\(path): \"\(Self.shown(text))\" is not a SPIFFE ID",
                error.description
            )
            return nil
        }
    }

    /// Reads a bundle document that can verify an endpoint; it is kept as it was written.
    private mutating func trustDomainBundle(_ node: YAMLNode) -> String? {
        let path = "spec.trustDomainBundle"
        if case .mapping = node.content {
            report(
                node.position,
                "\(path) is a mapping, not a text",
                "write the bundle document as text, for example after \"|\" on lines of its own"
            )
            return nil
        }
        let bytesMax = FederatedTrustDomainSpec.trustDomainBundleBytesMax
        guard let text = string(node, path: path, bytesMax: bytesMax) else { return nil }
        let document: BundleDocument
        do throws(BundleDocumentError) {
            document = try BundleDocument(parsing: Array(text.utf8))
        } catch {
            report(
                node.position,
                "\(path): \(error)",
                "write the bundle as the partner publishes it"
            )
            return nil
        }
        guard document.x509Authorities.isEmpty else { return text }
        let reason = document.leftOut.first.map { ": key \($0.index): \($0.reason)" } ?? ""
        report(
            node.position,
            "\(path) has no X.509 authority that can be used, so that no endpoint is ever "
                + "verified\(reason)",
            "write the bundle as the partner publishes it"
        )
        return nil
    }

    /// A bundle that nothing would look at, and one that the first fetch would lack, are refused.
    private mutating func check(
        bundle: TextPosition?,
        isNeeded: Bool,
        at position: TextPosition
    ) {
        if let bundle, !isNeeded {
            report(
                bundle,
                "spec.trustDomainBundle is for an endpointSPIFFEID of the same trust domain, and "
                    + "nothing else is verified with it",
                "remove it"
            )
        }
        if bundle == nil, isNeeded {
            report(
                position,
                "spec.trustDomainBundle is missing: without it the endpoint cannot be verified the "
                    + "first time",
                "add the bundle document, as you got it from the partner"
            )
        }
    }
}

extension BundleEndpointProfile {
    fileprivate func with(_ bundle: String?) -> Self {
        switch self {
        case .spiffe(let id, _): .spiffe(id, trustDomainBundle: bundle)
        case .web: .web
        }
    }
}
