// SPDX-License-Identifier: Apache-2.0

import CAServer
import Clocks
import ControlAPI
import ControlAPIProtos
import Datastore
import FoundationEssentials
import SwiftProtobuf
import TestBridge
import Testing

/// Authorities of servers below after a clock that was ahead, and after a restart (record 0020,
/// "Nested").
@Suite(.timeLimit(.minutes(2)))
struct DownstreamClockTests {
    private func accept(
        _ nested: Downstream,
        rehearse: Bool = false,
        now: Bool
    ) async throws -> Signet_Admin_V1alpha1_AcceptClockResponse {
        try await nested.server.administration.acceptClock(
            .with { ($0.rehearse, $0.now) = (rehearse, now) }
        )
    }

    @Test func `whoever accepts a clock that ends one has to say that it is now`() async throws {
        try await withDownstream { nested in
            let first = try Downstream.keyID(try await nested.certify())
            nested.clock.pass(.seconds(1_200))
            let ahead = try Downstream.keyID(try await nested.certify())
            nested.clock.stepWall(by: -900)
            let early = await refusal { try await accept(nested, now: false) }
            #expect(early?.reason == "clockInDoubt", "\(early?.message ?? "")")
            #expect(early?.message.contains("1 authorit(ies) of servers below") == true)
            let rehearsed = try await accept(nested, rehearse: true, now: false)
            #expect(rehearsed.objections.count == 1 && rehearsed.authorities == [ahead])
            #expect(try await nested.server.downstreamState(ahead) == "certified")

            let done = try await accept(nested, now: true)
            #expect(done.authorities == [ahead])
            #expect(try await nested.server.downstreamState(ahead) == "revoked")
            #expect(try await nested.server.downstreamState(first) == "certified")
            let leaves = try await nested.server.records("downstreamAuthorityRevoked")
            #expect(leaves.count == 1 && leaves[0].contains("\"cause\":\"clock\""))
            let accepted = try await nested.server.records("clockAccepted")
            #expect(accepted.count == 1 && accepted[0].contains("\"authorities\":1"))
        }
    }

    @Test func `records that a clock which was ahead let go come back, revoked ones revoked`()
        async throws
    {
        try await withDownstream { nested in
            let plain = try Downstream.keyID(try await nested.certify())
            nested.pass()
            let stolen = try Downstream.keyID(try await nested.certify())
            _ = try await nested.server.revokeAuthority(stolen)
            nested.clock.pass(.seconds(1_200))
            let ahead = try Downstream.keyID(try await nested.certify())
            let (core, logic) = (nested.server.core, nested.server.core.logic)
            let later = nested.clock.wallTime + 9 * 86_400
            _ = try await core.write { try logic.forgetDownstream(now: later, in: $0) }
            #expect(try await core.read { try $0.downstreamAuthorities().isEmpty })

            nested.clock.stepWall(by: -900)
            _ = try await accept(nested, now: true)
            #expect(try await nested.server.downstreamState(plain) == "certified")
            #expect(try await nested.server.downstreamState(stolen) == "revoked")
            #expect(try await nested.server.downstreamState(ahead) == "revoked")
            // It can be ended again.
            _ = try await nested.server.revokeAuthority(plain)
            #expect(try await nested.server.downstreamState(plain) == "revoked")
        }
    }

    @Test func `nothing is certified before the upstream has said what is revoked`() async throws {
        let world = try BridgedServer()
        try await world.bridging {
            let (agent, entry) = try await world.serving { server in
                let agent = try await server.agent("ca-1", selectors: ["role:ca"])
                return (agent, try await server.apply(Downstream.entry("ca-east")).changes[0].uid)
            }
            world.bridge.fail(.refusesWatch)
            try await world.serving { server in
                let before = world.bridge.certified
                let refused = await refusal {
                    try await server.certify(Downstream.request(), entry: entry, as: agent)
                }
                #expect(refused?.reason == "upstream", "\(refused?.message ?? "")")
                #expect(refused?.message.contains("has not said yet") == true)
                #expect(world.bridge.certified == before)

                world.bridge.fail(.none)
                let csr = try Downstream.request()
                try await world.eventuallyRetried("it is certified") {
                    let wrong = await refusal {
                        try await server.certify(csr, entry: entry, as: agent)
                    }
                    return wrong == nil
                }
            }
        }
    }
}
