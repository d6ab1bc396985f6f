// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms
import Testing

/// Administration over mTLS: the command line shows the identity that the local agent gives it.
@Suite(.serialized, .timeLimit(.minutes(3)))
struct NetworkAdminTests {
    private static let alice = "spiffe://example.org/people/alice"
    private static let binding = """
        apiVersion: core.signet/v1alpha1
        kind: Role
        metadata: {name: operator, namespace: signet-system}
        spec:
          rules:
            - verbs: [node.list, audit.read]
            - verbs: [list, get, apply]
              kinds: [RegistrationEntry]
              spiffeIDPrefixes: [spiffe://example.org/shop]
        ---
        apiVersion: core.signet/v1alpha1
        kind: RoleBinding
        metadata: {name: operators, namespace: signet-system}
        spec: {role: operator, subjects: [\(alice)]}

        """

    private static func machine() async throws -> Machine {
        let machine = try Machine()
        try await machine.startServer()
        try await machine.startAgent()
        return machine
    }

    /// Asks over the network alone.
    private static func remotely(
        _ machine: Machine,
        _ arguments: [String]
    ) async throws -> ProgramResult {
        try await machine.signet(
            arguments,
            environment: [
                "SIGNET_SERVER": "127.0.0.1:\(machine.port)", "SIGNET_SERVER_SOCKET": "",
            ]
        )
    }

    @Test func `who is bound to a role may do what it says, and the audit log names him`()
        async throws
    {
        let machine = try await Self.machine()
        try await machine.register("people/alice", name: "alice")
        try await machine.apply(Self.binding)
        let listed = try await Self.remotely(machine, ["agent", "list", "-o", "json"])
        #expect(listed.isSuccess, "\(listed.report)")
        #expect(listed.output.contains("spiffe://example.org/signet/agent/machine"))

        let file = "\(machine.path)/web.yaml"
        try Machine.entry("shop/web", name: "web", workload: "unix:uid:1")
            .write(toFile: file, atomically: true, encoding: .utf8)
        let applied = try await Self.remotely(machine, ["apply", "-f", file])
        #expect(applied.isSuccess, "\(applied.report)")
        let records = try await Self.remotely(
            machine,
            ["audit", "query", "--event", "documentsApplied", "--actor", Self.alice]
        )
        #expect(records.output.contains("RegistrationEntry/default/web"), "\(records.report)")

        // Beyond the role, the same person is refused, and that is recorded as well.
        let refused = try await Self.remotely(machine, ["agent", "ban", "machine"])
        #expect(refused.status == 1)
        #expect(refused.errors.contains("not allowed: \(Self.alice) node.ban"))
        let refusals = try await machine.signet(
            ["audit", "query", "--event", "requestRefused", "--actor", Self.alice]
        )
        #expect(refusals.output.contains("node.ban"), "\(refusals.report)")
        try await machine.stop()
    }

    @Test func `who is not bound is told so, with the remedy, and is in the audit log`()
        async throws
    {
        let machine = try await Self.machine()
        try await machine.register("people/alice", name: "alice")
        let refused = try await Self.remotely(machine, ["agent", "list"])
        #expect(refused.status == 1)
        #expect(refused.output.isEmpty)
        #expect(refused.errors.contains("no RoleBinding names it"), "\(refused.report)")
        #expect(refused.errors.contains("Rights come from a RoleBinding"), "\(refused.report)")
        let records = try await machine.signet(
            ["audit", "query", "--event", "requestRefused", "--actor", Self.alice]
        )
        #expect(records.output.contains("node.list"), "\(records.report)")
        // Whether the server is ready is no secret; why not is one.
        let health = try await Self.remotely(machine, ["health", "-o", "json"])
        #expect(health.isSuccess, "\(health.report)")
        #expect(!health.output.contains("datastore"), "\(health.report)")
        try await machine.stop()
    }

    @Test func `rights end with their binding`() async throws {
        let machine = try await Self.machine()
        try await machine.register("people/alice", name: "alice")
        try await machine.apply(Self.binding)
        #expect(try await Self.remotely(machine, ["agent", "list"]).isSuccess)
        let deleted = try await machine.signet(
            ["delete", "rolebinding/signet-system/operators"]
        )
        #expect(deleted.isSuccess, "\(deleted.report)")
        #expect(try await Self.remotely(machine, ["agent", "list"]).status == 1)
        try await machine.stop()
    }

