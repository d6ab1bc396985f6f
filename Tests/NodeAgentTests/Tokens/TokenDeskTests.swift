// SPDX-License-Identifier: Apache-2.0

import ControlAPI
import FoundationEssentials
import NodeAgent
import NodeSync
import SPIFFE
import Testing

/// Who waits for tokens, and in which order the server is asked.
struct TokenDeskTests {
    private static let now = Date(timeIntervalSince1970: 1_800_000_000)
    private let desk = TokenDesk()

    private func wanted(
        _ audience: String,
        of name: String = "web"
    ) throws -> (key: TokenKey, grant: TokenGrant) {
        let id = try SPIFFEID("spiffe://example.org/\(name)")
        let key = TokenKey(
            entryID: "e",
            entryRevision: 1,
            spiffeID: id,
            audiences: try TokenAudiences([audience])
        )
        let grant = TokenGrant(
            entryID: "e",
            entryRevision: 1,
            spiffeID: id,
            hint: "",
            variables: [:]
        )
        return (key, grant)
    }

    private func find(
        _ audiences: [String],
        of name: String = "web",
        uid: UInt32 = 1,
        after seconds: TimeInterval = 0
    ) throws -> TokenDesk.Found {
        try desk.find(
            audiences.map { try wanted($0, of: name) },
            uid: uid,
            now: Self.now.addingTimeInterval(seconds),
            boot: .seconds(seconds)
        ) { _, _ in .good }
    }

    private func token(_ flight: TokenFlight) -> KeptToken {
        KeptToken(
            token: flight.key.audiences.texts[0],
            issuedAt: Self.now,
            notAfter: Self.now.addingTimeInterval(300),
            keyID: "k",
            receivedAt: .zero
        )
    }

    private func answer(_ flights: [TokenFlight]) {
        end(flights, flights.map { .success(token($0)) })
    }

    private func end(
        _ flights: [TokenFlight],
        _ results: TokenCall.Results,
        after seconds: TimeInterval = 0
    ) {
        desk.answered(flights, results, boot: .seconds(seconds))
        desk.released()
    }

    /// What the server says to who asks for too much.
    private static let refusedForRate = APIError(.unavailable, APIError.signingRate, "too much")

    @Test func `who asks for the same waits for the same answer`() async throws {
        let first = try find(["api"])
        let second = try find(["api"], uid: 2)
        #expect(first.tokens.isEmpty && first.flights.count == 1)
        #expect(first.flights[0] === second.flights[0])
        let asked = try #require(desk.next())
        #expect(asked.count == 1)
        // One request at a time.
        _ = try find(["db"])
        #expect(desk.next() == nil)
        answer(asked)
        #expect(try #require(await first.flights[0].value()).get().token == "api")
        #expect(try find(["api"]).tokens.count == 1)
        #expect(desk.next()?.map(\.key.audiences.texts) == [["db"]])
    }

    @Test func `a kept token is the answer while a new one is asked for beside`() async throws {
        _ = try find(["api"])
        answer(try #require(desk.next()))
        let found = try find(["api"], after: 200)
        #expect(found.flights.isEmpty && found.tokens.count == 1)
        let asked = try #require(desk.next())
        #expect(asked.count == 1)
        // That it fails hurts nobody, and it is tried again a second later.
        end(asked, [.failure(APIError(.unavailable, "away", "away"))], after: 200)
        #expect(try find(["api"], after: 200).tokens.count == 1)
        #expect(desk.next() == nil)
        #expect(try find(["api"], after: 201).tokens.count == 1)
        #expect(desk.next()?.count == 1)
    }

    @Test func `a failure is told to all who wait, and not kept`() async throws {
        let found = try find(["api"])
        let asked = try #require(desk.next())
        end(asked, [.failure(APIError(.permissionDenied, "no", "no"))])
        guard case .failure(let error) = await found.flights[0].value() else {
            Issue.record("it succeeded")
            return
        }
        #expect(error.reason == "no")
        // Whoever asks again hears it again, and the server is asked later.
        let again = try find(["api", "db"], after: 4)
        #expect(
            again.refusal?.reason == "no" && again.flights.map(\.key.audiences.texts) == [["db"]]
        )
        #expect(try find(["api"], after: 5).flights.count == 1)
    }

    @Test func `users are served in turn, and one has few requests waiting`() throws {
        for number in 0..<TokenDesk.waitingPerUserMax {
            let audiences = (0..<4).map { "a\(number)-\($0)" }
            _ = try find(audiences)
        }
        #expect(throws: APIError.self) { try find(["one-more"]) }
        // What is there is still given, and others may wait.
        _ = try find(["theirs"], uid: 2)
        let asked = try #require(desk.next())
        #expect(asked.count == TokenDesk.tokensPerCallMax)
        #expect(asked.prefix(2).map(\.uid) == [1, 2])
        desk.leave(uid: 1)
        _ = try find(["one-more"])
    }

