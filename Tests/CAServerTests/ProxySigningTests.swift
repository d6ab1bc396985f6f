// SPDX-License-Identifier: Apache-2.0

import CAServer
import Clocks
import ControlAPI
import ControlAPIProtos
import Crypto
import Datastore
import FoundationEssentials
import NodeSync
import SPIFFE
import SwiftProtobuf
import Testing

extension TestServer {
    /// Writes a Proxy as an apply would, without its document.
    func putProxy(
        _ name: String = "web",
        namespace: String = "default",
        id: String = "uid-web",
        node: String = "role:web",
        identities: [String] = ["spiffe://example.org/web"],
        expires: Date? = nil
    ) async throws {
        try await core.write { transaction in
            let number = try transaction.advanceRevision().number
            let proxy = ProxyRecord(
                id: id,
                namespace: namespace,
                name: name,
                revision: number,
                nodeSelectors: [try Selector(node)],
                identities: try identities.map { try SPIFFEID($0) },
                expires: expires,
                state: []
            )
            try transaction.put(proxy, number: number)
        }
    }
}

/// For whom a key is signed that a proxy is to hold, whatever its agent says.
@Suite(.timeLimit(.minutes(1)))
struct ProxySigningTests {
    static let web = "spiffe://example.org/web"

    private func request(
        _ entry: String,
        proxy: String = "default/web",
        spiffeID: String = web,
        variables: [String: String] = [:]
    ) throws -> Signet_Node_V1alpha1_SignX509SVID {
        var request = try signingRequest(entry: entry, spiffeID: spiffeID, variables: variables)
        request.proxy = proxy
        return request
    }

    private func code(
        _ request: Signet_Node_V1alpha1_SignX509SVID,
        as agent: TestAgent,
        on server: TestServer
    ) async throws -> String {
        let results = try await server.sign([request], as: agent)
        let result = try #require(results.first)
        #expect((result.refusal.code.isEmpty) == (result.signed.certificateChain.count == 1))
        return result.refusal.code
    }

    @Test func `a proxy gets a key of its own, and the log says so`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("web")
            try await server.putProxy()
            let results = try await server.sign(
                [
                    try signingRequest(entry: entry, spiffeID: Self.web),
                    try request(entry),
                    try request(entry, proxy: "default/none"),
                ],
                as: agent
            )
            #expect(results.map(\.refusal.code) == ["", "", "proxyUnknown"])
            let records = try await server.records("svidsIssued") { $0.spiffeID = Self.web }
            let record = try #require(records.first)
            // Of the two certificates of the batch one is the proxy's, the second.
            let parts = record.components(separatedBy: "\"proxy\":\"default/web\"")
            #expect(parts.count == 2)
            let serial = try LeafCertificate(
                der: Array(results[1].signed.certificateChain[0])
            ).serial
            #expect(parts[1].hasPrefix(",\"serial\":\"\(hexadecimal(serial))\""))
        }
    }

    @Test func `an identity that is not named is refused`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("api")
            try await server.putProxy()
            let refused = try await code(
                try request(entry, spiffeID: "spiffe://example.org/api"),
                as: agent,
                on: server
            )
            #expect(refused == "proxyMayNot")
            #expect(
                try await server.records("svidsIssued") {
                    $0.spiffeID = "spiffe://example.org/api"
                }.isEmpty
            )
            let refusals = try await server.records("requestRefused")
            #expect(refusals.count == 1)
            #expect(refusals.first?.contains("does not name the ID") == true)
        }
    }

    @Test func `an entry of other nodes is refused, named or not`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("web", node: "role:db")
            try await server.putProxy()
            let refused = try await code(try request(entry), as: agent, on: server)
            #expect(refused == "nodeOutsideEntry")
        }
    }

    @Test func `a proxy of other nodes is refused`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("web")
            try await server.putProxy(node: "role:db")
            let refused = try await code(try request(entry), as: agent, on: server)
            #expect(refused == "proxyNotOnNode")
        }
    }

    @Test func `an entry of another namespace than the proxy's is refused`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("web")
            try await server.putProxy(namespace: "other")
            let refused = try await code(
                try request(entry, proxy: "other/web"),
                as: agent,
                on: server
            )
            #expect(refused == "proxyOtherNamespace")
        }
    }

    @Test func `an identity that belongs to one process is given to no proxy`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register(
                "batch",
                spiffeID: "spiffe://example.org/batch/{unix.user}",
                more: "  variables:\n    unix.user: {prefix: job-}"
            )
            let id = "spiffe://example.org/batch/job-1"
            try await server.putProxy(identities: [id])
            let refused = try await code(
                try request(entry, spiffeID: id, variables: ["unix.user": "job-1"]),
                as: agent,
                on: server
            )
            #expect(refused == "proxyMayNot")
        }
    }

    @Test func `a proxy that has expired gets nothing`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("web")
            try await server.putProxy(expires: server.core.clock.wallTime - 1)
            let refused = try await code(try request(entry), as: agent, on: server)
            #expect(refused == "proxyUnknown")
        }
    }

    @Test(arguments: ["taken away", "given to others", "moved", "replaced"])
    func `a Proxy that changes while a key is prepared decides as it is then`(
        _ change: String
    ) async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("web")
            try await server.putProxy()
            let asked = try request(entry)
            try await server.holdingWrites { writes in
                async let changed: Void = Self.change(change, on: server)
                try await writes.queued(1)
                async let signed = server.sign([asked], as: agent)
                try await writes.queued(2)
                writes.release()
                try await changed
                let code = try await signed[0].refusal.code
                switch change {
                case "taken away": #expect(code == "proxyUnknown")
                case "given to others": #expect(code == "proxyMayNot")
                case "moved": #expect(code == "proxyNotOnNode")
                // The same again under another uid: approved anew.
                default: #expect(code.isEmpty)
                }
            }
        }
    }

    private static func change(_ change: String, on server: TestServer) async throws {
        switch change {
        case "taken away":
            try await server.core.write { transaction in
                let number = try transaction.advanceRevision().number
                try transaction.deleteProxy(id: "uid-web", number: number)
            }
        case "given to others": try await server.putProxy(identities: ["spiffe://example.org/api"])
        case "moved": try await server.putProxy(node: "role:db")
        default:
            try await server.core.write { transaction in
                let number = try transaction.advanceRevision().number
                let old = try transaction.deleteProxy(id: "uid-web", number: number)
                guard let old else { return }
                let next = ProxyRecord(
                    id: "uid-new",
                    namespace: old.namespace,
                    name: old.name,
                    revision: number,
                    nodeSelectors: old.nodeSelectors,
                    identities: old.identities,
                    state: old.state
                )
                try transaction.put(next, number: number)
            }
        }
    }
}
