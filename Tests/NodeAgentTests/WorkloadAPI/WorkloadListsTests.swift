// SPDX-License-Identifier: Apache-2.0

import ControlAPI
import ControlAPIProtos
import Foundation
import GRPCCore
import Issuance
import NodeAgent
import NodeSync
import SPIFFE
import SwiftProtobuf
import Synchronization
import TestPKI
import Testing

/// Revocation lists as a client on the socket sees them
/// (docs/decisions/0018-certificate-revocation-lists.md).
@Suite(.timeLimit(.minutes(1)))
struct WorkloadListsTests {
    /// The step of the server in which an authority and its first list come.
    private static func publication(
        of authority: SigningAuthority,
        in world: AgentWorld
    ) throws -> SyncMessage {
        let own = world.authority.bundle
        let bundle = TrustBundle(
            trustDomain: own.trustDomain,
            x509Authorities: own.x509Authorities + [authority.authority.certificateDER],
            x509Intermediates: [],
            jwtAuthorities: [],
            sequenceNumber: 2,
            refreshHintSeconds: 300
        )
        let resource = try ResourcePayload.bundle(bundle).resource
        return world.delta(
            1,
            2,
            [
                .upsert(authority.key, payload: try authority.list(0).der),
                .upsert(resource.key, payload: resource.payload),
            ]
        )
    }

    private static func wholeSecond() -> Date {
        Date(timeIntervalSince1970: Date().timeIntervalSince1970.rounded(.down))
    }

    @Test func `A-13 SVIDs come with the lists of their bundle, and again when a list is new`()
        async throws
    {
        try await ServingAgent.run { agent in
            let authority = try SigningAuthority(now: Self.wholeSecond())
            try agent.serve([agent.own("web")])
            let seen = Mutex<[[Data]]>([])
            try await agent.fetch { message in
                let count = seen.withLock { seen in
                    seen.append(message.crl)
                    return seen.count
                }
                switch count {
                case 1: _ = agent.receive([try Self.publication(of: authority, in: agent.world)])
                case 2:
                    let list = try authority.list(1, revoked: [7])
                    let change = ResourceChange.upsert(authority.key, payload: list.der)
                    _ = agent.receive([agent.world.delta(2, 3, [change])])
                default: return false
                }
                return true
            }
            let lists = try seen.withLock { seen in
                try seen.map { try $0.map { try CertificateRevocationList(der: Array($0)) } }
            }
            #expect(lists.map(\.count) == [0, 1, 1])
            #expect(lists.flatMap(\.self).map(\.count) == [0, 1])
        }
    }

    /// A view whose messages without lists have so many bytes, more or less.
    private static func view(bytes: Int, _ lists: [ShownRevocationList]) throws -> WorkloadView {
        let certificate = [UInt8](repeating: 1, count: bytes / 4)
        let svid = X509SVID(
            id: try SPIFFEID("spiffe://example.org/web"),
            certificateChain: [certificate],
            privateKeyPKCS8: certificate,
            issuedAt: Date(),
            notAfter: Date(),
            hint: "",
            entryID: "web",
            serial: [1]
        )
        let bundle = TrustBundle(
            trustDomain: try TrustDomain("example.org"),
            x509Authorities: [certificate, certificate],
            x509Intermediates: [],
            jwtAuthorities: [],
            sequenceNumber: 1,
            refreshHintSeconds: 300
        )
        return WorkloadView(
            state: .ready,
            svids: [svid],
            bundle: bundle,
            federatedBundles: [],
            lists: lists
        )
    }

    @Test func `a message that clients would not take goes without its lists`() throws {
        let list = ShownRevocationList(
            authorityKeyID: [1],
            number: [1],
            der: [UInt8](repeating: 0, count: 300_000)
        )
        let most = WorkloadView.messageBytesMax
        for bytes in [most - 310_000, most - 299_000] {
            let view = try Self.view(bytes: bytes, [list])
            var message = view.x509SVIDResponse
            message.crl = view.lists.map { Data($0.der) }
            let size = try message.serializedData().count
            #expect(view.listsBesideSVIDs.isEmpty == (size > most), "\(size)")
            #expect(view.listsBesideBundles == [list])
        }
    }

    @Test func `A-13 bundles come with the lists of the own one`() async throws {
        try await ServingAgent.run { agent in
            let authority = try SigningAuthority(now: Self.wholeSecond())
            try agent.serve([agent.own("web")])
            _ = agent.receive([try Self.publication(of: authority, in: agent.world)])
            let lists = try await agent.withClient { client in
                try await SpiffeWorkloadAPI.Client(wrapping: client).fetchX509Bundles(
                    .init(),
                    metadata: ServingAgent.header
                ) { response in
                    for try await message in response.messages { return message.crl }
                    return []
                }
            }
            let read = try lists.map { try CertificateRevocationList(der: Array($0)) }
            #expect(read.map { Hexadecimal.text($0.authorityKeyID) } == [authority.authority.id])
        }
    }
}
