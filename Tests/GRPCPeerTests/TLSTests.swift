// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import GRPCCore
import GRPCPeer
import SPIFFE
import TestPKI
import Testing

@Suite(.timeLimit(.minutes(1)))
struct TLSTests {
    @Test func `a client certificate names the peer of each request`() async throws {
        let world = try TLSWorld()
        try await withDescribingServer(world.transport) { service in
            let answer = try await world.ask(as: world.clientIdentity())
            #expect(answer == TLSWorld.clientID)
            guard case .remote(let address, let peer?) = try #require(service.peers.all.first)
            else {
                Issue.record("not verified")
                return
            }
            #expect(address.hasPrefix("127.0.0.1:"))
            #expect(peer.pathNotAfter > testNow)
        }
    }

    @Test func `a client without certificate is anonymous`() async throws {
        let world = try TLSWorld()
        let authority = world.authority
        try await withDescribingServer(world.transport) { _ in
            let answer = try await world.anonymous(
                .required { try await verify($0, [authority], now: testNow) }
            )
            #expect(answer == "anonymous")
        }
    }

    @Test func `a first contact accepts a server that nobody vouches for`() async throws {
        let world = try TLSWorld()
        let other = try TestAuthority.root("other.example")
        world.serverIdentity.value = try other.leaf("spiffe://other.example/server").tlsIdentity
        try await withDescribingServer(world.transport) { _ in
            let answer = try await world.anonymous(.dangerousFirstContact)
            #expect(answer == "anonymous")
        }
    }

    @Test func `a client of an unknown authority fails the handshake`() async throws {
        let world = try TLSWorld()
        let impostor = try TestAuthority.root("example.org")
        try await withDescribingServer(world.transport) { service in
            let identity = try impostor.leaf(TLSWorld.clientID).tlsIdentity
            let code = await failureCode { try await world.ask(as: identity) }
            #expect(code == .unavailable)
            #expect(service.peers.all.isEmpty)
            let reason = try await world.events.first { event -> PeerVerificationError? in
                guard case .openingFailed(_, let error) = event else { return nil }
                return error as? PeerVerificationError
            }
            #expect(reason == .noPath)
        }
    }

    @Test(arguments: [TestDefect.expired, .signatureWrong, .authorityAsLeaf, .uriTwice])
    func `a defective client certificate fails the handshake`(_ defect: TestDefect) async throws {
        let world = try TLSWorld()
        try await withDescribingServer(world.transport) { service in
            let identity = try world.authority.leaf(TLSWorld.clientID, defect).tlsIdentity
            let code = await failureCode { try await world.ask(as: identity) }
            #expect(code == .unavailable)
            #expect(service.peers.all.isEmpty)
        }
    }

    @Test func `a server of an unknown authority is refused and the reason told`() async throws {
        let world = try TLSWorld()
        let impostor = try TestAuthority.root("example.org")
        world.serverIdentity.value = try impostor.leaf(TLSWorld.serverID).tlsIdentity
        try await withDescribingServer(world.transport) { service in
            let failures = Recorder<String>()
            let identity = try world.clientIdentity()
            let transport = try await world.client({ identity }, failures: failures)
            let code = await failureCode {
                try await withGRPCClient(transport: transport) { try await $0.ask() }
            }
            #expect(code == .unavailable)
            #expect(service.peers.all.isEmpty)
            let reason = try await failures.first { $0 }
            #expect(reason == PeerVerificationError.noPath.description)
        }
    }

    @Test func `an authority added to the bundle counts from the next connection`() async throws {
        let world = try TLSWorld()
        let second = try TestAuthority.root("example.org")
        let identity = try second.leaf(TLSWorld.clientID).tlsIdentity
        try await withDescribingServer(world.transport) { _ in
            let code = await failureCode { try await world.ask(as: identity) }
            #expect(code == .unavailable)
            world.trusted.value = [world.authority, second]
            let answer = try await world.ask(as: identity)
            #expect(answer == TLSWorld.clientID)
        }
    }

    @Test func `a new server identity is shown from the next connection on`() async throws {
        let world = try TLSWorld()
        let leaves = [
            try world.authority.leaf(TLSWorld.serverID),
            try world.authority.leaf(TLSWorld.serverID),
        ]
        let shown = Recorder<[UInt8]>()
        let authority = world.authority
        let connect: () async throws -> String = {
            try await world.anonymous(
                .required { chain in
                    shown.record(chain[0])
                    return try await verify(chain, [authority], now: testNow)
                }
            )
        }
        world.serverIdentity.value = try leaves[0].tlsIdentity
        try await withDescribingServer(world.transport) { _ in
            let identity = try world.clientIdentity()
            let old = try await world.client { identity }
            try await withGRPCClient(transport: old) { client in
                _ = try await client.ask()
                _ = try await connect()
                world.serverIdentity.value = try leaves[1].tlsIdentity
                _ = try await connect()
                #expect(shown.all == leaves.map(\.der))
                // The connection of before goes on.
                let answer = try await client.ask()
                #expect(answer == TLSWorld.clientID)
            }
        }
    }

