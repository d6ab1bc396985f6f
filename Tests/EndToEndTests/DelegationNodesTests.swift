// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms
import Testing

/// Tokens "A, through B" between three nodes of one server, by the real programs
/// (docs/decisions/0024-token-exchange.md).
@Suite(.serialized, .timeLimit(.minutes(4)))
struct DelegationNodesTests {
    private static let c = ThreeNodes.id("c")

    /// Who acts, and who acted before.
    private final class Acting: Decodable, Sendable {
        let sub: String
        let act: Acting?

        /// The names, who acts now first.
        var names: [String] {
            [sub.replacing(ThreeNodes.id(""), with: "")] + (act?.names ?? [])
        }
    }

    /// What introspection says of a token that is good.
    private struct Claims: Decodable, Sendable {
        var active: Bool
        var act: Acting
        var aud: [String]
        var client_id: String
        var exp: Double
        var iss: String
        var sub: String
    }

    /// When a token ends, by itself.
    private static func end(of token: String) throws -> Double {
        struct Ending: Decodable {
            var exp: Double
        }
        let parts = token.split(separator: ".")
        try #require(parts.count == 3)
        var text = parts[1].replacing("-", with: "+").replacing("_", with: "/")
        while !text.count.isMultiple(of: 4) { text += "=" }
        let payload = try #require(Data(base64Encoded: String(text)))
        return try JSONDecoder().decode(Ending.self, from: payload).exp
    }

    private static func check(_ claims: Claims, _ actors: [String], _ audience: String) {
        #expect(claims.active)
        #expect(claims.sub == "delegated:example.org/a")
        #expect(claims.act.names == actors)
        #expect(claims.aud == [audience])
        #expect(claims.client_id == ThreeNodes.id(actors[0]))
        #expect(claims.iss == "https://id.example.org/delegated")
    }

