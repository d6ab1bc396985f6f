// SPDX-License-Identifier: Apache-2.0

import AuditLog
import CAServer
import Crypto
import Datastore
import FoundationEssentials
import NodeAgent
import SPIFFE

/// Every issued serial is in exactly one leaf, the tree only grows, and what is published or
/// remembered of it anywhere is a state that it had.
struct AuditChecker {
    private var leafCount: UInt64 = 0
    private var frontier = MerkleFrontier()
    private var roots: [UInt64: MerkleHash] = [0: .emptyRoot]
    private var tbsBySerial: [[UInt8]: [UInt8]] = [:]
    private var issuedSeen = 0
    private var commitsSeen = 0
    private weak var process: ServerProcess?

    mutating func check(_ world: World) throws {
        if let running = world.server.running {
            if running !== process {
                try reread(running, world)
                process = running
                commitsSeen = -1
            }
            if running.commitCount != commitsSeen {
                commitsSeen = running.commitCount
                try readNew(running, world)
            }
            if let published = running.audit.checkpoint?.checkpoint {
                try require(
                    roots[published.size] == published.root,
                    world,
                    "the checkpoint of \(published.size) leaves is not that of the leaves"
                )
            }
            // Without a process nobody can read what it committed last; the next one can.
            try checkIssued(world)
        }
        for agent in world.agents {
            try require(
                agent.alarms.isEmpty,
                world,
                "\(agent.name) raised the alarm: \(agent.alarms)"
            )
            guard let mark = agent.process?.logic.audit.mark else { continue }
            try require(
                roots[mark.size] == mark.root,
                world,
                "\(agent.name) remembers a tree of \(mark.size) leaves that never was"
            )
        }
    }

    /// After a crash every leaf is what it was.
    private mutating func reread(_ process: ServerProcess, _ world: World) throws {
        var tree = MerkleFrontier()
        let leaves = try process.datastore.readNow { try $0.leaves(from: 0, limit: 1_000_000) }
        for leaf in leaves.prefix(Int(leafCount)) { tree.append(MerkleHash(leaf: leaf.bytes)) }
        try require(
            tree == frontier,
            world,
            "after a restart the first \(leafCount) leaves differ"
        )
    }

    private mutating func readNew(_ process: ServerProcess, _ world: World) throws {
        let first = leafCount
        let leaves = try process.datastore.readNow { try $0.leaves(from: first, limit: 1_000_000) }
        for leaf in leaves {
            try require(leaf.index == leafCount, world, "leaf \(leaf.index) follows a gap")
            frontier.append(MerkleHash(leaf: leaf.bytes))
            leafCount += 1
            roots[leafCount] = frontier.root
            guard case .svidsIssued(let issuance) = try AuditRecord(parsing: leaf.bytes).event
            else {
                continue
            }
            for svid in issuance.svids {
                try require(
                    tbsBySerial.updateValue(svid.tbsSHA256, forKey: svid.serial) == nil,
                    world,
                    "a serial of \(svid.spiffeID) is in two leaves"
                )
            }
        }
    }

    private mutating func checkIssued(_ world: World) throws {
        for fact in world.ledger.issuedInOrder[issuedSeen...] {
            issuedSeen += 1
            guard let logged = tbsBySerial[fact.serial] else {
                throw world.violation(.audit, "an SVID of \(fact.spiffeID) is in no leaf")
            }
            let leaf = try LeafCertificate(der: fact.der)
            try require(
                Array(SHA256.hash(data: leaf.tbsBytes)) == logged,
                world,
                "the leaf of an SVID of \(fact.spiffeID) tells of another certificate"
            )
        }
    }

    /// The files as they are at the end, walked like `signet audit verify` does.
    func checkFiles(_ world: World) throws {
        guard let process = world.server.running else { return }
        let directory = world.server.auditDirectory
        let remembered = world.agents.compactMap { $0.process?.logic.audit.mark }.map {
            Checkpoint(origin: process.audit.key.name, size: $0.size, root: $0.root)
        }
        var count: UInt64 = 0
        let verifier = AuditVerifier(key: process.audit.key, remembered: remembered) { path in
            Array(try Data(contentsOf: URL(filePath: "\(directory)/\(path)")))
        }
        let verdict = verifier.verify { _, _ in count += 1 }
        guard case .intact(let log) = verdict else {
            throw world.violation(.audit, "the files of the log are \(verdict)")
        }
        try require(
            log.checkpoint.checkpoint.size == count,
            world,
            "the walk found \(count) leaves"
        )
    }

    private func require(_ condition: Bool, _ world: World, _ what: String) throws {
        guard condition else { throw world.violation(.audit, what) }
    }
}
