// SPDX-License-Identifier: Apache-2.0

import GRPCPeer
import Testing
import signet

@Suite struct ServerTargetTests {
    private static let both = ["SIGNET_SERVER": "ca:2", "SIGNET_SERVER_SOCKET": "/env.sock"]

    private func target(
        server: String? = nil,
        socket: String? = nil,
        environment: [String: String] = [:],
        files: Set<String> = []
    ) throws -> ServerTarget {
        try ServerTarget(server: server, socket: socket, environment: environment) {
            files.contains($0)
        }
    }

    @Test func `what is typed goes before the environment`() throws {
        let typed = try target(server: "ca:1", environment: Self.both)
        #expect(typed == .network(ServerAddress(host: "ca", port: 1)))
        let socket = try target(socket: "unix:///a.sock", environment: Self.both)
        #expect(socket == .socket("/a.sock"))
    }

    @Test func `the environment goes before the usual places`() throws {
        let files: Set = [".signet/server/admin.sock"]
        let server = try target(environment: ["SIGNET_SERVER": "[::1]:8081"], files: files)
        #expect(server == .network(ServerAddress(host: "::1", port: 8081)))
        let socket = try target(environment: ["SIGNET_SERVER_SOCKET": "/e"], files: files)
        #expect(socket == .socket("/e"))
        let empty = ["SIGNET_SERVER": "", "SIGNET_SERVER_SOCKET": ""]
        #expect(
            try target(environment: empty, files: files) == .socket(".signet/server/admin.sock")
        )
    }

    @Test func `the socket of signet dev goes before the machine's`() throws {
        let here = ".signet/server/admin.sock"
        let machine = "/run/signet/server/admin.sock"
        #expect(try target(files: [here, machine]) == .socket(here))
        #expect(try target(files: [machine]) == .socket(machine))
        #expect(try target() == .socket(machine))
    }

    @Test func `two variables that contradict each other are refused`() {
        let error = #expect(throws: CommandFailure.self) {
            try target(environment: Self.both)
        }
        #expect(error?.status == .usage)
        #expect(error?.remedy?.contains("--server") == true)
    }

    @Test(arguments: ["", "ca", "ca:", ":8081", "ca:0", "ca:99999", "2001:db8::1:8081", "a b:1"])
    func `an address that is none is refused with the form`(text: String) {
        let error = #expect(throws: CommandFailure.self) { try target(server: text) }
        #expect(error?.message.contains("--server is \"\(text)\"") == true)
        #expect(error?.remedy?.contains("ca.example.org:8081") == true)
    }
}
