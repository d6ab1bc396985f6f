// SPDX-License-Identifier: Apache-2.0

import BundleClient
import FoundationEssentials
import SPIFFE
import TestPKI
import Testing

/// By what an endpoint is known (SPIFFE Federation section 5.2).
@Suite(.timeLimit(.minutes(1)))
struct EndpointTrustTests {
    private let id = "spiffe://partner.example/bundle"

    @Test func `F-8 https_web believes the roots that were named and no others`() async throws {
        let (web, other) = (try WebCertificate.valid(), try WebCertificate.valid())
        try await withEndpoint(EndpointCertificate(web)) { endpoint, client in
            try await #expect(client.fetch(endpoint, web.trust) == .success("{}"))
            try await #expect(client.failure(endpoint, other.trust) == .endpointUntrusted)
            // The system's roots know nothing of a test's.
            try await #expect(client.failure(endpoint, .web(roots: nil)) == .endpointUntrusted)
            #expect(endpoint.requests.count == 1)
        }
    }

    @Test func `F-8 https_web compares the host's name`() async throws {
        let web = try WebCertificate.valid(["other.example.org"])
        try await withEndpoint(EndpointCertificate(web)) { endpoint, client in
            try await #expect(client.failure(endpoint, web.trust) == .endpointUntrusted)
            let other = try await client.fetch(endpoint, host: "other.example.org", web.trust)
            #expect(other == .success("{}"))
        }
    }

    @Test func `https_web refuses what has expired`() async throws {
        let ended = Date().addingTimeInterval(-2 * WebCertificate.life)
        let web = try WebCertificate(now: ended)
        try await withEndpoint(EndpointCertificate(web)) { endpoint, client in
            try await #expect(client.failure(endpoint, web.trust) == .endpointUntrusted)
        }
    }

    @Test func `a file of roots without certificates makes nobody believed`() async throws {
        let web = try WebCertificate.valid()
        try await withEndpoint(EndpointCertificate(web)) { endpoint, client in
            for roots in ["", "no PEM", web.key] {
                let trust = EndpointTrust.web(roots: Array(roots.utf8))
                try await #expect(client.failure(endpoint, trust) == .endpointUntrusted)
            }
            #expect(endpoint.requests.isEmpty)
        }
    }

    @Test(arguments: ["id.example.org", "127.0.0.1"])
    func `https_spiffe compares the ID and no name`(host: String) async throws {
        let authority = try TestAuthority.root("partner.example")
        let certificate = try EndpointCertificate(authority.leaf(id))
        try await withEndpoint(certificate) { endpoint, client in
            let found = try await client.fetch(endpoint, host: host, authority.trust(id))
            #expect(found == .success("{}"))
        }
    }

    @Test func `F-8 https_spiffe takes exactly the configured ID`() async throws {
        let authority = try TestAuthority.root("partner.example")
        let certificate = try EndpointCertificate(authority.leaf(id + "/below"))
        try await withEndpoint(certificate) { endpoint, client in
            let reason = try await client.failure(endpoint, authority.trust(id))
            #expect(reason == .endpointIDDiffers)
            #expect(endpoint.requests.isEmpty)
        }
    }

    @Test(arguments: [TestDefect.expired, .notYetValid])
    func `https_spiffe judges by the given time`(defect: TestDefect) async throws {
        let authority = try TestAuthority.root("partner.example")
        let certificate = try EndpointCertificate(authority.leaf(id, defect))
        try await withEndpoint(certificate) { endpoint, client in
            let reason = try await client.failure(endpoint, authority.trust(id))
            #expect(reason == .endpointUntrusted)
        }
    }

    @Test func `F-8 https_spiffe believes one bundle and nothing beside it`() async throws {
        let authority = try TestAuthority.root("partner.example")
        let other = try TestAuthority.root("partner.example")
        let third = try TestAuthority.root("third.example")
        try await withEndpoint(try EndpointCertificate(other.leaf(id))) { endpoint, client in
            let refused = try await client.failure(endpoint, authority.trust(id))
            #expect(refused == .endpointUntrusted)
            let confused = try await client.failure(endpoint, third.trust(id))
            #expect(confused == .endpointUntrusted)
            #expect(endpoint.requests.isEmpty)
        }
    }

    @Test func `F-5 neither profile is tried for the other`() async throws {
        let (web, authority) = (
            try WebCertificate.valid(), try TestAuthority.root("partner.example")
        )
        try await withEndpoint(EndpointCertificate(web)) { endpoint, client in
            let reason = try await client.failure(endpoint, authority.trust(id))
            #expect(reason == .endpointUntrusted)
            #expect(endpoint.requests.isEmpty)
        }
        try await withEndpoint(try EndpointCertificate(authority.leaf(id))) { endpoint, client in
            try await #expect(client.failure(endpoint, web.trust) == .endpointUntrusted)
            #expect(endpoint.requests.isEmpty)
        }
    }

    @Test func `F-9 with https_spiffe a redirect leads to any host`() async throws {
        let authority = try TestAuthority.root("partner.example")
        let certificate = try EndpointCertificate(authority.leaf(id))
        let elsewhere = try await ScriptedEndpoint(certificate) { _ in .content("moved") }
        let target = "https://other.example.org:\(elsewhere.port)/b"
        try await withEndpoint(certificate, answer: { _ in .redirect(to: target) }) {
            endpoint,
            client in
            let found = try await client.fetch(endpoint, authority.trust(id))
            #expect(found == .success("moved"))
        }
        try await elsewhere.close()
    }

    @Test func `F-9 with https_spiffe whoever is redirected to shows the same ID`() async throws {
        let authority = try TestAuthority.root("partner.example")
        let other = try EndpointCertificate(authority.leaf("spiffe://partner.example/web"))
        let elsewhere = try await ScriptedEndpoint(other) { _ in .content("moved") }
        let target = "https://other.example.org:\(elsewhere.port)/b"
        let certificate = try EndpointCertificate(authority.leaf(id))
        try await withEndpoint(certificate, answer: { _ in .redirect(to: target) }) {
            endpoint,
            client in
            let reason = try await client.failure(endpoint, authority.trust(id))
            #expect(reason == .endpointIDDiffers)
        }
        try await elsewhere.close()
    }
}
