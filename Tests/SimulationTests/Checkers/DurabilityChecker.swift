// SPDX-License-Identifier: Apache-2.0

import Datastore
import FoundationEssentials
import NodeSync
import SPIFFE

/// Everything the server said is done is in its database, whatever happened since.
struct DurabilityChecker {
    /// Steps between two looks while nothing crashes.
    private static let interval = 1500

    private weak var process: ServerProcess?
    private var nextAt = 0

    mutating func check(_ world: World) throws {
        guard let running = world.server.running, world.server.servesSince != nil else { return }
        let steps = world.scheduler.stepCount
        guard running !== process || steps >= nextAt else { return }
        process = running
        nextAt = steps + Self.interval
        try compare(running.datastore, world)
    }

    func compare(_ datastore: ServerStore, _ world: World) throws {
        try datastore.readNow { transaction in
            try compareDocuments(transaction, world)
            try compareNodes(transaction, world)
            try compareTrust(transaction, world)
            for fact in world.ledger.issuedInOrder.suffix(50)
            where fact.notAfter > world.latestWall {
                let intent = try transaction.intent(serial: fact.serial)
                try require(
                    intent?.tbsSHA256 == fact.tbsSHA256,
                    "the intent of an SVID of \(fact.spiffeID) is missing",
                    world
                )
            }
        }
    }

    private func require(_ condition: Bool, _ what: String, _ world: World) throws {
        guard condition else { throw world.violation(.durability, what) }
    }

    private func compareDocuments(_ transaction: ReadTransaction, _ world: World) throws {
        let ledger = world.ledger
        let number = try transaction.revision().number
        try require(number == ledger.number, "revision \(ledger.number) is now \(number)", world)
        let documents = try transaction.documents(DocumentFilter(), after: nil, limit: 10_000)
        let found = Dictionary(
            uniqueKeysWithValues: documents.map { ($0.uid, $0.resourceVersion) }
        )
        let expected = ledger.current.entries.mapValues(\.revision)
            .merging(ledger.documents) { $1 }
        try require(found == expected, "documents are \(found) and not \(expected)", world)
        for (uid, fact) in ledger.current.entries {
            let entry = try transaction.entry(id: uid)
            try require(
                entry?.revision == fact.revision
                    && Set(entry?.nodeSelectors.map(\.description) ?? []) == fact.nodeSelectors,
                "entry \(fact.name) is not as it was written",
                world
            )
        }
    }

    private func compareNodes(_ transaction: ReadTransaction, _ world: World) throws {
        let ledger = world.ledger
        let nodes = try transaction.nodes(after: "", limit: 1000)
        try require(
            Set(nodes.map(\.name)) == Set(ledger.nodes.keys),
            "the nodes are \(nodes.map(\.name)) and not \(ledger.nodes.keys.sorted())",
            world
        )
        for node in nodes {
            let fact = ledger.nodes[node.name]
            try require(
                fact?.isBanned == (node.ban != nil),
                "the ban of \(node.name) is wrong",
                world
            )
            try require(
                fact?.keySHA256 == node.keySPKISHA256,
                "the key of \(node.name) is wrong",
                world
            )
        }
        for (hash, fact) in ledger.tokens {
            let state: Ledger.TokenFact.State =
                switch try transaction.joinToken(hash: hash) {
                case nil: .withdrawn
                case let token?: token.usedAt == nil ? .unused : .used
                }
            try require(
                state == fact.state,
                "a token of \(fact.name) is \(state) and not \(fact.state)",
                world
            )
        }
    }

    private func compareTrust(_ transaction: ReadTransaction, _ world: World) throws {
        let ledger = world.ledger
        let authorities = Set(try transaction.bundleAuthorities().map(\.id))
        try require(
            authorities == ledger.current.authorities,
            "the authorities are \(authorities)",
            world
        )
        for record in try transaction.federatedBundles() {
            let fact = PartnerFact(record, at: .zero)
            try require(
                fact.authorities == ledger.current.partners[record.trustDomain] ?? [],
                "what is believed of \(record.trustDomain) is another",
                world
            )
        }
        // A tainted one is tainted or, after its last SVID, revoked; it is never forgotten here.
        let distrusted = Set(try transaction.distrustedAuthorities().map(\.id))
        try require(
            distrusted == Set(ledger.tainted.keys).union(ledger.revokedAuthorities.keys),
            "distrusted are \(distrusted)",
            world
        )
        for authorityID in authorities {
            let list = try transaction.revocationList(of: authorityID)
            try require(
                list?.der == ledger.list(of: authorityID)?.der,
                "the revocation list of authority \(authorityID.prefix(8)) is another",
                world
            )
        }
    }
}
