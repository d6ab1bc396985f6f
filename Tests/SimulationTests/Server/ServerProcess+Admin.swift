// SPDX-License-Identifier: Apache-2.0

import Authorization
import CAServer
import ControlAPI
import Datastore
import FoundationEssentials
import NodeSync
import PolicyDocuments
import SPIFFE
import TestSeeds

/// An entry that the admin wants.
struct EntryPlan: Hashable, Sendable {
    let name: String
    let spiffeID: String
    let nodeSelectors: Set<String>
    let workloadSelectors: Set<String>
    let ttlSeconds: Int
    let expires: Date?
    var federatesWith: [TrustDomain] = []

    /// The document, as a person would write it.
    var text: String {
        func list(_ values: Set<String>) -> String {
            "[" + values.sorted().map { "\"\($0)\"" }.joined(separator: ", ") + "]"
        }
        let end = expires.map { ", expires: \"\($0.ISO8601Format())\"" } ?? ""
        let names = list(Set(federatesWith.map(\.name)))
        let others = federatesWith.isEmpty ? "" : "\n  federatesWith: \(names)"
        return """
            apiVersion: core.signet/v1alpha1
            kind: RegistrationEntry
            metadata: {name: \(name)\(end)}
            spec:
              spiffeID: "\(spiffeID)"
              nodeSelectors: \(list(nodeSelectors))
              workloadSelectors: \(list(workloadSelectors))
              x509SVIDTTL: \(ttlSeconds)s\(others)
            """
    }

    static func key(_ name: String) -> DocumentKey {
        DocumentKey(
            group: DocumentKey.nativeGroup,
            kind: DocumentKind.registrationEntry.rawValue,
            namespace: "default",
            name: name
        )
    }
}

/// What `DocumentsService` and `AdministrationService` do for the admin at the server's socket.
extension ServerProcess {
    /// Applies entries, and documents of other kinds as their texts.
    func apply(
        _ plans: [EntryPlan],
        and others: [String] = [],
        deleting names: [String] = []
    ) throws {
        var order = DocumentOrder()
        for plan in plans {
            order.documents += try Document.parse(Array(plan.text.utf8), file: plan.name)
        }
        for text in others {
            order.documents += try Document.parse(Array(text.utf8), file: "others")
        }
        order.deletions = names.map(EntryPlan.key)
        let carried = order
        let (logic, now, seed) = (logic, clock.wallTime, random.next())
        try write(isDroppable: true, claiming: { note($0, plans) }) { transaction in
            var generator = SeededGenerator(seed: seed)
            let access = try AdminAccess(stored: transaction, admins: Self.admins)
            let standing = AdminStanding(actor: Self.admin, access: access, now: now)
            var act = DocumentAct(logic, by: standing, in: transaction)
            return try act.perform(carried, using: &generator)
        }
    }

    /// What the admin may do, whatever roles there are.
    var standing: AdminStanding {
        AdminStanding(
            actor: Self.admin,
            access: AdminAccess(roles: [], bindings: [.builtInAdmins(Self.admins)]),
            now: clock.wallTime
        )
    }

    private func note(_ result: DocumentResult, _ plans: [EntryPlan]) {
        for outcome in result.outcomes {
            guard outcome.key.kind == DocumentKind.registrationEntry.rawValue else {
                if outcome.action != .unchanged {
                    ledger.wrote(document: outcome.uid, outcome.resourceVersion)
                }
                continue
            }
            switch outcome.action {
            case .unchanged: break
            case .deleted:
                ledger.deleted(
                    entry: outcome.uid,
                    number: result.revision.number,
                    at: scheduler.now
                )
            case .created, .updated:
                guard let plan = plans.first(where: { $0.name == outcome.key.name }) else {
                    continue
                }
                ledger.wrote(
                    EntryFact(
                        name: plan.name,
                        uid: outcome.uid,
                        spiffeID: plan.spiffeID,
                        nodeSelectors: plan.nodeSelectors,
                        workloadSelectors: plan.workloadSelectors,
                        ttlSeconds: plan.ttlSeconds,
                        expires: plan.expires,
                        revision: outcome.resourceVersion
                    ),
                    at: scheduler.now
                )
            }
        }
    }

    func createToken(hash: [UInt8], name: String, selectors: Set<String>) throws {
        let (logic, standing, ledger) = (logic, standing, ledger)
        let order = JoinTokenOrder(
            hash: hash,
            name: name,
            selectors: try selectors.map { try Selector($0) },
            ttlSeconds: 86_400
        )
        try write(isDroppable: true, claiming: { _ in ledger.created(token: hash, for: name) }) {
            try logic.createToken(order, by: standing, in: $0)
        }
    }

    func change(_ change: ServerLogic.StandingChange, of name: String) throws {
        let (logic, standing, ledger) = (logic, standing, ledger)
        let node = try write(
            isDroppable: true,
            claiming: { _ in
                switch change {
                case .ban: ledger.banned(name)
                case .evict: ledger.evicted(name)
                case .unban: ledger.unbanned(name)
                }
            }
        ) {
            try logic.change(
                change,
                ofNode: name,
                reason: "simulation",
                by: standing,
                in: $0
            )
        }
        if change != .unban {
            perform(publisher.removed(AgentName(name), now: clock.bootTime))
        }
        // By a clock that is wrong, what was revoked might be forgotten too early.
        if machine.trials.revocations, change != .unban, clock.error == .zero {
            try revokeHeld(by: node)
        }
    }
}
