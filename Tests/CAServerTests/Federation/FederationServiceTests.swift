// SPDX-License-Identifier: Apache-2.0

import CAServer
import Clocks
import ControlAPI
import ControlAPIProtos
import Datastore
import FoundationEssentials
import SPIFFE
import SwiftProtobuf
import Telemetry
import TestPKI
import Testing

/// Bundles of a partner, fetched by a server that runs (docs/decisions/0021-federation.md).
@Suite(.timeLimit(.minutes(2)))
struct FederationServiceTests {
    private static let partner = "partner.example"

    @Test func `a bundle is fetched after an apply, recorded and shown`() async throws {
        let endpoint = try PartnerEndpoint()
        let document = try endpoint.document([endpoint.authority], sequence: 7)
        endpoint.serve(document)
        try await endpoint.run {
            try await withFederation { server in
                try await server.apply(endpoint.federation())
                try await server.lastFetch("taken")
                let record = try #require(try await server.fetchedBundle())
                #expect(record.document == document)
                #expect(record.sequenceNumber == 7)
                #expect(record.verifiedBySHA256 != nil && !record.isWithheld)
                let leaves = try await server.records("federatedBundleChanged")
                #expect(leaves.count == 1)
                let leaf = try #require(leaves.first)
                #expect(leaf.contains("\"actor\":\"system:federation\""))
                #expect(leaf.contains("\"cause\":\"fetched\""))
                #expect(leaf.contains("\"sequence\":\"7\""))
                try await eventually("health has nothing to say") {
                    try await !server.unmetConditions().contains("federation")
                }
                let shown = try await server.standing()
                #expect(shown.sequence == 7)
                #expect(shown.nextFetchAtUnixSeconds > Int64(Date().timeIntervalSince1970))
                // However many partners there are, their names are no labels.
                #expect(
                    server.core.metrics.exposition().contains(
                        "signet_server_federation_fetches_total{result=\"taken\"} 1"
                    )
                )
                // The same again is no change, and one fetch in ten seconds is enough.
                let again = try await server.refresh()
                #expect(again.result == "confirmed" && again.state == "believed")
                let error = await refusal { try await server.refresh() }
                #expect(error?.reason == "refreshTooSoon")
                #expect(try await server.records("federatedBundleChanged").count == 1)
                try await server.delete("FederatedTrustDomain", "partner", namespace: "")
                let last = try await server.records("federatedBundleChanged")
                #expect(last.count == 2)
                let removed = try #require(last.first)
                #expect(removed.contains("\"cause\":\"removed\""))
                #expect(removed.contains("\"actor\":\"uid:"))
            }
        }
    }

    @Test func `an endpoint of another ID is not believed, and health names it`() async throws {
        let endpoint = try PartnerEndpoint()
        endpoint.serve(try endpoint.document([endpoint.authority], sequence: 7))
        try await endpoint.run(as: "spiffe://partner.example/web") {
            try await withFederation { server in
                try await server.apply(endpoint.federation())
                let health = try await server.federationHealth("endpointIDDiffers")
                #expect(health.contains("no bundle was fetched yet"))
                #expect(try await server.fetchedBundle()?.document == nil)
                #expect(try await server.records("federatedBundleChanged").isEmpty)
                #expect(try await server.refresh().state == "notFetched")
            }
        }
    }

    @Test func `an address that is not listed is not connected to`() async throws {
        let endpoint = try PartnerEndpoint()
        try await endpoint.run {
            try await withServer { server in
                try await server.apply(endpoint.federation())
                try await server.federationHealth("addressRefused")
                #expect(endpoint.connections == 0)
            }
        }
    }

    @Test func `B-2 an old bundle is refused until an admin takes it`() async throws {
        let endpoint = try PartnerEndpoint()
        let other = try TestAuthority.root(Self.partner, now: Date())
        let clock = ShiftedClock()
        endpoint.serve(try endpoint.document([endpoint.authority, other], sequence: 9))
        try await endpoint.run {
            try await withFederation(clock: clock) { server in
                try await server.apply(endpoint.federation())
                try await server.lastFetch("taken")
                let before = try await server.fetchedBundle()?.document
                let old = try endpoint.document([endpoint.authority], sequence: 8)
                endpoint.serve(old)
                let refused = try await server.refresh()
                #expect(refused.result == "sequenceWentBack" && refused.state == "believed")
                #expect(try await server.fetchedBundle()?.document == before)
                clock.pass(.seconds(11))
                #expect(try await server.refresh().result == "sequenceWentBack")
                // One leaf an hour.
                let refusals = try await server.records("federatedBundleRefused")
                #expect(refusals.count == 1)
                let refusal = try #require(refusals.first)
                #expect(refusal.contains("\"reason\":\"sequenceWentBack\""))
                #expect(refusal.contains("\"sequence\":\"8\""))
                clock.pass(.seconds(11))
                #expect(try await server.refresh(acceptOlder: true).result == "taken")
                #expect(try await server.fetchedBundle()?.document == old)
                #expect(try await server.fetchedBundle()?.sequenceNumber == 8)
                let leaf = try #require(try await server.records("federatedBundleChanged").first)
                #expect(leaf.contains("\"cause\":\"olderAccepted\""))
                #expect(leaf.contains("\"actor\":\"uid:"))
            }
        }
    }

    @Test func `who has a lower sequence of the same keys remembered is on record`() async throws {
        let endpoint = try PartnerEndpoint()
        let clock = ShiftedClock()
        endpoint.serve(try endpoint.document([endpoint.authority], sequence: 9))
        try await endpoint.run {
            try await withFederation(clock: clock) { server in
                try await server.apply(endpoint.federation())
                try await server.lastFetch("taken")
                endpoint.serve(try endpoint.document([endpoint.authority], sequence: 3))
                #expect(try await server.refresh().result == "confirmed")
                #expect(try await server.fetchedBundle()?.sequenceNumber == 9)
                #expect(try await server.records("federatedBundleChanged").count == 1)
                clock.pass(.seconds(11))
                #expect(try await server.refresh(acceptOlder: true).result == "confirmed")
                #expect(try await server.fetchedBundle()?.sequenceNumber == 3)
                let leaves = try await server.records("federatedBundleChanged")
                #expect(leaves.count == 2)
                let leaf = try #require(leaves.first)
                #expect(leaf.contains("\"cause\":\"olderAccepted\""))
                #expect(leaf.contains("\"sequence\":\"3\""))
                #expect(leaf.contains("\"actor\":\"uid:"))
            }
        }
    }

    @Test func `what cannot be fetched for too long is withheld, and returns`() async throws {
        let endpoint = try PartnerEndpoint()
        let clock = ShiftedClock()
        endpoint.serve(try endpoint.document([endpoint.authority], sequence: 7))
        try await endpoint.run {
            try await withFederation(clock: clock) { server in
                try await server.apply(endpoint.federation(staleAfter: "2h"))
                try await server.lastFetch("taken")
                endpoint.away(true)
                // An hour later it is fetched again, in vain.
                clock.pass(.seconds(3700))
                try await eventually("a fetch has failed") {
                    try await server.standing().failuresInRow == 1
                }
                #expect(try await server.fetchedBundle()?.isWithheld == false)
                clock.pass(.seconds(3700))
                try await eventually("it is withheld") {
                    try await server.fetchedBundle()?.isWithheld == true
                }
                #expect(try await server.fetchedBundle()?.document != nil)
                try await server.federationHealth("withheld")
                let vain = try await server.refresh()
                #expect(!vain.problem.isEmpty && vain.state == "withheld")
                endpoint.away(false)
                clock.pass(.seconds(11))
                let response = try await server.refresh()
                #expect(response.result == "confirmed" && response.state == "believed")
                #expect(try await server.fetchedBundle()?.isWithheld == false)
                let causes = try await server.records("federatedBundleChanged")
                #expect(causes.count == 3)
                let returned = try #require(causes.first)
                #expect(returned.contains("\"cause\":\"returned\""))
                let withheld = try #require(causes.dropFirst().first)
                #expect(withheld.contains("\"cause\":\"withheld\""))
            }
        }
    }

    @Test func `what is no bundle is refused, whoever asked for it`() async throws {
        let endpoint = try PartnerEndpoint()
        endpoint.serve(Array("{}".utf8))
        try await endpoint.run {
            try await withFederation { server in
                try await server.apply(endpoint.federation())
                try await eventually("a leaf tells of it") {
                    try await server.records("federatedBundleRefused").count == 1
                }
                let result = try await server.refresh(acceptOlder: true)
                #expect(result.result == "documentMalformed")
                #expect(try await server.fetchedBundle()?.document == nil)
            }
        }
    }

    @Test func `nothing is refreshed that no document names`() async throws {
        try await withFederation { server in
            let error = await refusal { try await server.refresh() }
            #expect(error?.reason == "federatedTrustDomainUnknown")
            let listed = try await server.administration.listFederation(.init())
            #expect(listed.bundles.isEmpty)
        }
    }
}
