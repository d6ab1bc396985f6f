// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms
import Testing

/// `signet jwt`, as a user and his scripts see it.
@Suite(.serialized, .timeLimit(.minutes(3)))
struct JWTCommandTests {
    /// What `-o json` says of a token.
    private struct Token: Decodable {
        let spiffeID: String
        let audiences: [String]
        let tokenID: String
        let token: String
    }

    private static func machine() async throws -> Machine {
        let machine = try Machine()
        try await machine.startServer()
        try await machine.startAgent()
        try await machine.register("web")
        return machine
    }

    /// The one token of a `fetch`.
    private static func token(_ fetched: ProgramResult) throws -> Token {
        let tokens = try JSONDecoder().decode([Token].self, from: Data(fetched.output.utf8))
        return try #require(tokens.first)
    }

    /// Has the agent verify a token, which comes by standard input.
    private static func validate(
        _ token: String,
        audience: String,
        _ machine: Machine
    ) async throws -> ProgramResult {
        let file = "\(machine.path)/shown-token"
        try Data("\(token)\n".utf8).write(to: URL(fileURLWithPath: file))
        let command =
            "exec '\(try Installation.binary("signet"))' jwt validate --audience '\(audience)' "
            + "--agent-socket '\(machine.workloadSocket)' -o json < '\(file)'"
        return try await Program(
            Installation.tool("sh"),
            ["-c", command],
            directory: machine.path
        ).result()
    }

    @Test func `a token is fetched, shown only if asked for, and verified`() async throws {
        let machine = try await Self.machine()
        let table = try await machine.signet(["jwt", "fetch", "--audience", "api"])
        #expect(table.isSuccess && table.output.contains("spiffe://example.org/web"))
        #expect(!table.output.contains("eyJ"), "\(table.report)")
        let fetched = try await machine.signet(
            ["jwt", "fetch", "--audience", "api", "--audience", "db", "-o", "json"]
        )
        let token = try Self.token(fetched)
        #expect(token.audiences == ["api", "db"])
        let raw = try await machine.signet(
            ["jwt", "fetch", "--audience", "api", "--audience", "db", "--raw"]
        )
        #expect(raw.output == token.token + "\n", "\(raw.report)")

        let valid = try await Self.validate(token.token, audience: "db", machine)
        #expect(valid.isSuccess && valid.output.contains("spiffe://example.org/web"))
        #expect(valid.output.contains(token.tokenID), "\(valid.report)")
        let other = try await Self.validate(token.token, audience: "mail", machine)
        #expect(other.status == 1 && other.errors.contains("another audience"), "\(other.report)")

        let keys = try await machine.signet(["jwt", "keys", "--trust-domain", "example.org"])
        #expect(keys.isSuccess && keys.output.contains("\"jwt-svid\""), "\(keys.report)")
        let foreign = try await machine.signet(["jwt", "keys", "--trust-domain", "other.example"])
        #expect(foreign.status == 1, "\(foreign.report)")
        #expect(foreign.errors.contains("spiffe://example.org"), "\(foreign.report)")
        try await machine.stop()
    }

    @Test func `a revoked identity's token is refused, and another one given`() async throws {
        let machine = try await Self.machine()
        let old = try Self.token(
            try await machine.signet(["jwt", "fetch", "--audience", "api", "-o", "json"])
        )
        let revoked = try await machine.signet(
            ["svid", "revoke", "spiffe://example.org/web", "--reason", "test", "--wait"]
        )
        #expect(revoked.isSuccess, "\(revoked.report)")
        let refused = try await Self.validate(old.token, audience: "api", machine)
        #expect(refused.status == 1 && refused.errors.contains("revoked"), "\(refused.report)")
        // The moment lies after the last token on record, which may be the end of this second.
        try await eventually("a token after the revocation") {
            let fetched = try await machine.signet(
                ["jwt", "fetch", "--audience", "api", "-o", "json"]
            )
            guard fetched.isSuccess else { return false }
            let token = try Self.token(fetched)
            return token.token != old.token
        }
        try await machine.stop()
    }

    @Test func `kept tokens are given while the server is away, others are not`() async throws {
        let machine = try await Self.machine()
        let first = try await machine.signet(["jwt", "fetch", "--audience", "api", "--raw"])
        #expect(first.isSuccess, "\(first.report)")
        try await machine.server.stop()
        let kept = try await machine.signet(["jwt", "fetch", "--audience", "api", "--raw"])
        #expect(kept.isSuccess && kept.output == first.output, "\(kept.report)")
        let missing = try await machine.signet(["jwt", "fetch", "--audience", "new", "--raw"])
        #expect(!missing.isSuccess && missing.output.isEmpty, "\(missing.report)")
        #expect(missing.errors.contains("the agent cannot answer now"), "\(missing.report)")
        // The agent verifies by what it knows.
        let token = first.output.trimmingCharacters(in: .whitespacesAndNewlines)
        let valid = try await Self.validate(token, audience: "api", machine)
        #expect(valid.isSuccess, "\(valid.report)")
        try await machine.stop()
    }
}
