// SPDX-License-Identifier: Apache-2.0

import ControlAPI
import GRPCCore
import MTLSProxy
import NodeSync
import Testing

/// What the log says of a stream that ended.
struct StreamEndTests {
    private static func said(_ kind: APIError.Kind, _ rule: String) -> StreamEnd {
        StreamEnd(RPCError(APIError(kind, rule, "why")))
    }

    @Test(arguments: [
        ("proxyGone", StreamEnd.Kind.withdrawn), ("noProxy", .withdrawn),
        ("selectorsChanged", .withdrawn), ("alreadyServed", .refused), ("notAttested", .refused),
        ("severalProxies", .refused), ("unanswered", .ended), ("tooManyStreams", .ended),
        ("notSynced", .ended),
    ])
    func `what an agent says, it says because it is there`(rule: String, kind: StreamEnd.Kind) {
        let end = Self.said(.permissionDenied, rule)
        #expect(end.kind == kind)
        #expect(end.reason == "why [\(rule)]")
        #expect(end.headline != "the agent is away")
    }

    @Test func `only what no agent has said means that it is away`() {
        let broken = StreamEnd(RPCError(code: .unavailable, message: "connection refused"))
        #expect(broken.kind == .away)
        #expect(broken.headline == "the agent is away")
        struct Other: Error {}
        #expect(StreamEnd(Other()).kind == .away)
        #expect(StreamEnd.byAgent.kind == .ended)
        #expect(StreamEnd.byAgent.headline == "the agent has ended the stream")
    }

    @Test func `what cannot be read is no silence`() {
        #expect(StreamEnd(WireError.missing("message")).kind == .unreadable)
        let end = StreamEnd(ConfigurationGate.Violation.stateBeforeTrust)
        #expect(end.kind == .unreadable)
        #expect(end.reason == "a state came before trust")
    }
}
