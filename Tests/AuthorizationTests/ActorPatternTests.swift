// SPDX-License-Identifier: Apache-2.0

import Authorization
import SPIFFE
import Testing

struct ActorPatternTests {
    @Test(arguments: [
        "uid:0", "uid:4294967295", "uid:1000@server-1.example", "spiffe://example.org/ops/alice",
    ])
    func `a subject reads back as it was written`(text: String) throws {
        #expect(try ActorPattern(text).description == text)
    }

    @Test(arguments: [
        ("", ActorPatternError.kindUnknown),
        ("alice", .kindUnknown),
        ("person:https://idp#alice", .kindUnknown),
        ("system:rotation", .kindUnknown),
        ("uid:", .uidMalformed),
        ("uid:+0", .uidMalformed),
        ("uid:00", .uidMalformed),
        ("uid:4294967296", .uidMalformed),
        ("uid:0@", .hostMalformed),
        ("uid:0@a@b", .hostMalformed),
        ("spiffe://example.org", .trustDomainItself),
        ("spiffe://example.org/signet/agent/web-1", .reserved),
        ("spiffe://example.org/ops/*", .spiffeID(.pathCharacter(0x2A))),
    ])
    func `a malformed subject is refused for its reason`(
        text: String,
        error: ActorPatternError
    ) {
        #expect(throws: error) { try ActorPattern(text) }
    }

    @Test func `a uid without host is that user on any server`() throws {
        let anywhere = try ActorPattern("uid:7")
        let here = try ActorPattern("uid:7@a")
        #expect(anywhere.matches(.localUser(uid: 7, host: "b")))
        #expect(!anywhere.matches(.localUser(uid: 8, host: "b")))
        #expect(here.matches(.localUser(uid: 7, host: "a")))
        #expect(!here.matches(.localUser(uid: 7, host: "b")))
        #expect(!anywhere.matches(.system("rotation")))
    }
}