    @Test func `a client asks for its identity at each handshake`() async throws {
        let world = try TLSWorld()
        let ids = ["spiffe://example.org/one", "spiffe://example.org/two"]
        let identities = try ids.map { try world.authority.leaf($0).tlsIdentity }
        let current = Box(identities[0])
        try await withDescribingServer(world.transport) { _ in
            let transport = try await world.client { current.value }
            try await withGRPCClient(transport: transport) { client in
                let first = try await client.ask()
                current.value = identities[1]
                let stillFirst = try await client.ask()
                #expect([first, stillFirst] == [ids[0], ids[0]])
                #expect(world.transport.connections.close { _ in true } == 1)
                while world.transport.connections.count > 0 { await Task.yield() }
                // Calls fail until the client has seen the end of the old connection.
                var second: String?
                while second == nil { second = try? await client.ask(waitForReady: true) }
                #expect(second == ids[1])
            }
        }
    }

    @Test func `a server without identity refuses until it has one`() async throws {
        let world = try TLSWorld()
        let identity = world.serverIdentity.value
        world.serverIdentity.value = nil
        try await withDescribingServer(world.transport) { _ in
            let client = try world.clientIdentity()
            let code = await failureCode { try await world.ask(as: client) }
            #expect(code == .unavailable)
            let refusal = try await world.events.first { event -> ConnectionRefusal? in
                guard case .refused(let refusal) = event else { return nil }
                return refusal
            }
            #expect(refusal == .identityUnavailable)
            world.serverIdentity.value = identity
            let answer = try await world.ask(as: client)
            #expect(answer == TLSWorld.clientID)
        }
    }

    @Test func `a peer is refused once its certificate has ended`() async throws {
        let world = try TLSWorld()
        try await withDescribingServer(world.transport) { service in
            let identity = try world.clientIdentity()
            let transport = try await world.client { identity }
            try await withGRPCClient(transport: transport) { client in
                _ = try await client.ask()
                guard case .remote(_, let peer?) = try #require(service.peers.all.first) else {
                    Issue.record("not verified")
                    return
                }
                world.now.value = peer.pathNotAfter
                let last = try await client.ask()
                #expect(last == TLSWorld.clientID)
                world.now.value = peer.pathNotAfter.addingTimeInterval(1)
                let code = await failureCode { try await client.ask() }
                #expect(code == .unauthenticated)
                #expect(service.peers.all.count == 2)
            }
        }
    }

    @Test func `closing chosen connections ends their streams`() async throws {
        let world = try TLSWorld()
        try await withDescribingServer(world.transport) { _ in
            let identity = try world.clientIdentity()
            let transport = try await world.client { identity }
            try await withGRPCClient(transport: transport) { client in
                let code = await watch(client) { _ in
                    let none = world.transport.connections.close { summary(of: $0) == "anonymous" }
                    let one = world.transport.connections.close {
                        summary(of: $0) == TLSWorld.clientID
                    }
                    #expect([none, one] == [0, 1])
                }
                #expect(code == .unavailable)
            }
        }
    }

    @Test func `a connection is drained at its age`() async throws {
        var limits = ConnectionLimits.network
        limits.ageMax = .milliseconds(200)
        limits.drainTimeMax = .milliseconds(100)
        let world = try TLSWorld(limits: limits)
        try await withDescribingServer(world.transport) { _ in
            let identity = try world.clientIdentity()
            let transport = try await world.client { identity }
            try await withGRPCClient(transport: transport) { client in
                _ = await watch(client) { _ in }
                let peer = try await closed(world)
                #expect(peer == TLSWorld.clientID)
            }
        }
    }

    @Test func `a connection is drained at the end of its certificate`() async throws {
        var limits = ConnectionLimits.network
        limits.ageMax = nil
        limits.drainTimeMax = .milliseconds(100)
        let world = try TLSWorld(limits: limits)
        try await withDescribingServer(world.transport) { _ in
            let identity = try world.authority.leaf(TLSWorld.clientID) {
                $0.notAfter = testNow.addingTimeInterval(1)
            }.tlsIdentity
            let transport = try await world.client { identity }
            try await withGRPCClient(transport: transport) { client in
                _ = await watch(client) { _ in }
                let peer = try await closed(world)
                #expect(peer == TLSWorld.clientID)
            }
        }
    }

    @Test func `an address with port 0 tells the port in use`() async throws {
        let world = try TLSWorld(host: "::1")
        try await withDescribingServer(world.transport) { _ in
            let port = try await world.transport.boundPort
            #expect(port > 0)
            let transport = try PeerClientTransport.anonymousTLS(
                to: ServerAddress(host: "::1", port: port),
                server: .dangerousFirstContact
            )
            let answer = try await withGRPCClient(transport: transport) { try await $0.ask() }
            #expect(answer == "anonymous")
        }
    }

    private func closed(_ world: TLSWorld) async throws -> String {
        try await world.events.first { event in
            guard case .closed(let peer) = event else { return nil }
            return summary(of: peer)
        }
    }

    /// Opens a stream, gives each message to `body`, and returns how the stream failed.
    private func watch(
        _ client: GRPCClient<some ClientTransport>,
        _ body: @escaping @Sendable ([UInt8]) -> Void
    ) async -> RPCError.Code? {
        await failureCode {
            try await client.serverStreaming(
                request: ClientRequest(message: []),
                descriptor: DescribingService.watch,
                serializer: BytesCoding(),
                deserializer: BytesCoding(),
                options: .defaults
            ) { response in
                for try await message in response.messages { body(message) }
                return "ended"
            }
        }
    }
}
