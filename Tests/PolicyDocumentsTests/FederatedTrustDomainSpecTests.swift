// SPDX-License-Identifier: Apache-2.0

import HTTPSemantics
import PolicyDocuments
import SPIFFE
import Testing

struct FederatedTrustDomainSpecTests {
    static let web = """
        apiVersion: core.signet/v1alpha1
        kind: FederatedTrustDomain
        metadata: {name: partner}
        spec:
          trustDomain: partner.example
          bundleEndpointURL: https://partner.example/bundle
          bundleEndpointProfile: {type: https_web}

        """
    /// An authority of partner.example.
    private static let bundle =
        #"{"keys":[{"kty":"EC","crv":"P-256","x":"Uj0a4s2PTJIhpm2qGA_YwsAu5xACGME7-k_h_e1iIjM","#
        + #""y":"uwFirpRPxrce8biP_Kr4cSNyh3tCC9flNjThZ6pMtgE","use":"x509-svid","x5c":["#
        + #"""# + certificate + #""]}],"spiffe_sequence":1}"#
    private static let certificate =
        "MIIBszCCAVqgAwIBAgIIEjRWeJCrze8wCgYIKoZIzj0EAwIwGjEYMBYGA1UECgwPcGFydG5lci5leGFtcGxl"
        + "MB4XDTI2MTEzMDAzMzEzN1oXDTM2MTEyNzAzMzEzN1owGjEYMBYGA1UECgwPcGFydG5lci5leGFtcGxlMFkw"
        + "EwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEUj0a4s2PTJIhpm2qGA/YwsAu5xACGME7+k/h/e1iIjO7AWKulE/G"
        + "tx7xuI/8qvhxI3KHe0IL1+U2NOFnqky2AaOBiTCBhjAdBgNVHQ4EFgQUZM2zW3vGcO9Ufa/DPCNrsE+UTAUw"
        + "HwYDVR0jBBgwFoAUZM2zW3vGcO9Ufa/DPCNrsE+UTAUwIwYDVR0RBBwwGoYYc3BpZmZlOi8vcGFydG5lci5l"
        + "eGFtcGxlMA4GA1UdDwEB/wQEAwIBBjAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0cAMEQCIEnuYVWt"
        + "igIyAFeMZmIh6xixqE61Uy9DoQl+rJohD85UAiACzSXXQMtyohufSLO8+LeHsuvL0JhPBaBznpvxEyGvjA=="
    static let spiffe = """
        apiVersion: core.signet/v1alpha1
        kind: FederatedTrustDomain
        metadata: {name: partner}
        spec:
          trustDomain: partner.example
          bundleEndpointURL: https://192.0.2.1:8443/bundle
          bundleEndpointProfile:
            type: https_spiffe
            endpointSPIFFEID: spiffe://partner.example/signet/bundle
          trustDomainBundle: '\(bundle)'
          staleAfter: 2h

        """

    private static func changed(
        _ sample: String,
        _ name: String,
        _ line: String,
        _ other: String,
        _ message: String
    ) -> BadDocument {
        BadDocument(name, sample.replacing(line, with: other, maxReplacements: 1), message)
    }

