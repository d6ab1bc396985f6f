// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import SPIFFE
import TestPKI
import Testing

/// Who may stand in a chain, and what its hops are (docs/decisions/0024-token-exchange.md).
@Suite struct DelegationChainTests {
    static func id(_ path: String, in trustDomain: String = "example.org") throws -> SPIFFEID {
        try SPIFFEID("spiffe://\(trustDomain)/\(path)")
    }

    /// The chain of `path[0]` through the others.
    static func chain(_ paths: String...) throws -> DelegationChain {
        var chain = try DelegationChain(subject: id(paths[0]))
        for path in paths.dropFirst() { chain = try chain.appending(id(path)) }
        return chain
    }

    private static func refusal(
        of id: SPIFFEID,
        in chain: DelegationChain
    ) -> DelegationChainError? {
        do throws(DelegationChainError) {
            _ = try chain.appending(id)
            return nil
        } catch {
            return error
        }
    }

    @Test func `a chain names everybody once`() throws {
        let chain = try Self.chain("a", "b", "c")
        for path in ["a", "b", "c"] {
            #expect(Self.refusal(of: try Self.id(path), in: chain) == .actorRepeated)
        }
        // Case counts, as in every path.
        #expect(try chain.appending(Self.id("A")).actors.count == 3)
        #expect(Self.refusal(of: try Self.id("a"), in: try Self.chain("a")) == .actorRepeated)
    }

    @Test func `a chain has at most four actors`() throws {
        let chain = try Self.chain("a", "b", "c", "d", "e")
        #expect(chain.actors.count == DelegationChain.actorsMax)
        #expect(Self.refusal(of: try Self.id("f"), in: chain) == .tooManyActors)
    }

    @Test func `a chain stays in one trust domain, among workloads`() throws {
        let chain = try Self.chain("a")
        let foreign = try Self.id("b", in: "other.example")
        #expect(Self.refusal(of: foreign, in: chain) == .trustDomainDiffers)
        #expect(Self.refusal(of: chain.trustDomain.id, in: chain) == .idWithoutPath)
        for path in ["signet", "signet/agent/n", "signet/server/s"] {
            let id = try Self.id(path)
            #expect(Self.refusal(of: id, in: chain) == .idReserved)
            #expect(throws: DelegationChainError.idReserved) { try DelegationChain(subject: id) }
        }
        #expect(try chain.appending(Self.id("signets")).actor == Self.id("signets"))
        #expect(throws: DelegationChainError.idWithoutPath) {
            try DelegationChain(subject: chain.trustDomain.id)
        }
    }

    @Test func `all IDs that are written have 2 KiB together`() throws {
        // `delegated:example.org/` and `spiffe://example.org/`, the actor's ID twice.
        let room = DelegationChain.bytesMax - 22 - 2 * 21
        let actor = String(repeating: "b", count: 200)
        let most = String(repeating: "a", count: room - 2 * 200)
        #expect(try Self.chain(most, actor).actors.count == 1)
        let chain = try Self.chain(most + "a")
        #expect(Self.refusal(of: try Self.id(actor), in: chain) == .tooLong)
        let longest = try Self.id(
            String(repeating: "a", count: SPIFFEID.bytesMax - "spiffe://example.org/".utf8.count)
        )
        #expect(throws: DelegationChainError.tooLong) { try DelegationChain(subject: longest) }
    }

    @Test func `the first actor is the innermost, and the client is the last`() throws {
        func text(_ chain: DelegationChain) -> String {
            String(decoding: JSONValue.object(chain.claims).encoded, as: UTF8.self)
        }
        #expect(text(try Self.chain("a")) == #"{"sub":"delegated:example.org/a"}"#)
        #expect(
            text(try Self.chain("a", "b", "c")) == """
                {"act":{"act":{"sub":"spiffe://example.org/b"},"sub":"spiffe://example.org/c"},\
                "client_id":"spiffe://example.org/c","sub":"delegated:example.org/a"}
                """
        )
    }

    @Test func `each hop before the last went to the next actor by its ID`() throws {
        func hop(_ actor: String, _ audience: String) throws -> DelegationHop {
            DelegationHop(subject: try Self.id("a"), actor: try Self.id(actor), audience: audience)
        }
        #expect(try Self.chain("a").hops(to: "x").isEmpty)
        #expect(try Self.chain("a", "b").hops(to: "x") == [hop("b", "x")])
        #expect(
            try Self.chain("a", "b", "c", "d").hops(to: "x") == [
                hop("b", "spiffe://example.org/c"), hop("c", "spiffe://example.org/d"),
                hop("d", "x"),
            ]
        )
    }

    @Test func `a policy permits every combination and nothing else`() throws {
        let policy = DelegationPolicy(
            id: "1",
            namespace: "n",
            name: "p",
            version: 1,
            subjects: [try Self.id("a"), try Self.id("b")],
            actors: [try Self.id("b"), try Self.id("c")],
            audiences: ["x", "caf\u{e9}"]
        )
        var permitted: [String] = []
        for subject in ["a", "b", "c"] {
            for actor in ["a", "b", "c"] {
                for audience in ["x", "X", "x/", "caf\u{e9}", "cafe\u{301}"] {
                    let hop = DelegationHop(
                        subject: try Self.id(subject),
                        actor: try Self.id(actor),
                        audience: audience
                    )
                    if policy.names(hop) { permitted.append(subject + actor) }
                }
            }
        }
        // Two audiences each: texts that Unicode calls equal are two.
        #expect(permitted == ["ab", "ab", "ac", "ac", "bb", "bb", "bc", "bc"])
    }
}
