// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms
import Testing

/// Tokens "A, through B" by the real programs, with curl as B and JOSE libraries as C
/// (docs/delegation.md).
@Suite(.serialized, .timeLimit(.minutes(4)))
struct DelegationTests {
    private static let a = "spiffe://example.org/a"
    private static let b = "spiffe://example.org/b"

    private static let policy = """
        ---
        apiVersion: core.signet/v1alpha1
        kind: DelegationPolicy
        metadata: {name: p}
        spec: {subjects: [\(a)], actors: [\(b)], audiences: [ledger]}

        """

    /// What a request by curl has of the agent's socket for tokens, status included.
    private static func post(
        _ machine: Machine,
        _ path: String,
        _ form: [String]
    ) async throws -> String {
        let answer = try await Installation.run(
            Installation.tool("curl"),
            [
                "--silent", "--show-error", "--unix-socket", "\(machine.path)/token.sock",
                "--header", "Signet-Workload: true", "--write-out", " %{http_code}",
                "http://agent\(path)",
            ] + form.flatMap { ["--data-urlencode", $0] },
            directory: machine.path
        )
        #expect(answer.isSuccess, "\(answer.report)")
        return answer.output
    }

    private static func exchange(
        _ machine: Machine,
        _ token: String,
        for audience: String
    ) async throws -> String {
        try await post(
            machine,
            "/token",
            [
                "grant_type=urn:ietf:params:oauth:grant-type:token-exchange",
                "subject_token_type=urn:ietf:params:oauth:token-type:jwt",
                "subject_token=\(token)", "audience=\(audience)",
            ]
        )
    }

    private static func member(_ name: String, of answer: String) -> String? {
        let parts = answer.components(separatedBy: "\"\(name)\":\"")
        return parts.count == 2 ? parts[1].components(separatedBy: "\"").first : nil
    }

    @Test func `B exchanges what A showed it, and C knows of both`() async throws {
        var url = ""
        let machine = try DiscoveryTests.machine(
            { port in
                url = "https://localhost:\(port)/td"
                return url
            },
            ["tokenExchange: true"]
        )
        machine.change { $0.agentFlags = ["--token-socket", "\(machine.path)/token.sock"] }
        try await machine.startServer()
        try await machine.startAgent()
        try await machine.register("a")
        try await machine.register("b")
        try await machine.apply(Self.policy)
        let fetched = try await machine.signet(
            ["jwt", "fetch", "--audience", Self.b, "--spiffe-id", Self.a, "--raw"]
        )
        #expect(fetched.isSuccess, "\(fetched.report)")
        let shown = fetched.output.trimmingCharacters(in: .whitespacesAndNewlines)

        let refused = try await Self.exchange(machine, shown, for: "payroll")
        #expect(refused.hasSuffix(" 400") && refused.contains("invalid_target"), "\(refused)")
        let answer = try await Self.exchange(machine, shown, for: "ledger")
        #expect(answer.hasSuffix(" 200"), "\(answer)")
        let token = try #require(Self.member("access_token", of: answer), "\(answer)")

        try Data(token.utf8).write(to: URL(fileURLWithPath: "\(machine.path)/delegated"))
        try Data(shown.utf8).write(to: URL(fileURLWithPath: "\(machine.path)/shown"))
        let verified = try await machine.runPeer(
            "delegation.py",
            [
                url, "\(machine.path)/root.pem", "delegated:example.org/a", Self.b, "ledger",
                "\(machine.path)/delegated", "\(machine.path)/shown",
            ]
        )
        #expect(verified.isSuccess, "\(verified.report)")
        #expect(verified.output.contains("A, through B, by PyJWT and joserfc"))

        let active = try await Self.post(
            machine,
            "/introspect",
            ["token=\(token)", "audience=ledger"]
        )
        #expect(active.hasSuffix(" 200") && active.contains("\"active\":true"), "\(active)")
        let found = try await machine.signet(
            [
                "audit", "query", "--event", "delegatedTokenIssued", "--spiffe-id", Self.a, "-o",
                "json",
            ]
        )
        #expect(found.output.contains("default/p"), "\(found.report)")
        try await machine.stop()
    }
}