    static let refused: [BadDocument] = [
        changed(
            web,
            "a namespace",
            "{name: partner}",
            "{name: partner, namespace: a}",
            "3:38: a FederatedTrustDomain belongs to the whole cluster, not to a namespace; remove "
                + "metadata.namespace"
        ),
        changed(
            web,
            "an end",
            "{name: partner}",
            "{name: partner, expires: 2027-01-31T00:00:00Z}",
            "3:36: a FederatedTrustDomain does not expire; only DelegationPolicy, RegistrationEntry "
                + "and RoleBinding do; remove metadata.expires"
        ),
        changed(
            web,
            "no trust domain",
            "  trustDomain: partner.example\n",
            "",
            "5:3: spec.trustDomain is missing; add it"
        ),
        changed(
            web,
            "an ID for a trust domain",
            "trustDomain: partner.example",
            "trustDomain: \"spiffe://partner.example\"",
            "5:16: spec.trustDomain: \"spiffe://partner.example\" is not a trust domain: a trust "
                + "domain has no port; write the bare name, for example partner.example"
        ),
        changed(
            web,
            "a URL without TLS",
            "https://partner",
            "http://partner",
            "6:22: spec.bundleEndpointURL: \"http://partner.example/bundle\" is not the URL of a "
                + "bundle endpoint; write https://host, with a port, a path or a query if need be"
        ),
        changed(
            web,
            "a user",
            "https://partner",
            "https://me@partner",
            "6:22: spec.bundleEndpointURL: \"https://me@partner.example/bundle\" is not the URL of "
                + "a bundle endpoint; leave out the user (\"@\"): nobody is told a password"
        ),
        changed(
            web,
            "an address without name",
            "https://partner.example",
            "https://192.0.2.1",
            "6:22: spec.bundleEndpointURL: 192.0.2.1 is an address, and https_web knows an endpoint "
                + "by its DNS name; write the name, or use https_spiffe"
        ),
        changed(
            web,
            "no profile",
            "  bundleEndpointProfile: {type: https_web}\n",
            "",
            "5:3: spec.bundleEndpointProfile is missing; add it"
        ),
        changed(
            web,
            "a profile without type",
            "{type: https_web}",
            "{endpointSPIFFEID: \"spiffe://a/b\"}",
            "7:26: spec.bundleEndpointProfile.type is missing; add it"
        ),
        changed(
            web,
            "a profile that does not exist",
            "https_web",
            "https",
            "7:33: spec.bundleEndpointProfile.type: \"https\" is unknown; write one of "
                + "https_spiffe, https_web"
        ),
        changed(
            web,
            "an ID beside a name",
            "https_web}",
            "https_web, endpointSPIFFEID: \"spiffe://a/b\"}",
            "7:62: spec.bundleEndpointProfile.endpointSPIFFEID has no meaning with https_web, which "
                + "knows an endpoint by its DNS name; remove it, or write type: https_spiffe"
        ),
        changed(
            spiffe,
            "no ID",
            "    endpointSPIFFEID: spiffe://partner.example/signet/bundle\n",
            "",
            "8:5: spec.bundleEndpointProfile.endpointSPIFFEID is missing; add it"
        ),
        changed(
            spiffe,
            "the ID of a trust domain",
            "partner.example/signet/bundle",
            "partner.example",
            "9:23: spec.bundleEndpointProfile.endpointSPIFFEID: spiffe://partner.example is a trust "
                + "domain, and no endpoint presents that; write the ID of the endpoint, as the "
                + "partner tells it"
        ),
        changed(
            spiffe,
            "no ID at all",
            "spiffe://partner.example/signet/bundle",
            "https://partner.example/b",
            "9:23: spec.bundleEndpointProfile.endpointSPIFFEID: \"https://partner.example/b\" is not "
                + "a SPIFFE ID; a SPIFFE ID starts with \"spiffe://\" in lower case"
        ),
        changed(
            spiffe,
            "a bundle that nothing is verified with",
            "spiffe://partner.example/signet/bundle",
            "spiffe://broker.example/bundles",
            "10:22: spec.trustDomainBundle is for an endpointSPIFFEID of the same trust domain, and "
                + "nothing else is verified with it; remove it"
        ),
        changed(
            web,
            "a bundle for a name",
            "  bundleEndpointProfile:",
            "  trustDomainBundle: '\(bundle)'\n  bundleEndpointProfile:",
            "7:22: spec.trustDomainBundle is for an endpointSPIFFEID of the same trust domain, and "
                + "nothing else is verified with it; remove it"
        ),
        changed(
            spiffe,
            "no bundle for the first time",
            "  trustDomainBundle: '\(bundle)'\n",
            "",
            "5:3: spec.trustDomainBundle is missing: without it the endpoint cannot be verified the "
                + "first time; add the bundle document, as you got it from the partner"
        ),
        changed(
            spiffe,
            "a bundle that is not quoted",
            "'\(bundle)'",
            "{\"keys\": []}",
            "10:22: spec.trustDomainBundle is a mapping, not a text; write the bundle document as "
                + "text, for example after \"|\" on lines of its own"
        ),
        changed(
            spiffe,
            "a bundle that breaks the form",
            "\"spiffe_sequence\":1",
            "\"spiffe_sequence\":1.5",
            "10:22: spec.trustDomainBundle: \"spiffe_sequence\" is not a whole number from 0 to 2^64 "
                + "- 1; write the bundle as the partner publishes it"
        ),
        changed(
            spiffe,
            "a bundle without authority",
            "\"use\":\"x509-svid\",",
            "\"use\":\"jwt-svid\",",
            "10:22: spec.trustDomainBundle has no X.509 authority that can be used, so that no "
                + "endpoint is ever verified: key 0: \"kid\" is missing or empty; write the bundle "
                + "as the partner publishes it"
        ),
        changed(
            spiffe,
            "a bundle that is too long",
            "{\"keys\"",
            String(repeating: " ", count: 128 << 10) + "{\"keys\"",
            "10:22: spec.trustDomainBundle has \(128 << 10 + bundle.utf8.count) bytes, more than the "
                + "131072 allowed; shorten it"
        ),
        changed(
            spiffe,
            "a time below that of two turns",
            "staleAfter: 2h",
            "staleAfter: 1h59m",
            "11:15: spec.staleAfter: 1h59m is outside 2h to 720h; write a duration from 2h to 720h, "
                + "for example 1h or 90s"
        ),
        changed(
            spiffe,
            "a time beyond a month",
            "staleAfter: 2h",
            "staleAfter: 721h",
            "11:15: spec.staleAfter: 721h is outside 2h to 720h; write a duration from 2h to 720h, "
                + "for example 1h or 90s"
        ),
    ]

