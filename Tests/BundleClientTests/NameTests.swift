// SPDX-License-Identifier: Apache-2.0

import BundleClient
import Dispatch
import FoundationEssentials
import HTTPSemantics
import Synchronization
import TestPKI
import Testing

/// Where a name leads, and which of it is connected to.
@Suite(.timeLimit(.minutes(1)))
struct NameTests {
    /// Loopback addresses on which nobody listens.
    private func closed(_ count: Int) -> [IPAddress] {
        (0..<count).map { IPAddress(ipv4: 0x7F00_0002 + UInt32($0)) }
    }

    @Test(arguments: ["id.example.org", "127.0.0.1"])
    func `loopback is not connected to unless it is listed`(host: String) async throws {
        let authority = try TestAuthority.root("partner.example")
        let id = "spiffe://partner.example/bundle"
        try await withEndpoint(try EndpointCertificate(authority.leaf(id))) { endpoint, client in
            let reason = try await client.failure(
                endpoint,
                host: host,
                authority.trust(id),
                networks: FetchNetworks(nil)
            )
            #expect(reason == .addressRefused)
            #expect(endpoint.connections == 0)
        }
    }

    @Test func `the next address is tried when one is away`() async throws {
        let web = try WebCertificate.valid()
        let client = HTTPSClient { [addresses = closed(3)] _ in addresses + [home] }
        try await withEndpoint(EndpointCertificate(web), client: client) { endpoint, client in
            try await #expect(client.fetch(endpoint, web.trust) == .success("{}"))
        }
    }

    @Test func `the next address is tried when the system refuses one at once`() async throws {
        let web = try WebCertificate.valid()
        // Nobody connects to a group of hosts: no packet is sent.
        let group = IPAddress(ipv4: 0xE000_0001)
        let networks = FetchNetworks(["127.0.0.0/8", "224.0.0.0/4"].compactMap { IPBlock($0) })
        let looked = Mutex([group, home])
        let client = HTTPSClient { _ in looked.withLock { $0 } }
        try await withEndpoint(EndpointCertificate(web), client: client) { endpoint, client in
            // What the system says comes in one order or the other with the end of the connection.
            for _ in 0..<20 {
                let found = try await client.fetch(endpoint, web.trust, networks: networks)
                #expect(found == .success("{}"))
            }
            looked.withLock { $0 = [group] }
            let reason = try await client.failure(endpoint, web.trust, networks: networks)
            #expect(reason == .unreachable)
        }
    }

    @Test func `no more addresses than four are tried, refused ones not counted`() async throws {
        let web = try WebCertificate.valid()
        let looked = Mutex<[IPAddress]>(closed(4) + [home])
        let client = HTTPSClient { _ in looked.withLock { $0 } }
        try await withEndpoint(EndpointCertificate(web), client: client) { endpoint, client in
            try await #expect(client.failure(endpoint, web.trust) == .unreachable)
            #expect(endpoint.connections == 0)
            let refused = (0..<8).map { IPAddress(ipv4: 0x0A00_0000 + $0) }
            looked.withLock { $0 = refused + [home] }
            try await #expect(client.fetch(endpoint, web.trust) == .success("{}"))
        }
    }

    @Test func `who is not believed at one address is not asked at the next`() async throws {
        let web = try WebCertificate.valid()
        let client = HTTPSClient { _ in [home, home] }
        try await withEndpoint(EndpointCertificate(web), client: client) { endpoint, client in
            try await #expect(client.failure(endpoint, .web(roots: nil)) == .endpointUntrusted)
            #expect(endpoint.connections == 1)
        }
    }

    @Test func `a name that leads nowhere is said to`() async throws {
        let web = try WebCertificate.valid()
        let client = HTTPSClient { name throws(BundleFetchError) in
            guard name == "empty.example.org" else {
                throw BundleFetchError(.nameUnresolved, "\(name): no such name")
            }
            return []
        }
        try await withEndpoint(EndpointCertificate(web), client: client) { endpoint, client in
            for host in ["empty.example.org", "gone.example.org"] {
                let reason = try await client.failure(endpoint, host: host, web.trust)
                #expect(reason == .nameUnresolved)
            }
            #expect(endpoint.connections == 0)
        }
    }

    @Test func `a fetch does not wait for a name server beyond its end`() async throws {
        let web = try WebCertificate.valid()
        let answered = DispatchSemaphore(value: 0)
        let client = HTTPSClient(time: .seconds(3)) { _ in
            answered.wait()
            return [home]
        }
        try await withEndpoint(EndpointCertificate(web), client: client) { endpoint, client in
            try await #expect(client.failure(endpoint, web.trust) == .timedOut)
            // The thread is free again once the name server has answered.
            answered.signal()
            answered.signal()
            try await #expect(client.fetch(endpoint, web.trust) == .success("{}"))
        }
    }

    @Test func `names are looked up four at a time`() async throws {
        let web = try WebCertificate.valid()
        let running = Mutex((now: 0, most: 0))
        let released = DispatchSemaphore(value: 0)
        let (entered, enter) = AsyncStream.makeStream(of: Void.self)
        let client = HTTPSClient { name throws(BundleFetchError) in
            running.withLock { $0 = ($0.now + 1, max($0.most, $0.now + 1)) }
            enter.yield()
            released.wait()
            running.withLock { $0.now -= 1 }
            throw BundleFetchError(.nameUnresolved, name)
        }
        try await withEndpoint(EndpointCertificate(web), client: client) { endpoint, client in
            await withTaskGroup(of: BundleFetchError.Reason?.self) { group in
                for number in 0..<8 {
                    group.addTask {
                        let host = "n\(number).example.org"
                        return try? await client.failure(endpoint, host: host, web.trust)
                    }
                }
                var begun = entered.makeAsyncIterator()
                for _ in 0..<4 { await begun.next() }
                for _ in 0..<8 { released.signal() }
                for await reason in group { #expect(reason == .nameUnresolved) }
            }
            #expect(running.withLock { $0.most } == 4)
        }
    }

    @Test func `the system's resolver knows the machine itself`() throws {
        let found = try NameLookup.addresses(of: "localhost")
        #expect(found.contains(home) || found.contains(IPAddress(high: 0, low: 1)))
        #expect(found.count <= NameLookup.addressesMax)
    }

    @Test func `the system's resolver says why it knows nothing`() {
        let error = #expect(throws: BundleFetchError.self) {
            try NameLookup.addresses(of: "a..invalid")
        }
        #expect(error?.reason == .nameUnresolved)
        #expect(error?.detail.hasPrefix("a..invalid: ") == true)
    }
}
