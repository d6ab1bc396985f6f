// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import ControlAPIProtos
import Datastore
import Foundation
import Issuance
import SPIFFE
import Telemetry
import TestPKI
import Testing

/// What the server of a downstream entry gets (record 0020, "Nested").
@Suite(.timeLimit(.minutes(2)))
struct DownstreamTests {
    @Test func `its authority is certified by what certifies this server's own`() async throws {
        try await withDownstream { nested in
            let signer = try MemorySigner.new(.p256)
            let chain = try await nested.certify(Downstream.request(signer: signer))
            let own = try nested.server.core.trust.issuer.authority
            #expect(Array(chain.dropFirst()) == own.ancestry?.chain)
            let read = try LeafCertificate(der: chain[0])
            #expect(read.spkiBytes == signer.subjectPublicKeyInfo)
            #expect(read.uriNames == ["spiffe://example.org"])
            // The server below may publish it, held to the rules that this one has.
            let checked = try await UpstreamChain(
                checking: chain,
                below: [nested.fixture.root],
                expecting: UpstreamChain.Expectation(
                    trustDomain: TrustDomain("example.org"),
                    lifetimes: .standard,
                    spki: signer.subjectPublicKeyInfo
                ),
                now: nested.clock.wallTime
            )
            #expect(checked.ancestry.rootID == nested.fixture.rootID)
            let record = try await nested.server.core.read {
                try $0.downstreamAuthorities()
            }
            #expect(record.map(\.node) == ["ca-1"] && record.map(\.serverID) == ["east"])
            #expect(record.first?.entry.reference == "default/ca-east")
            #expect(record.first?.certificateDER == chain.first)
            let leaves = try await nested.server.records("downstreamAuthorityCertified")
            #expect(leaves.count == 1 && leaves[0].contains("\"entryName\":\"ca-east\""))
            try await nested.server.requireIntactLog()
        }
    }

    @Test func `nobody believes it here, and it is in no bundle`() async throws {
        try await withDownstream { nested in
            let chain = try await nested.certify()
            let bundle = try nested.server.core.trust.bundle
            #expect(!bundle.x509Authorities.contains(chain[0]))
            #expect(!bundle.x509Intermediates.contains(chain[0]))
            #expect(try !nested.server.core.trust.authorities.contains(chain[0]))
        }
    }

    @Test func `the same key gets the same answer, however often it asks`() async throws {
        try await withDownstream { nested in
            let csr = try Downstream.request()
            let first = try await nested.certify(csr)
            let second = try await nested.certify(csr)
            #expect(first == second)
            nested.pass()
            #expect(try await nested.certify(csr) == first)
            let records = try await nested.server.records("downstreamAuthorityCertified")
            #expect(records.count == 1)
        }
    }

    @Test func `a key whose certificate has lived for its half is certified anew`() async throws {
        try await withDownstream { nested in
            let csr = try Downstream.request()
            let first = try await nested.certify(csr, lifetime: 600)
            nested.clock.pass(.seconds(400))
            let second = try await nested.certify(csr, lifetime: 600)
            #expect(first != second)
            let (old, new) = (
                try LeafCertificate(der: first[0]), try LeafCertificate(der: second[0])
            )
            #expect(old.spkiBytes == new.spkiBytes && old.notAfter < new.notAfter)
            let records = try await nested.server.core.read { try $0.downstreamAuthorities() }
            #expect(records.count == 1 && records.first?.certificateDER == second[0])
        }
    }

    @Test func `an entry gets one in a minute, and sixteen that are valid`() async throws {
        try await withDownstream { nested in
            for _ in 0..<DownstreamLimits.ofEntryMax {
                _ = try await nested.certify(lifetime: 43_200)
                let soon = await nested.refused(lifetime: 43_200)
                #expect(soon?.reason == "downstreamRate" && soon?.kind == .exhausted)
                nested.pass()
            }
            #expect(await nested.refused()?.reason == "downstreamOfEntry")
        }
    }

    @Test func `nothing is certified beyond the end of its entry`() async throws {
        try await withDownstream { nested in
            let end = nested.clock.wallTime + 3_600
            let time = ISO8601DateFormatter().string(from: end)
            let text = Downstream.entry("ca-east").replacing(
                "  namespace: default",
                with: "  namespace: default\n  expires: \(time)"
            )
            try await nested.server.apply(text)
            let chain = try await nested.certify()
            let read = try LeafCertificate(der: chain[0])
            #expect(read.notAfter <= end)
            nested.clock.pass(.seconds(3_580))
            let late = await nested.refused()
            #expect(late?.reason == "entryExpired", "\(late?.message ?? "")")
            nested.clock.pass(.seconds(60))
            #expect(await nested.refused()?.reason == "entryExpired")
        }
    }

    @Test func `its workload gets an ordinary SVID too`() async throws {
        try await withDownstream { nested in
            let results = try await nested.server.sign(
                [try signingRequest(entry: nested.entry, spiffeID: Downstream.id)],
                as: nested.agent
            )
            #expect(results.map { $0.signed.certificateChain.count } == [3])
        }
    }

    @Test func `the number of those that are valid is shown, and they are listed`() async throws {
        try await withDownstream { nested in
            let id = try Downstream.keyID(try await nested.certify())
            let listed = try await nested.server.administration.listAuthorities(.init())
            guard let shown = listed.downstream.first else { throw CancellationError() }
            #expect(shown.id == id && shown.kind == "downstream" && shown.state == "certified")
            #expect(shown.entry == "default/ca-east" && shown.node == "ca-1")
            #expect(shown.spiffeID == Downstream.id && shown.entryID == nested.entry)
            #expect(shown.rootID == nested.fixture.rootID && shown.certificate.isEmpty)
            let metrics = nested.server.core.metrics.exposition()
            #expect(metrics.contains("signet_server_downstream_authorities 1"))
        }
    }
}