    @Test(arguments: refused)
    func `F-5 F-6 a wrong federation is refused with place and remedy`(bad: BadDocument) {
        expectOnlyProblem(of: bad)
    }

    private static func spec(_ text: String) throws -> FederatedTrustDomainSpec {
        let document = try #require(try Document.parse(Array(text.utf8), file: "f.yaml").first)
        #expect(document.metadata.namespace.isEmpty)
        guard case .federatedTrustDomain(let spec) = document.spec else { throw OtherKind() }
        return spec
    }

    private struct OtherKind: Error {}

    @Test func `F-4 F-5 both profiles are read, and a day stands for what is not said`() throws {
        let partner = try TrustDomain("partner.example")
        #expect(
            try Self.spec(Self.web)
                == FederatedTrustDomainSpec(
                    trustDomain: partner,
                    bundleEndpointURL: try HTTPSURL(parsing: "https://partner.example/bundle"),
                    bundleEndpointProfile: .web,
                    staleAfterSeconds: 86_400
                )
        )
        #expect(
            try Self.spec(Self.spiffe)
                == FederatedTrustDomainSpec(
                    trustDomain: partner,
                    bundleEndpointURL: try HTTPSURL(parsing: "https://192.0.2.1:8443/bundle"),
                    bundleEndpointProfile: .spiffe(
                        try SPIFFEID("spiffe://partner.example/signet/bundle"),
                        trustDomainBundle: Self.bundle
                    ),
                    staleAfterSeconds: 7_200
                )
        )
    }

    @Test func `who vouches for another trust domain is named`() throws {
        #expect(try Self.spec(Self.web).vouchingTrustDomain == nil)
        #expect(try Self.spec(Self.spiffe).vouchingTrustDomain == nil)
        let third = Self.spiffe
            .replacing("spiffe://partner.example/signet/bundle", with: "spiffe://broker.example/b")
            .replacing("  trustDomainBundle: '\(Self.bundle)'\n", with: "")
        #expect(try Self.spec(third).vouchingTrustDomain == TrustDomain("broker.example"))
    }

    @Test func `a server refuses its own trust domain, and an endpoint's ID of it`() throws {
        let third = Self.spiffe
            .replacing("spiffe://partner.example/signet/bundle", with: "spiffe://broker.example/b")
            .replacing("  trustDomainBundle: '\(Self.bundle)'\n", with: "")
        let document = try #require(try Document.parse(Array(third.utf8), file: "f.yaml").first)
        func problems(_ own: String) throws -> [String] {
            document.problems(inTrustDomain: try TrustDomain(own)).map(\.description)
        }
        #expect(try problems("example.org").isEmpty)
        #expect(
            try problems("partner.example") == [
                "f.yaml:5:16: spec.trustDomain: partner.example is this server's own trust domain; "
                    + "remove it"
            ]
        )
        #expect(
            try problems("broker.example") == [
                "f.yaml:9:23: spec.bundleEndpointProfile.endpointSPIFFEID: broker.example is this "
                    + "server's own trust domain; remove it"
            ]
        )
    }

    @Test(arguments: [web, spiffe])
    func `it is written as it was read`(text: String) throws {
        let document = try #require(try Document.parse(Array(text.utf8), file: "f.yaml").first)
        for form in [
            document.canonicalJSON, Array(document.yaml(stored: nil).utf8),
            Array(document.prettyJSON(stored: nil).utf8),
        ] {
            let again = try #require(try Document.parse(form, file: "again").first)
            #expect(again.spec == document.spec)
            #expect(again.canonicalJSON == document.canonicalJSON)
        }
    }
}
