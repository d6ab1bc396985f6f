// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import ControlAPIProtos
import FoundationEssentials
import NodeSync
import SwiftProtobuf
import Testing

/// Whom the first authority below a root would hurt (record 0020, "What happens when").
@Suite(.timeLimit(.minutes(2)))
struct UpstreamOutlookTests {
    /// What is reported of a proxy one after the other, and which nodes are named then.
    private static let reports: [(capabilities: [String], isAttached: Bool, named: [String])] = [
        ([SyncCapability.revokedCertificates], true, ["web-1"]),
        ([SyncCapability.revokedCertificates, SyncCapability.intermediates], true, []),
        ([], true, ["web-1"]),
        ([], false, []),
    ]

    private static func report(
        _ capabilities: [String],
        _ isAttached: Bool
    ) -> Signet_Node_V1alpha1_SyncRequest {
        .with {
            $0.proxyReport = .with {
                $0.proxies = [
                    .with {
                        $0.proxy = "default/web"
                        $0.instance = Data(repeating: 1, count: 5)
                        $0.version = "1.0"
                        $0.pid = 42
                        $0.capabilities = capabilities
                        $0.attached = isAttached
                    }
                ]
            }
        }
    }

    @Test func `nodes with proxies that know no authority below another are named`() async throws {
        try await withServer { server in
            try await server.putProxy()
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let capabilities = [SyncCapability.proxy, SyncCapability.intermediates]
            try await server.withSync(as: agent, capabilities: capabilities) { sync in
                for (said, isAttached, named) in Self.reports {
                    sync.send(Self.report(said, isAttached))
                    try await eventually("\(said) is told as \(named)") {
                        let shown = try await server.administration.listAuthorities(.init())
                        #expect(shown.agentsWithoutIntermediates.isEmpty)
                        return shown.proxyNodesWithoutIntermediates == named
                            && shown.proxyNodesWithoutIntermediatesCount == UInt64(named.count)
                    }
                }
            }
        }
    }

    @Test func `a rotation to the first authority below a root says whom it would hurt`()
        async throws
    {
        let directory = try TestDirectory()
        try await withServer(in: directory) { server in
            let agent = try await server.agent("web-1")
            try await server.withSync(as: agent) { sync in
                sync.acknowledge(try await sync.snapshot().revision)
                // The next one is self-signed.
                #expect(try await server.hurtByRotation().isEmpty)
            }
        }
        let fixture = try UpstreamFixture(in: directory)
        try fixture.perform()
        try await withServer(in: directory, { fixture.configure(&$0) }) { server in
            let agent = try await server.agent("web-2")
            let knowing = [SyncCapability.intermediates]
            try await server.withSync(as: agent, capabilities: knowing) { sync in
                sync.acknowledge(try await sync.snapshot().revision)
                #expect(try await server.hurtByRotation().isEmpty)
            }
            try await server.withSync(as: agent) { sync in
                sync.acknowledge(try await sync.snapshot().revision)
                let hurt = try await server.hurtByRotation()
                #expect(hurt.count == 1)
                #expect(hurt.first?.hasPrefix("1 connected agent(s) ") == true)
                let next = try await server.administration.prepareAuthority(.init()).authority
                #expect(try await server.hurtByRotation() == hurt)
                let outlook = try await server.administration.activateAuthority(
                    .with { ($0.id, $0.rehearse) = (next.id, true) }
                )
                #expect(outlook.objections.contains(hurt.first ?? "nothing"))
                let refused = await refusal {
                    try await server.administration.activateAuthority(.with { $0.id = next.id })
                }
                #expect(refused?.reason == "authorityInUse")
                _ = try await server.administration.activateAuthority(
                    .with { ($0.id, $0.now) = (next.id, true) }
                )
                // They have lost what there was to lose.
                #expect(try await server.hurtByRotation().isEmpty)
            }
        }
    }
}

extension TestServer {
    /// What a rehearsed rotation says of those who know no authority below another.
    fileprivate func hurtByRotation() async throws -> [String] {
        try await administration.prepareAuthority(.with { $0.rehearse = true }).objections
            .filter { $0.contains("no authority below another") }
    }
}
