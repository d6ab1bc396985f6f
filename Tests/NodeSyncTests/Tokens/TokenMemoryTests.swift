// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import NodeSync
import SPIFFE
import Testing

/// What an agent keeps of JWT-SVIDs (docs/decisions/0017-jwt-keys-and-services.md).
struct TokenMemoryTests {
    private static let now = Date(timeIntervalSince1970: 1_800_000_000)

    private func key(_ audience: String = "api", revision: UInt64 = 1) throws -> TokenKey {
        TokenKey(
            entryID: "e",
            entryRevision: revision,
            spiffeID: try SPIFFEID("spiffe://example.org/web"),
            audiences: try TokenAudiences([audience])
        )
    }

    private func token(_ name: String = "t", life: TimeInterval = 300) -> KeptToken {
        KeptToken(
            token: name,
            issuedAt: Self.now,
            notAfter: Self.now.addingTimeInterval(life),
            keyID: "k",
            receivedAt: .seconds(1_000)
        )
    }

    private func answer(
        _ memory: inout TokenMemory,
        _ key: TokenKey,
        after seconds: TimeInterval,
        clockOff: TimeInterval = 0,
        _ standing: TokenMemory.Standing = .good
    ) -> TokenMemory.Answer {
        memory.answer(
            for: key,
            now: Self.now.addingTimeInterval(seconds + clockOff),
            boot: .seconds(1_000 + seconds)
        ) { _, _ in standing }
    }

    @Test func `a token is the answer until 10 s before its end, and fresh until half its life`()
        throws
    {
        var memory = TokenMemory()
        let (key, token) = (try key(), token())
        #expect(answer(&memory, key, after: 0) == .none)
        memory.keep(token, for: key, uid: 1)
        #expect(answer(&memory, key, after: 149) == .token(token, isFresh: true))
        #expect(answer(&memory, key, after: 151) == .token(token, isFresh: false))
        #expect(answer(&memory, key, after: 289) == .token(token, isFresh: false))
        #expect(answer(&memory, key, after: 290) == .none)
        // It is gone for good, whatever the clock says next.
        #expect(answer(&memory, key, after: 0) == .none)
    }

    @Test func `how young a token is does not depend on the wall clock`() throws {
        var memory = TokenMemory()
        let (key, token) = (try key(), token())
        memory.keep(token, for: key, uid: 1)
        #expect(
            answer(&memory, key, after: 100, clockOff: -3600) == .token(token, isFresh: true)
        )
        #expect(
            answer(&memory, key, after: 200, clockOff: -3600) == .token(token, isFresh: false)
        )
    }

    @Test func `what counts no more is not given, and what is tainted is renewed beside`() throws {
        var memory = TokenMemory()
        let (key, token) = (try key(), token())
        memory.keep(token, for: key, uid: 1)
        #expect(answer(&memory, key, after: 1, .tainted) == .token(token, isFresh: false))
        #expect(answer(&memory, key, after: 1, .withheld) == .none)
        #expect(memory.count == 0)
    }

    @Test func `another audience or revision of the entry is another token`() throws {
        var memory = TokenMemory()
        memory.keep(token(), for: try key(), uid: 1)
        #expect(answer(&memory, try key("db"), after: 1) == .none)
        #expect(answer(&memory, try key(revision: 2), after: 1) == .none)
        #expect(answer(&memory, try key(), after: 1) != .none)
    }

    @Test func `one user takes no place of another, and the longest unused goes first`() throws {
        var memory = TokenMemory()
        memory.keep(token("theirs"), for: try key("theirs"), uid: 2)
        for number in 0..<TokenMemory.perUserMax {
            memory.keep(token("\(number)"), for: try key("a\(number)"), uid: 1)
        }
        // The first is used, so that the second is the oldest.
        #expect(answer(&memory, try key("a0"), after: 1) != .none)
        memory.keep(token("more"), for: try key("more"), uid: 1)
        #expect(memory.count == TokenMemory.perUserMax + 1)
        #expect(answer(&memory, try key("a0"), after: 1) != .none)
        #expect(answer(&memory, try key("a1"), after: 1) == .none)
        #expect(answer(&memory, try key("theirs"), after: 1) != .none)
    }

    @Test func `no more are kept than there is room for`() throws {
        var memory = TokenMemory()
        for number in 0...TokenMemory.countMax {
            // The first has twice as many as any other user, and makes room.
            memory.keep(token(), for: try key("a\(number)"), uid: UInt32(max(1, number / 100)))
        }
        #expect(memory.count == TokenMemory.countMax)
        #expect(answer(&memory, try key("a0"), after: 1) == .none)
        memory.expire(now: Self.now.addingTimeInterval(301))
        #expect(memory.count == 0)
    }

    @Test func `no description shows a token`() throws {
        let token = token("secret")
        #expect(!"\(token)\(String(reflecting: token))".contains("secret"))
    }
}