    @Test func `a flood of one user puts off no renewal of another`() async throws {
        _ = try find(["theirs"], uid: 2)
        answer(try #require(desk.next()))
        for number in 0..<TokenDesk.waitingPerUserMax {
            _ = try find((0..<20).map { "flood\(number)-\($0)" }, after: 200)
        }
        // Theirs is past half its life by now.
        #expect(try find(["theirs"], uid: 2, after: 200).tokens.count == 1)
        let asked = try #require(desk.next())
        #expect(asked.count == TokenDesk.tokensPerCallMax)
        #expect(asked[0].uid == 2)
        // The server has a budget for none: the renewal is the first again.
        end(asked, asked.map { _ in .failure(Self.refusedForRate) }, after: 201)
        let again = try #require(desk.next())
        #expect(again.map(\.key) == asked.map(\.key))
        // It has one for a token.
        let results = again.indices.map { index -> Result<KeptToken, APIError> in
            index == 0 ? .success(token(again[0])) : .failure(Self.refusedForRate)
        }
        end(again, results, after: 202)
        let rest = try #require(desk.next())
        #expect(rest.map(\.key).prefix(99) == again.map(\.key).dropFirst())
    }

    @Test func `who is refused for the rate waits, but not for ever`() async throws {
        let found = try find(["api"])
        var asked = try #require(desk.next())
        end(asked, [.failure(Self.refusedForRate)], after: 9)
        asked = try #require(desk.next())
        end(asked, [.failure(Self.refusedForRate)], after: 10)
        guard case .failure(let error) = await found.flights[0].value() else {
            Issue.record("it succeeded")
            return
        }
        #expect(error == Self.refusedForRate)
        #expect(desk.next() == nil)
    }

    /// What the server says to who asks for too much of one identity.
    private static let refusedForShare = APIError(.unavailable, APIError.identityRate, "too much")

    @Test func `an identity above its share waits, and the others of its node are asked for`()
        async throws
    {
        let loud = try find(["a", "b"], of: "loud")
        let asked = try #require(desk.next())
        let results: TokenCall.Results = [
            .success(token(asked[0])), .failure(Self.refusedForShare),
        ]
        let pauses = TokenSigning.Pauses(asked, results)
        #expect(!pauses.node)
        #expect(pauses.identities == [try SPIFFEID("spiffe://example.org/loud")])
        end(asked, results, after: 1)
        // It is not asked for, be it known already or new; whoever is not it is.
        #expect(desk.next() == nil)
        _ = try find(["c"], of: "loud", after: 1)
        _ = try find(["a"], of: "quiet", after: 1)
        let others = try #require(desk.next())
        #expect(others.map(\.key.spiffeID.path) == ["/quiet"])
        answer(others)
        desk.rested(pauses.identities)
        let rest = try #require(desk.next())
        #expect(rest.map(\.key.audiences.texts) == [["b"], ["c"]])
        answer(rest)
        #expect(try #require(await loud.flights[1].value()).get().token == "b")
    }

    @Test func `an identity above its share waits, but not for ever`() async throws {
        let found = try find(["api"])
        end(try #require(desk.next()), [.failure(Self.refusedForShare)], after: 10)
        guard case .failure(let error) = await found.flights[0].value() else {
            Issue.record("it succeeded")
            return
        }
        #expect(error == Self.refusedForShare)
        // It rests all the same.
        _ = try find(["db"], after: 10)
        #expect(desk.next() == nil)
        desk.rested([found.flights[0].key.spiffeID])
        #expect(desk.next()?.map(\.key.audiences.texts) == [["db"]])
    }

    @Test func `a node above its budget waits as a whole`() throws {
        _ = try find(["a", "b"])
        let asked = try #require(desk.next())
        let results: TokenCall.Results = asked.map { _ in .failure(Self.refusedForRate) }
        let pauses = TokenSigning.Pauses(asked, results)
        #expect(pauses.node && pauses.identities.isEmpty)
    }

    @Test func `nothing is asked for until the request before is given up`() throws {
        _ = try find(["api"])
        let asked = try #require(desk.next())
        _ = try find(["db"])
        desk.answered(asked, asked.map { .success(token($0)) }, boot: .zero)
        #expect(desk.next() == nil)
        desk.released()
        #expect(desk.next()?.count == 1)
    }

    @Test func `renewals keep nobody from a first token`() throws {
        let names = (0..<200).map { "kept\($0)" }
        for part in stride(from: 0, to: 200, by: 100) {
            _ = try find(Array(names[part..<part + 100]))
            answer(try #require(desk.next()))
        }
        _ = try find(names, after: 200)
        _ = try find(["first"], uid: 2, after: 200)
        let asked = try #require(desk.next())
        #expect(asked.count == TokenDesk.tokensPerCallMax)
        // Within what the server signs for a node in a second.
        #expect(asked.prefix(20).contains { $0.uid == 2 })
    }

    @Test func `who holds a token of one identity is not refused for others`() throws {
        _ = try find(["held"])
        answer(try #require(desk.next()))
        desk.leave(uid: 1)
        for number in 0..<TokenDesk.waitingPerUserMax { _ = try find(["wait\(number)"]) }
        let found = try find(["held", "more"])
        #expect(found.tokens.count == 1 && found.flights.isEmpty)
        #expect(throws: APIError.self) { try find(["more"]) }
    }

    @Test func `who is gone waits no more`() async throws {
        let flight = try #require(try find(["api"]).flights.first)
        let waiting = Task { await flight.value() }
        waiting.cancel()
        #expect(await waiting.value == nil)
        answer(try #require(desk.next()))
        #expect(try await #require(flight.value()).get().token == "api")
    }
}
