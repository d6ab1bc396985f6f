// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import ControlAPIProtos
import Foundation
import GRPCCore
import Issuance
import SPIFFE
import Telemetry
import TestBridge
import Testing

/// A server whose authorities' keys are in a key service.
@Suite(.timeLimit(.minutes(2)))
struct KeyServiceServerTests {
    private static let web = "spiffe://example.org/web"

    private func serve<Value: Sendable>(
        _ world: KeyServiceWorld,
        _ body: (TestServer) async throws -> Value
    ) async throws -> Value {
        try await withServer(in: world.directory) {
            $0.keyStorage = .service
            $0.serviceSocket = world.socket
        } _: { server in
            try await body(server)
        }
    }

    private static func request(_ entry: String) throws -> [Signet_Node_V1alpha1_SignX509SVID] {
        [try signingRequest(entry: entry, spiffeID: web)]
    }

    @Test func `a server with keys in a service serves, and again after a restart`() async throws {
        let world = try KeyServiceWorld()
        let (first, agent, entry) = try await world.serving {
            try await serve(world) { server in
                let agent = try await server.agent("web-1", selectors: ["role:web"])
                let entry = try await server.register("web")
                let (_, records) = try await server.requireIntactLog()
                #expect(records.contains { $0.contains("\"keyStorage\":\"service\"") })
                // Its own keys for certificates and tokens, under its ID, and no others.
                #expect(world.bridge.owners == [server.core.logic.serverID])
                #expect(world.bridge.count(of: server.core.logic.serverID) == 2)
                return (try server.core.trust.issuer.authority.id, agent, entry)
            }
        }
        let keys = "\(world.directory.path)/data/keys"
        #expect(try FileManager.default.contentsOfDirectory(atPath: keys) == ["audit.key"])
        try await world.serving {
            try await serve(world) { server in
                #expect(try server.core.trust.issuer.authority.id == first)
                let signed = try await server.sign(Self.request(entry), as: agent)
                #expect(signed.map(\.signed.certificateChain.count) == [1])
                let tokens = try await server.tokens([(entry, Self.web, ["api"])], as: agent)
                #expect(tokens.map(\.token.isEmpty) == [false])
                #expect(world.bridge.count(of: server.core.logic.serverID) == 2)
                let lines = server.core.metrics.exposition().split(separator: "\n")
                let calls = "signet_server_key_service_calls_total{call=\"Sign\",result=\"ok\"}"
                #expect(lines.contains { $0.hasPrefix(calls) })
            }
        }
    }

    @Test func `keys are kept and destroyed by the same rules as everywhere`() async throws {
        let world = try KeyServiceWorld()
        try await world.serving {
            try await serve(world) { server in
                let owner = server.core.logic.serverID
                let (old, new) = try await server.rotate()
                // The old one signs lists, and no tokens.
                try await eventually("its key for tokens is gone") {
                    world.bridge.count(of: owner) == 3
                }
                _ = try await server.revokeAuthority(old)
                try await eventually("its key is gone") { world.bridge.count(of: owner) == 2 }
                #expect(try server.core.trust.issuer.authority.id == new)
            }
        }
    }

    @Test func `a service that goes away stops issuance before it is recorded, until it is back`()
        async throws
    {
        let world = try KeyServiceWorld()
        try await world.serving {
            try await serve(world) { server in
                let agent = try await server.agent("web-1", selectors: ["role:web"])
                let entry = try await server.register("web")
                world.bridge.fail(.refuses(.unavailable))
                let noticed = await refusal {
                    try await server.sign(Self.request(entry), as: agent)
                }
                #expect(noticed?.reason == "signerUnavailable", "\(String(describing: noticed))")
                #expect(try await server.unmetConditions() == ["authority", "keyService"])
                let size = try await server.audit.getCheckpoint(.init()).committedSize
                let refused = await refusal {
                    try await server.sign(Self.request(entry), as: agent)
                }
                #expect(refused?.reason == "signerUnavailable", "\(String(describing: refused))")
                #expect(try await server.audit.getCheckpoint(.init()).committedSize == size)
                world.bridge.fail(.none)
                try await eventually("the key signs again") {
                    try await server.unmetConditions().isEmpty
                }
                let signed = try await server.sign(Self.request(entry), as: agent)
                #expect(signed.map(\.signed.certificateChain.count) == [1])
            }
        }
    }

    @Test func `a service that lies gives nobody a certificate or a token`() async throws {
        let world = try KeyServiceWorld()
        try await world.serving {
            try await serve(world) { server in
                let agent = try await server.agent("web-1", selectors: ["role:web"])
                let entry = try await server.register("web")
                world.bridge.fail(.signsWithOtherKey)
                let certificate = await refusal {
                    try await server.sign(Self.request(entry), as: agent)
                }
                #expect(certificate?.reason == "signerUnavailable")
                let token = await refusal {
                    try await server.tokens([(entry, Self.web, ["api"])], as: agent)
                }
                #expect(token?.reason == "signerUnavailable", "\(String(describing: token))")
                let unmet = try await server.administration.getHealth(.init()).conditions
                    .filter { !$0.ok }
                // It answers, so it is there: what it answers is the authority's trouble.
                #expect(Set(unmet.map(\.name)).isSuperset(of: ["authority", "tokenKey"]))
                #expect(!unmet.map(\.name).contains("keyService"))
                world.bridge.fail(.none)
                try await eventually("both keys sign again") {
                    try await server.unmetConditions().isEmpty
                }
            }
        }
    }

    @Test func `keys that waited for the upstream and are lost are made anew`() async throws {
        let world = try KeyServiceWorld()
        let fixture = try UpstreamFixture(in: world.directory)
        try fixture.perform()
        let kept = "\(fixture.certificatePath).kept"
        try await world.serving {
            try await withServer(in: world.directory) {
                fixture.configure(&$0)
                $0.keyStorage = .service
                $0.serviceSocket = world.socket
            } _: { server in
                let owner = server.core.logic.serverID
                let before = world.bridge.names(of: owner)
                #expect(before.count == 2)
                try FileManager.default.moveItem(atPath: fixture.certificatePath, toPath: kept)
                let refused = await refusal {
                    try await server.administration.prepareAuthority(.init())
                }
                #expect(refused?.reason == "upstream", "\(String(describing: refused))")
                let waiting = world.bridge.names(of: owner).subtracting(before)
                #expect(waiting.count == 2)
                world.bridge.setBack(owner, to: before)
                try FileManager.default.moveItem(atPath: kept, toPath: fixture.certificatePath)
                _ = try await server.administration.prepareAuthority(.init())
                let after = world.bridge.names(of: owner)
                #expect(after.isSuperset(of: before) && after.isDisjoint(with: waiting))
                #expect(after.count == 4)
            }
        }
    }

    @Test func `without its service a server does not start, and makes no authority`()
        async throws
    {
        let world = try KeyServiceWorld()
        let first = await refusal { try await serve(world) { _ in } }
        #expect(first?.message.contains(world.socket) == true, "\(String(describing: first))")
        let authority = try await world.serving {
            try await serve(world) { try $0.core.trust.issuer.authority.id }
        }
        let away = await refusal { try await serve(world) { _ in } }
        #expect(away?.message.contains(world.socket) == true, "\(String(describing: away))")
        try await world.serving {
            world.bridge.fail(.refuses(.unavailable))
            let sealed = await refusal { try await serve(world) { _ in } }
            #expect(sealed?.message.contains("not available") == true)
            world.bridge.fail(.none)
            let again = try await serve(world) { try $0.core.trust.issuer.authority.id }
            #expect(again == authority)
        }
    }
}
