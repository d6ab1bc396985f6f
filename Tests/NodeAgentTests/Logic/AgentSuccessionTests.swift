// SPDX-License-Identifier: Apache-2.0

import AuditLog
import ControlAPI
import Crypto
import FoundationEssentials
import NodeAgent
import NodeSync
import SPIFFE
import TestPKI
import Testing

/// An agent goes over to the log that a restore began
/// (docs/decisions/0022-backup-and-restore.md, "Agents").
@Suite struct AgentSuccessionTests {
    private let world: AgentWorld
    private let signer = Curve25519.Signing.PrivateKey()
    private let newKey: NoteVerifierKey

    init() throws {
        world = try AgentWorld()
        newKey = try NoteVerifierKey(
            name: "example.org/audit/one/0202",
            publicKey: Array(signer.publicKey.rawRepresentation)
        )
    }

    private func succession(size: UInt64, root: MerkleHash) throws -> ReceivedSuccession {
        let end = Checkpoint(origin: "example.org/audit/one", size: size, root: root)
        let succession = try LogSuccession(of: end, by: try world.noteKey, to: newKey) {
            Array(try world.auditKey.signature(for: $0))
        }
        return ReceivedSuccession(note: succession.note, path: [])
    }

    private func note(size: UInt64, root: MerkleHash) throws -> [UInt8] {
        try SignedCheckpoint(
            signing: Checkpoint(origin: newKey.name, size: size, root: root),
            key: newKey
        ) { Array(try signer.signature(for: $0)) }.note
    }

    private func told(
        _ note: [UInt8],
        _ successions: [ReceivedSuccession],
        asked: CheckpointMark?,
        _ agent: inout LogicDriver
    ) -> [AgentLogic.Action] {
        agent.tell {
            $0.checkpointReceived(
                note: note,
                path: [],
                successions: successions,
                asked: asked,
                now: $1,
                using: &$2
            )
        }
    }

    @Test func `it follows, remembers the new log, and is ready`() throws {
        var agent = LogicDriver(world, try world.stored())
        _ = try agent.join([])
        let one = MerkleHash(leaf: [1])
        _ = agent.checkpoint(try world.note(size: 1, root: one), [], nil)
        let mark = agent.logic.audit.mark
        let new = try note(size: 1, root: MerkleHash(leaf: [7]))
        let actions = told(new, [try succession(size: 1, root: one)], asked: mark, &agent)
        guard case .followLog(let following) = actions.first else {
            Issue.record("\(actions)")
            return
        }
        #expect(following.isProved && following.succession.newKey == newKey)
        #expect(
            Array(actions.dropFirst()) == [
                .report(.logFollowed(following)), .rememberCheckpoint(note: new),
            ]
        )
        #expect(agent.logic.audit.key == newKey)
        #expect(agent.logic.audit.mark?.origin == newKey.name)
        #expect(agent.conditions[.audit] == .some(nil))
        // An answer to what was asked of the former log says nothing.
        #expect(told(new, [], asked: mark, &agent).isEmpty)
        // Nor does the former machine, which does not know the log that is named: no lasting alarm.
        let former = try world.note(size: 3, root: MerkleHash(leaf: [3]))
        let now = agent.logic.audit.mark
        let formerKey = try world.noteKey
        let answer = told(former, [], asked: now, &agent)
        #expect(answer == [.report(.formerLog(formerKey))])
        #expect(agent.logic.audit.mark == now && agent.logic.audit.alarm == nil)
        #expect(agent.conditions[.audit] == .some(nil))
    }

    @Test func `records that it saw and that are not there are a loss, and no lasting alarm`()
        throws
    {
        var agent = LogicDriver(world, try world.stored())
        _ = try agent.join([])
        let (one, two) = (MerkleHash(leaf: [1]), MerkleHash(leaf: [2]))
        let seen = try world.note(size: 2, root: MerkleHash(left: one, right: two))
        _ = agent.checkpoint(seen, [], nil)
        let mark = agent.logic.audit.mark
        let new = try note(size: 1, root: MerkleHash(leaf: [7]))
        let actions = told(new, [try succession(size: 1, root: one)], asked: mark, &agent)
        guard case .followLog(let following) = actions.first else {
            Issue.record("\(actions)")
            return
        }
        #expect(!following.isProved && following.last?.note == seen)
        #expect(following.succession.former.size == 1)
        #expect(agent.conditions[.audit] == .some(nil))
    }

    @Test func `a new log that the former key has not signed is the lasting alarm`() throws {
        var agent = LogicDriver(world, try world.stored())
        _ = try agent.join([])
        _ = agent.checkpoint(try world.note(size: 1, root: MerkleHash(leaf: [1])), [], nil)
        let mark = agent.logic.audit.mark
        let forged = ReceivedSuccession(
            note: try succession(size: 1, root: MerkleHash(leaf: [1])).note.map {
                $0 == UInt8(ascii: "1") ? UInt8(ascii: "2") : $0
            },
            path: []
        )
        let new = try note(size: 1, root: MerkleHash(leaf: [7]))
        let actions = told(new, [forged], asked: mark, &agent)
        guard case .recordAuditAlarm(_, let evidence) = actions.first else {
            Issue.record("\(actions)")
            return
        }
        #expect(evidence == new)
        #expect(agent.logic.audit.key == (try world.noteKey))
        #expect(agent.conditions[.audit] != .some(nil))
    }
}