    private static func expect(
        _ answer: ThreeNodes.Answer,
        _ error: String,
        _ reason: String
    ) {
        #expect(
            answer.status == 400 && answer.body.contains("\"\(error)\"")
                && answer.body.contains(reason),
            "\(answer)"
        )
    }

    @Test func `a request goes over three nodes, and each knows whose it is and through whom`()
        async throws
    {
        let three = try await ThreeNodes()
        let (a, b, c) = (three.nodes[0], three.nodes[1], three.nodes[2])
        try await three.machine.apply(
            ThreeNodes.entry("a", on: a) + ThreeNodes.entry("b", on: b)
                + ThreeNodes.entry("c", on: c)
                + ThreeNodes.policy("first", ["b"], at: [Self.c])
                + ThreeNodes.policy("last", ["c"], at: ["ledger"])
        )
        let ledger = try await three.serve("ledger", at: 0, as: "ledger")
        let middle = try await three.serve("c", at: 2, as: Self.c, next: ("ledger", ledger))
        let first = try await three.serve("b", at: 1, as: nil, next: (Self.c, middle))

        let shown = try await three.shown(to: "b")
        let answer = try await three.call(first, with: shown)
        let told = try answer.decoded([Claims?].self)
        let (atC, atLedger) = try Self.hops(told)
        Self.check(atC, ["b"], Self.c)
        Self.check(atLedger, ["c", "b"], "ledger")
        // A chain lives no longer than what it began with.
        #expect(atLedger.exp <= atC.exp)
        #expect(try atC.exp <= Self.end(of: shown))
        let leaves = try await three.signet(
            [
                "audit", "query", "--event", "delegatedTokenIssued", "--spiffe-id",
                ThreeNodes.id("b"), "-o", "json",
            ]
        )
        #expect(leaves.output.contains("default/first") && leaves.output.contains("default/last"))

        try await refuseWhatIsOfOthers(three, shown, middle)
        try await three.stop()
    }

    private static func hops(_ told: [Claims?]) throws -> (Claims, Claims) {
        try #require(told.count == 3 && told[0] == nil)
        return (try #require(told[1]), try #require(told[2]))
    }

    /// Each token is for one, and each policy for what it says.
    private func refuseWhatIsOfOthers(
        _ three: ThreeNodes,
        _ shown: String,
        _ middle: String
    ) async throws {
        // B may go to C, and has not for that reason what C may do.
        let wider = try await three.exchange(shown, at: 1, for: "ledger")
        Self.expect(wider, "invalid_target", "delegationNotPermitted")
        let passed = try await three.exchange(shown, at: 1, for: Self.c).token()
        // Stolen: nobody but the audience exchanges it, on whatever node.
        for (token, node, isExchanged) in [
            (shown, 0, false), (shown, 2, false), (passed, 0, true), (passed, 1, true),
        ] {
            let stolen = try await three.exchange(
                token,
                at: node,
                for: "ledger",
                isExchanged: isExchanged
            )
            Self.expect(stolen, "invalid_request", "subjectTokenAudience")
        }
        #expect(try await three.isActive(passed, for: Self.c, at: 2))
        #expect(try await !three.isActive(passed, for: "ledger", at: 0))
        // A's own token says nothing of B, and C takes it for none.
        #expect(try await !three.isActive(shown, for: ThreeNodes.id("b"), at: 1))
        let direct = try await three.call(middle, with: three.shown(to: "c"))
        #expect(direct.status == 401, "\(direct)")
    }

    @Test func `a chain ends at four actors, at one that it has, and with its first policy`()
        async throws
    {
        let three = try await ThreeNodes()
        let others = ["b", "c", "d", "e", "f"]
        let entries = zip(others, [1, 2, 1, 2, 1]).map {
            ThreeNodes.entry($0, on: three.nodes[$1])
        }
        let ids = others.map { ThreeNodes.id($0) }
        try await three.machine.apply(
            ThreeNodes.entry("a", on: three.nodes[0]) + entries.joined()
                + ThreeNodes.policy("first", ["b"], at: [Self.c])
                + ThreeNodes.policy("rest", ["c", "d", "e", "f"], at: ids + ["ledger"])
        )
        let shown = try await three.shown(to: "b")
        let second = try await three.exchange(shown, at: 1, for: Self.c).token()
        var deepest = second
        for (name, node) in [("d", 2), ("e", 1), ("f", 2)] {
            deepest = try await three.exchange(
                deepest,
                at: node,
                for: ThreeNodes.id(name),
                isExchanged: true
            ).token()
        }
        // Four have acted: b, c, d and e.
        #expect(try await three.isActive(deepest, for: ThreeNodes.id("f"), at: 1))
        let fifth = try await three.exchange(deepest, at: 1, for: "ledger", isExchanged: true)
        Self.expect(fifth, "invalid_request", "chainRefused: the chain has more than 4 actors")

        let back = try await three.exchange(
            second,
            at: 2,
            for: ThreeNodes.id("b"),
            isExchanged: true
        ).token()
        let again = try await three.exchange(back, at: 1, for: "ledger", isExchanged: true)
        Self.expect(again, "invalid_request", "chainRefused: the actor is in the chain already")

        try await three.signet(["delete", "DelegationPolicy/first"])
        let late = try await three.exchange(second, at: 2, for: "ledger", isExchanged: true)
        Self.expect(late, "invalid_request", "delegationNoLongerPermitted")
        try await three.stop()
    }

    @Test func `who is revoked is active on no node, and a banned node takes only its own with it`()
        async throws
    {
        let three = try await ThreeNodes()
        try await three.machine.apply(
            zip(["a", "b", "c"], three.nodes).map { ThreeNodes.entry($0, on: $1) }.joined()
                + ThreeNodes.policy("p", ["b", "c"], at: [Self.c, "ledger"])
        )
        let toB = try await three.shown(to: "b")
        let byB = try await three.exchange(toB, at: 1, for: "ledger").token()
        let onlyC = try await three.exchange(three.shown(to: "c"), at: 2, for: "ledger").token()
        let passed = try await three.exchange(toB, at: 1, for: Self.c).token()
        #expect(try await activity(of: byB, three) == [true, true, true])

        try await three.signet(["svid", "revoke", ThreeNodes.id("b"), "--wait"])
        #expect(try await activity(of: byB, three) == [false, false, false])
        #expect(try await activity(of: onlyC, three) == [true, true, true])
        let late = try await three.exchange(passed, at: 2, for: "ledger", isExchanged: true)
        Self.expect(late, "invalid_request", "partyRevoked")
        // The right to act has stayed: what is issued after the moment is good again.
        let anew = try await token("b exchanges again") {
            try await three.exchange(toB, at: 1, for: "ledger")
        }
        #expect(try await activity(of: anew, three) == [true, true, true])

        try await three.signet(["svid", "revoke", ThreeNodes.id("a"), "--wait"])
        for token in [anew, onlyC] {
            #expect(try await activity(of: token, three) == [false, false, false])
        }
        let stale = try await three.exchange(toB, at: 1, for: "ledger")
        Self.expect(stale, "invalid_request", "partyRevoked")

        try await eventually("a new JWT-SVID of a") {
            try await three.fetch(for: ThreeNodes.id("b")).isSuccess
        }
        let newB = try await three.exchange(three.shown(to: "b"), at: 1, for: "ledger").token()
        let newC = try await three.exchange(three.shown(to: "c"), at: 2, for: "ledger").token()
        #expect(try await activity(of: newB, three) == [true, true, true])
        // B's token was held on that node, and A's was not.
        let banned = try await three.signet(
            ["agent", "ban", "node-b", "--reason", "stolen", "--wait"]
        )
        #expect(banned.errors.contains("applied by 2 agent(s)"), "\(banned.report)")
        #expect(try await !three.isActive(newB, for: "ledger", at: 2))
        #expect(try await three.isActive(newC, for: "ledger", at: 2))
        try await three.stop()
    }

    /// Whether a token is active at each node.
    private func activity(of token: String, _ three: ThreeNodes) async throws -> [Bool] {
        var found: [Bool] = []
        for node in three.nodes.indices {
            found.append(try await three.isActive(token, for: "ledger", at: node))
        }
        return found
    }

    /// The token of the first exchange that is not put off.
    private func token(
        _ what: String,
        _ exchange: () async throws -> ThreeNodes.Answer
    ) async throws -> String {
        var found = ""
        try await eventually(what) {
            let answer = try await exchange()
            // Until the moment of the revocation is over, and while there were too many.
            guard ![429, 503].contains(answer.status) else { return false }
            found = try answer.token()
            return true
        }
        return found
    }
}
