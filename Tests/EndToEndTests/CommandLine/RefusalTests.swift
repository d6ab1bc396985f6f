// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms
import Testing

/// What a person types wrongly, and what the command line says to it: what is wrong, what to do,
/// and the exit status that docs/command-line.md promises.
@Suite(.serialized, .timeLimit(.minutes(3)))
struct RefusalTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var arguments: [String]
        var status: Int32
        /// Parts of what is said, the remedy among them.
        var says: [String]
        var environment: [String: String] = [:]

        init(
            _ line: String,
            _ status: Int32,
            _ says: String...,
            environment: [String: String] = [:]
        ) {
            arguments = line.split(separator: " ").map(String.init)
            self.status = status
            self.says = says
            self.environment = environment
        }

        var testDescription: String { arguments.joined(separator: " ") }
    }

    /// What nobody has to be asked for.
    static let usage = [
        Case("aply", 64, "no command \"signet aply\"", "did you mean \"apply\"?"),
        Case("agent lst", 64, "no command \"signet agent lst\"", "did you mean \"list\"?"),
        Case("nonsense", 64, "write one of agent, apply"),
        Case("--server ca:1 agent list", 64, "options stand after the command", "For example"),
        Case("agent list --sever ca:1", 64, "Unknown option '--sever'", "'--server'"),
        Case("agent list -o xml", 64, "'table', 'json' or 'yaml'"),
        Case("agent show", 64, "Missing expected argument '<name>'", "signet agent show --help"),
        Case("agent list --server nowhere", 64, "not host:port", "ca.example.org:8081"),
        Case("agent list --server a:1 --server-socket b", 64, "exclude each other"),
        Case("agent list --identity alice", 64, "'--identity <spiffe-id>'", "starts with"),
        Case("entry list --spiffe-id spiffe://Td/a", 64, "\"T\" in the trust domain", "/path"),
        Case("svid fetch --spiffe-id spiffe://td/a/", 64, "does not end with \"/\"", "/path"),
        Case("apply", 64, "signet apply -f documents.yaml"),
        Case("apply web.yaml", 64, "signet apply -f web.yaml"),
        Case("apply -f x --prune", 64, "Missing value for '--prune <owner>'"),
        Case("apply -f x --dry-run=client", 64, "Please provide one of 'server'"),
        Case("apply -f x --wait --wait-seconds 0", 64, "--wait-seconds takes 1 to 600"),
        Case("get RegistrationEntry/a/b/c", 64, "KIND/NAMESPACE/NAME"),
        Case("delete RegistrationEntry", 64, "RegistrationEntry NAME"),
        Case("entry blast-radius", 64, "exactly one of --entry, --node and --spiffe-id"),
        Case("entry blast-radius --spiffe-id web", 64, "'web' is invalid", "spiffe://"),
        Case("token create --name a --ttl-seconds 0", 64, "--ttl-seconds is above 0"),
        Case("explain workload --pid 0", 64, "--pid is above 0"),
        Case("explain workload --pid abc", 64, "'abc' is invalid", "its number; `ps -e`"),
        Case("svid revoke", 64, "name an identity, or one certificate with --serial"),
        Case("svid revoke --serial 01", 64, "34 hexadecimal digits"),
        Case(
            "svid revoke spiffe://example.org/a --serial 01\(String(repeating: "0", count: 32))",
            64,
            "not both"
        ),
        Case("svid revoke web", 64, "'web' is invalid", "spiffe://"),
        Case("svid revoke spiffe://example.org/a --for 31d", 64, "--for takes 1s to 30d", "1h"),
        Case("proxy connections", 64, "Missing expected argument '<name>'"),
        Case("proxy connections a --limit 0", 64, "--limit takes 1 to 1000"),
        Case("proxy status a/b/c", 64, "NAMESPACE/NAME"),
        Case("explain request", 64, "Missing expected argument '--to <spiffe-id>'"),
        Case("explain request --to spiffe://e.org/a --path /", 64, "belong together", "TCP"),
        Case("explain request --to spiffe://e.org/a --method GET --path x", 64, "begins with /"),
        Case("explain request --to spiffe://e.org/a --port 0", 64, "--port is above 0"),
        Case("explain decision abc", 64, "26 letters a to z"),
        Case(
            "explain decision --socket x mzxw6ytboi2dmnzqgaydamrrge",
            64,
            "Unknown option '--socket'",
            "`signet explain decision --help`"
        ),
        Case("svid revoke --resaon=x web", 64, "'--resaon'. Did you mean '--reason'?"),
        Case("decisions verify --accept-store a0", 64, "32 hexadecimal digits"),
        Case("audit query --limit 1001", 64, "1 to 1000", "signet audit export"),
        Case("audit query --since yesterday", 64, "\"yesterday\" is no time", "15m"),
        Case("audit tail --count 0", 64, "--count is above 0"),
        Case("audit verify --dir x", 64, "no audit log in x", "signet audit export"),
        Case("completion tcsh", 64, "'bash', 'zsh' or 'fish'"),
        Case("svid fetch --mode 888", 64, "no file mode", "0640"),
        Case(
            "health",
            64,
            "both SIGNET_SERVER and SIGNET_SERVER_SOCKET",
            "Unset",
            environment: ["SIGNET_SERVER": "ca:1", "SIGNET_SERVER_SOCKET": "x"]
        ),
        Case(
            "agent list",
            64,
            "SIGNET_IDENTITY is \"me\", which is no SPIFFE ID: a SPIFFE ID starts with",
            "spiffe://example.org/people/alice",
            environment: [
                "SIGNET_SERVER": "ca:1", "SIGNET_SERVER_SOCKET": "", "SIGNET_IDENTITY": "me",
            ]
        ),
        Case(
            "svid fetch",
            64,
            "names no Unix socket",
            "unix:///run/signet/agent/workload.sock",
            environment: ["SPIFFE_ENDPOINT_SOCKET": "tcp://127.0.0.1:1"]
        ),
        Case(
            "svid fetch",
            64,
            "/etc/passwd is there, and is no socket",
            "--agent-socket or SPIFFE_ENDPOINT_SOCKET",
            environment: ["SPIFFE_ENDPOINT_SOCKET": "unix:///etc/passwd"]
        ),
    ]

    @Test(arguments: usage)
    func `wrong usage is explained`(_ line: Case) async throws {
        try await Self.check(line, try Machine())
    }

    /// What is not there.
    static let absent = [
        Case("agent list", 6, "there is no server socket", "--server-socket, --server"),
        Case("svid fetch", 6, "there is no agent socket", "--agent-socket"),
        Case("svid fetch --agent-socket file", 64, "file is there, and is no", "--agent-socket"),
        Case("svid watch --write-dir d --agent-socket file", 64, "file is there, and is no"),
        Case("svid fetch --agent-socket file/socket", 6, "nobody answers", "Not a directory"),
        Case("agent list --server-socket empty", 64, "empty is there, and is no", "--server-sock"),
        Case("agent list --server-socket \(String(repeating: "x", count: 200))", 64, "too long"),
        Case("apply -f none.yaml", 1, "there is no file or folder none.yaml", "after -f"),
        Case("apply -f empty", 1, "holds no *.yaml", "further -f"),
        Case("apply -f /dev/zero", 1, "/dev/zero is not a file", "signet apply -f -"),
        Case("apply -f huge.yaml", 1, "more than 3 MiB", "in parts"),
        Case("apply -f binary.yaml", 1, "binary.yaml is not UTF-8 text", "the right file?"),
        Case("audit verify --dir empty --key k", 1, "no audit log in empty", "audit export"),
        Case("audit verify --dir log --key k", 1, "neither a verifier key", "name+id+base64"),
    ]

    @Test(arguments: absent)
    func `what is not there is named`(_ line: Case) async throws {
        let machine = try Machine()
        let files = [
            ("file", Data()), ("huge.yaml", Data(repeating: 0x23, count: 3 << 20 + 1)),
            ("binary.yaml", Data([0xFF, 0xFE])), ("log/checkpoint", Data()),
            ("empty/a.txt", Data()),
        ]
        for (name, content) in files {
            let url = URL(filePath: "\(machine.path)/\(name)")
            try FileManager.default.createDirectory(
                at: url.deletingLastPathComponent(),
                withIntermediateDirectories: true
            )
            try content.write(to: url)
        }
        try await Self.check(line, machine)
    }

    /// After `signet dev` has ended, say: nobody has named a place.
    @Test(.enabled(if: !FileManager.default.fileExists(atPath: "/run/signet")))
    func `every place that was looked at is named`() async throws {
        let machine = try Machine()
        let nowhere = ["SPIFFE_ENDPOINT_SOCKET": "", "SIGNET_SERVER_SOCKET": ""]
        for (line, name, file) in [
            ("svid fetch", "agent", "agent/workload.sock"),
            ("agent list", "server", "server/admin.sock"),
        ] {
            let says = "there is no \(name) socket at .signet/\(file) or /run/signet/\(file)"
            try await Self.check(Case(line, 6, says, "signet dev", environment: nowhere), machine)
        }
    }

    @Test func `the health of who is not there is shown, and has the status for that`()
        async throws
    {
        let line = Case("health", 6, "there is no server socket", "signet dev")
        try await Self.check(line, try Machine(), hasOutput: true)
    }

    /// What a server and an agent say.
    static let refused = [
        Case("get Registrationentri", 1, "no kind", "did you mean \"RegistrationEntry\"?"),
        Case("get RegistrationEntry nope", 1, "no RegistrationEntry default/nope", "-A"),
        Case("delete registrationentry nope", 1, "default/nope", "`signet get KIND -A`"),
        Case("history Role nope", 1, "there never was", "`signet get KIND -A`"),
        Case("entry show nope", 1, "no entry default/nope", "`signet entry list -A`"),
        Case("entry blast-radius --entry nope", 1, "default/nope", "`signet get KIND -A`"),
        Case("entry blast-radius --node nope", 1, "no agent nope", "`signet agent list`"),
        Case("agent show nope", 1, "no agent nope", "`signet agent list`"),
        Case("agent ban nope", 1, "no agent nope", "`signet agent list`"),
        Case("explain workload --pid 1 --agent nope", 1, "not connected", "`signet agent list`"),
        Case("explain workload --pid 2147483647", 1, "no process with this number", "`ps -e`"),
        Case("token create --name a/b", 1, "agent name \"a/b\"", "letters, digits"),
        Case("token create --name machine", 1, "agent machine exists", "evict it first"),
        Case("token create --name a --selector web", 1, "type:value"),
        Case("token delete nope", 1, "no token of nope that can be used", "signet token list"),
        Case("token delete machine", 1, "its machine has joined", "signet agent evict machine"),
        Case("token create --name a --selector unix:uid:0", 1, "given by Signet itself"),
        Case("token create --name a --server-address web", 1, "\"web\" is not host:port"),
        Case("token create --name a --ttl-seconds 9999999", 1, "1 to 604800 seconds"),
        Case("svid revoke spiffe://example.org/no", 1, "no entry gives", "`signet entry list -A`"),
        Case("svid revoke spiffe://example.org/signet/agent/a", 1, "signet agent ban"),
        Case("svid revoke spiffe://other.example/web", 1, "another trust domain", "issued"),
        Case("proxy status nope", 1, "no connected agent", "`signet proxy list -A`"),
        Case("proxy connections nope", 1, "proxy default/nope", "`signet proxy list -A`"),
        Case("explain decision \(String(repeating: "a", count: 26))", 1, "no attached proxy made"),
        Case("explain request --to spiffe://example.org/no --port 1", 1, "no entry names"),
        Case("explain request --to spiffe://example.org/shop", 1, "port of the workload", "-A"),
        Case("audit query --event svidIssued", 1, "no event svidIssued", "svidsIssued"),
        Case("svid fetch", 1, "PermissionDenied", "signet explain workload"),
        Case("svid watch --write-dir x --agent-socket admin.sock", 1, "is no agent that knows"),
        Case(
            "agent list --server-socket workload.sock",
            1,
            "is no server that knows",
            "Check the address"
        ),
        Case("apply -f empty.yaml", 1, "no document to apply", "hold no document"),
        Case("apply -f kind.yaml", 1, "kind.yaml:2:7", "did you mean \"Namespace\"?"),
        Case("apply -f tab.yaml", 1, "tab.yaml:3:1", "indent with spaces"),
        Case("apply -f other.yaml", 1, "other.yaml", "other.example"),
        Case("apply -f lost.yaml", 1, "no namespace lost", "apply a Namespace document first"),
        Case("apply -f stale.yaml", 1, "was changed meanwhile", "-o yaml"),
    ]

    @Test func `what server and agent refuse comes with the remedy`() async throws {
        let machine = try Machine()
        try await machine.startServer()
        try await machine.startAgent()
        let head = "apiVersion: core.signet/v1alpha1\n"
        let files = [
            "empty.yaml": "# nothing\n",
            "kind.yaml": head + "kind: Namespac\nmetadata: {name: a}\n",
            "tab.yaml": head + "kind: Namespace\n\tmetadata: {name: a}\n",
            "other.yaml": Machine.entry("web", workload: "unix:uid:1")
                .replacing("spiffe://example.org", with: "spiffe://other.example"),
            "lost.yaml": Machine.entry("web", workload: "unix:uid:1")
                .replacing("{name: web}", with: "{name: web, namespace: lost}"),
            "stale.yaml": Machine.entry("shop", workload: "unix:uid:2")
                .replacing("{name: shop}", with: "{name: shop, resourceVersion: 1}"),
        ]
        for (name, text) in files {
            try text.write(toFile: "\(machine.path)/\(name)", atomically: true, encoding: .utf8)
        }
        try await machine.apply(Machine.entry("shop", workload: "unix:uid:1"))
        for line in Self.refused { try await Self.check(line, machine) }
        // It leaves its socket behind.
        try await machine.agent.stop(.kill)
        let dead = Case("svid fetch", 6, "nobody answers", "refused", "Is the agent running?")
        try await Self.check(dead, machine)
        try await machine.stop()
    }

    @Test func `a change that an agent has not applied yet has its own status`() async throws {
        let machine = try Machine()
        try await machine.startServer()
        try await machine.startAgent()
        let agent = try machine.agent
        try await eventually("the agent's stream") {
            try await machine.signet(["agent", "list"]).output.contains("connected")
        }
        agent.signal(.pause)
        let file = "\(machine.path)/web.yaml"
        try Machine.entry("web", workload: "unix:uid:1")
            .write(toFile: file, atomically: true, encoding: .utf8)
        try await Self.check(
            Case(
                "apply -f web.yaml --wait --wait-seconds 1",
                3,
                "is not confirmed by all: machine",
                "in force on the server"
            ),
            machine,
            hasOutput: true
        )
        agent.signal(.proceed)
        let again = try await machine.signet(["apply", "-f", file, "--wait"])
        #expect(again.isSuccess, "\(again.report)")
        try await machine.stop()
    }

    private static func check(
        _ line: Case,
        _ machine: Machine,
        hasOutput: Bool = false
    ) async throws {
        let result = try await machine.signet(line.arguments, environment: line.environment)
        #expect(result.status == line.status, "\(line.testDescription): \(result.report)")
        for part in line.says {
            #expect(result.errors.contains(part), "\(line.testDescription): \(result.report)")
        }
        #expect(result.errors.hasPrefix("signet: "), "\(result.report)")
        #expect(result.output.isEmpty != hasOutput, "\(result.report)")
    }
}
