// SPDX-License-Identifier: Apache-2.0

import Clocks
import Foundation
import TestPKI
import TestPrograms
import Testing

/// What workloads and other servers make of a federation (docs/decisions/0021-federation.md).
@Suite(.serialized, .timeLimit(.minutes(4)))
struct FederationWorkloadTests {
    @Test func `F-3 F-10 workloads have the partner's bundle beside their own, until it ends`()
        async throws
    {
        let pair = try await FederatedPair()
        let machine = pair.left.machine
        let streams = try ["FetchX509Bundles", "FetchJWTBundles"].map {
            try machine.startPeer("federated_bundles.py", [$0])
        }
        for stream in streams {
            try await stream.waitFor("bundles of example.org, partner.example.")
        }
        let deleted = try await machine.signet(["delete", "FederatedTrustDomain", "partner"])
        #expect(deleted.isSuccess, "\(deleted.report)")
        for stream in streams {
            try await stream.waitFor("bundles of example.org.")
            try await stream.stop(.kill)
        }
        try await pair.stop()
    }

    private struct Shown: Decodable {
        struct Bundle: Decodable {
            var document: String
            var bundleEndpointProfile: String
        }
        var bundles: [Bundle]
    }

    /// Asks for a fetch until it ends so; there is one each ten seconds.
    private static func refresh(_ machine: Machine, until words: [String]) async throws {
        try await eventually("a fetch to end with \(words)") {
            let refreshed = try await machine.signet(["federation", "refresh", "example.org"])
            return words.contains { (refreshed.output + refreshed.errors).contains($0) }
        }
    }

    @Test func `F-4 F-8 a bundle is fetched by https_web, over a certificate that changes`()
        async throws
    {
        var url = ""
        let partner = try DiscoveryTests.machine(
            { port in
                url = "https://localhost:\(port)/td"
                return url
            },
            ["publicDocuments: [bundle]"]
        )
        let machine = try Machine {
            $0.trustDomain = "other.example"
            $0.serverLines = [
                "federationRoots: \(partner.path)/root.pem",
                "federationNetworks: [\"127.0.0.0/8\"]",
            ]
        }
        try await partner.startServer().waitFor("verifiers outside are served")
        try await machine.startServer()
        try await machine.apply(
            """
            ---
            apiVersion: core.signet/v1alpha1
            kind: FederatedTrustDomain
            metadata: {name: partner}
            spec:
              trustDomain: example.org
              bundleEndpointURL: \(url)/bundle
              bundleEndpointProfile: {type: https_web}

            """,
            waits: false
        )
        try await eventually("the bundle to be fetched") {
            let shown = try await machine.signet(["federation", "show"])
            return shown.output.contains("believed")
        }
        let shown = try await machine.signet(["federation", "show", "example.org", "-o", "json"])
        let fetched = try JSONDecoder().decode(Shown.self, from: Data(shown.output.utf8)).bundles
        let own = try await partner.signet(["bundle", "show"])
        let authority = own.output.split(separator: "\n").filter { !$0.hasPrefix("-") }.joined()
        #expect(!authority.isEmpty, "\(own.report)")
        #expect(fetched.first?.document.contains(authority) == true, "\(shown.report)")
        #expect(fetched.first?.bundleEndpointProfile == "https_web", "\(shown.report)")
        // The endpoint takes the files of the moment, and the roots are read for each fetch.
        let web = try WebCertificate(["localhost"], now: SystemClock().wallTime)
        try (web.leaf + "\n" + web.intermediate).write("public.pem", in: partner.path)
        try web.key.write("public.key", in: partner.path)
        try await Self.refresh(machine, until: ["endpointUntrusted", "tlsFailed"])
        try web.root.write("root.pem", in: partner.path)
        try await Self.refresh(machine, until: ["confirmed"])
        for machine in [partner, machine] { try await machine.stop() }
    }
}
