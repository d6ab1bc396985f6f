// SPDX-License-Identifier: Apache-2.0

import Authorization
import CAServer
import ControlAPI
import Datastore
import SPIFFE
import Testing

/// The content of a proposal, whose hash is what others approve.
struct ProposedActTests {
    private static let key = DocumentKey(
        group: "core.signet",
        kind: "Role",
        namespace: "signet-system",
        name: "viewer"
    )

    @Test func `the content of documents is canonical JSON with versions, and is read back`() throws
    {
        let act = ProposedAct.documents([
            ProposedChange(
                key: Self.key,
                version: 0,
                canonicalJSON: Array(#"{"kind":"Role"}"#.utf8)
            ),
            ProposedChange(key: Self.key, version: 7, canonicalJSON: nil),
        ])
        let text = #"""
            {"act":"documents","changes":[{"document":"{\"kind\":\"Role\"}","group":"core.signet","kind":"Role","name":"viewer","namespace":"signet-system","version":0},{"group":"core.signet","kind":"Role","name":"viewer","namespace":"signet-system","version":7}],"v":1}
            """#
        #expect(String(decoding: act.content, as: UTF8.self) == text)
        #expect(try ProposedAct(content: act.content) == act)
        let topic = ProposalTopic(
            act: "documents",
            changeCount: 2,
            rights: ["apply Role", "delete Role"]
        )
        #expect(try act.topic() == topic)
    }

    @Test func `the content of each other act is read back, and tells all of it`() throws {
        let hash = [UInt8](repeating: 0xAB, count: 32)
        let order = JoinTokenOrder(
            hash: hash,
            name: "web-1",
            selectors: [try Selector("role:web"), try Selector("role:api")],
            ttlSeconds: 600
        )
        let token = ProposedAct.token(ProposedToken(order, pins: [hash]))
        let unban = ProposedAct.unban(node: "web-1", reason: "found \"it\"\n")
        let steps: [AdminVerb] = [.authorityActivate, .authorityRevoke, .authorityTaint]
        let acts = steps.map { verb in
            ProposedAct.authority(
                ProposedStep(verb, of: "cd", in: "old", reason: "lost", isNow: true)
            )
        }
        for act in acts + [token, unban] {
            #expect(try ProposedAct(content: act.content) == act)
            #expect(try act.topic().changeCount == 1)
        }
        let text =
            #"{"act":"authority.revoke","authority":"cd","now":1,"reason":"lost","state":"old","v":1}"#
        #expect(String(decoding: acts[1].content, as: UTF8.self) == text)
        #expect(Set((acts + [token, unban]).map(\.name)).count == 5)
        // By these a ban finds what would let its node in.
        for (act, right) in [(token, "token.create"), (unban, "node.ban")] {
            let topic = ProposalTopic(act: act.name, subject: "web-1", rights: [right])
            #expect(try act.topic() == topic)
        }
    }

    @Test(arguments: [
        "", "{}", #"{"act":"documents","changes":[]}"#, #"{"act":"other","v":1}"#,
        #"{"act":"documents","changes":[],"v":2}"#, #"{"act":"documents","changes":[{}],"v":1}"#,
        #"{"act":"documents","changes":[],"more":1,"v":1}"#,
        #"{"act":"authority.prepare","authority":"cd","now":0,"reason":"","state":"old","v":1}"#,
        #"{"act":"authority.revoke","authority":"cd","now":2,"reason":"","state":"old","v":1}"#,
        #"{"act":"unban","node":"web-1","v":1}"#,
        #"{"act":"token","name":"a","pins":["zz"],"secretSHA256":"","selectors":[],"ttlSeconds":1,"v":1}"#,
        #"{"act":"documents","changes":[{"group":"g","kind":"k","name":"n","namespace":"","version":-1}],"v":1}"#,
    ])
    func `what another release has stored is refused whole`(content: String) {
        let error = #expect(throws: APIError.self) {
            try ProposedAct(content: Array(content.utf8))
        }
        #expect(error?.reason == "proposalUnreadable")
    }
}