    @Test func `of several identities, the one that was named is shown`() async throws {
        let machine = try await Self.machine()
        try await machine.register("people/alice", name: "alice")
        try await machine.register("people/bob", name: "bob")
        for name in ["alice", "bob"] {
            let id = "spiffe://example.org/people/\(name)"
            let refused = try await Self.remotely(
                machine,
                ["agent", "list", "--identity", id]
            )
            #expect(refused.errors.contains("not allowed: \(id) "), "\(refused.report)")
        }
        let unknown = try await Self.remotely(
            machine,
            ["agent", "list", "--identity", "spiffe://example.org/people/carol"]
        )
        #expect(unknown.status == 1)
        #expect(unknown.errors.contains("it has spiffe://example.org/people/alice"))
        #expect(unknown.errors.contains("--identity"), "\(unknown.report)")
        try await machine.stop()
    }

    @Test func `without an identity, an agent or a server nothing is sent, and it is said why`()
        async throws
    {
        let machine = try await Self.machine()
        let stranger = try await Self.remotely(machine, ["agent", "list"])
        #expect(stranger.status == 1)
        #expect(stranger.errors.contains("no registration entry means this process"))
        #expect(stranger.errors.contains("signet explain workload"), "\(stranger.report)")
        let alone = try await Self.remotely(
            machine,
            ["agent", "list", "--agent-socket", "\(machine.path)/none.sock"]
        )
        #expect(alone.status == 6)
        #expect(alone.errors.contains("there is no agent socket"), "\(alone.report)")

        try await machine.register("people/alice", name: "alice")
        // The agent has the entry, and maybe not yet the certificate.
        try await eventually("an SVID for alice") {
            try await machine.signet(["svid", "fetch", "-o", "json"]).output.contains("/alice")
        }
        try await machine.server.stop()
        let away = try await Self.remotely(machine, ["agent", "list"])
        #expect(away.status == 6)
        let address = "127.0.0.1:\(machine.port)"
        #expect(
            away.errors.contains("cannot reach the server at \(address): Connection refused\n"),
            "\(away.report)"
        )
        try await machine.stop()
    }

    @Test func `a workload of the trust domain cannot pose as the server`() async throws {
        let machine = try await Self.machine()
        try await machine.register("web", name: "web")
        let fetched = try await machine.signet(
            ["svid", "fetch", "--write-dir", "\(machine.path)/web"]
        )
        #expect(fetched.isSuccess, "\(fetched.report)")
        let port = try FreePort.take()
        let impostor = try Program(
            Installation.tool("openssl"),
            [
                "s_server", "-accept", "127.0.0.1:\(port)", "-cert", "\(machine.path)/web/svid.pem",
                "-key", "\(machine.path)/web/svid_key.pem", "-tls1_3", "-alpn", "h2", "-www",
            ],
            directory: machine.path
        )
        try await impostor.waitFor("ACCEPT")
        let refused = try await machine.signet(
            ["agent", "list", "--server", "127.0.0.1:\(port)"]
        )
        #expect(refused.status == 1)
        #expect(
            refused.errors.contains("spiffe://example.org/web is not the ID of a server"),
            "\(refused.report)"
        )
        #expect(refused.errors.contains("Nothing was sent"))
        try await impostor.stop(.kill)
        try await machine.stop()
    }

    @Test func `a server of another trust domain is not believed`() async throws {
        let machine = try await Self.machine()
        try await machine.register("people/alice", name: "alice")
        let other = try Machine { $0.trustDomain = "other.example" }
        try await other.startServer()
        let refused = try await machine.signet(
            ["agent", "list", "--server", "127.0.0.1:\(other.port)"]
        )
        #expect(refused.status == 1)
        #expect(
            refused.errors.contains("is not a server of trust domain example.org"),
            "\(refused.report)"
        )
        try await other.stop()
        try await machine.stop()
    }
}
