// SPDX-License-Identifier: Apache-2.0

import AuditLog
import Authorization
import CAServer
import ControlAPI
import Datastore
import Foundation
import Issuance
import NodeSync
import PolicyDocuments
import SPIFFE
import TestSeeds
import Testing

/// Proposals and approvals over a datastore, with the time, the callers and their rights as
/// arguments (docs/decisions/0023-approvals.md).
@Suite(.timeLimit(.minutes(1)))
struct ApprovalActTests {
    static let noon = Date(timeIntervalSince1970: 1_800_000_000)

    private let directory: TestDirectory
    let store: ServerStore
    let logic: ServerLogic

    init() throws {
        directory = try TestDirectory()
        store = try ServerStore(path: "\(directory.path)/server.sqlite")
        let domain = try TrustDomain("example.org")
        logic = ServerLogic(trustDomain: domain, serverID: "one", lifetimes: .standard)
        var generator = SeededGenerator(seed: 1)
        let identity = StoreIdentity(
            trustDomain: domain,
            serverID: "one",
            epoch: Epoch(using: &generator),
            createdAt: Self.noon
        )
        try store.writeNow { transaction in
            try transaction.establish(identity)
            try transaction.put(Self.authority)
            for name in ["alice", "bob", "carol", "dave"] {
                try transaction.record([Self.intent(name, node: "node-of-\(name)")])
                try transaction.put(try Self.node("node-of-\(name)"))
            }
            try transaction.record([
                Self.intent("eve", node: "node-of-dave"),
                // Somebody else's certificate of the same number.
                Self.intent("frank", as: "bob", node: "node-of-bob"),
            ])
        }
    }

    private static let authority = AuthorityRecord(
        id: "a1",
        serverID: "one",
        state: "active",
        certificateDER: [1],
        tokenKeySPKI: nil,
        publishedAt: noon,
        activatedAt: noon,
        notBefore: noon,
        notAfter: noon + 86_400
    )

    static func intent(
        _ name: String,
        as identity: String? = nil,
        node: String
    ) -> IssuanceIntent {
        IssuanceIntent(
            serial: Array(name.utf8),
            authorityID: "a1",
            spiffeID: ApprovalHarness.id(identity ?? name),
            entryID: nil,
            entryRevision: nil,
            tbsSHA256: Array(repeating: 1, count: 32),
            notAfter: noon + 3600,
            node: node,
            revision: 0,
            leafIndex: 0
        )
    }

    static func node(_ name: String, selectors: Set<Selector> = []) throws -> NodeRecord {
        NodeRecord(
            name: name,
            spiffeID: try SPIFFEID("spiffe://example.org/signet/agent/\(name)"),
            selectors: selectors,
            keySPKISHA256: Array(repeating: 2, count: 32),
            attestationMethod: "joinToken",
            serial: [1],
            notAfter: noon + 3600,
            createdAt: noon,
            lastSeen: noon
        )
    }

    /// Everybody but those left out has every right; `uid:0` and `uid:1` are local users.
    private static func admins(without left: [String]) throws -> [ActorPattern] {
        let names = ["alice", "bob", "carol", "dave", "eve", "frank", "grace"]
            .filter { !left.contains($0) }
        return try names.map { try ActorPattern(ApprovalHarness.id($0)) }
            + [.localUser(uid: 0, host: nil), .localUser(uid: 1, host: nil)]
    }

    /// An act of somebody, in a transaction of its own; with another certificate of his if one is
    /// named.
    func act<Value: Sendable>(
        _ name: String,
        showing certificate: String? = nil,
        needed: Int = 1,
        without left: [String] = [],
        at now: Date = noon,
        believed: Bool = true,
        requireReady: @escaping ApprovalAct.ReadinessCheck = { _, _, _, _ in },
        _ body: @escaping @Sendable (ApprovalAct, inout SeededGenerator) throws -> Value
    ) throws -> Value {
        let isLocal = name.hasPrefix("uid:")
        let actor = try #require(
            Actor(auditText: isLocal ? "\(name)@localhost" : ApprovalHarness.id(name))
        )
        let admins = try Self.admins(without: left)
        let logic = logic
        let serial = Array((certificate ?? name).utf8)
        return try store.writeNow { transaction in
            // For IDs and uids, which have to differ and decide nothing.
            var generator = SeededGenerator(seed: .random(in: .min ... .max))
            let access = try AdminAccess(stored: transaction, admins: admins)
            let caller = ApprovalCaller(
                standing: AdminStanding(actor: actor, access: access, now: now),
                svid: isLocal ? nil : .init(serial: serial, authorityID: "a1")
            )
            let act = ApprovalAct(
                logic,
                ApprovalRules(needed: needed, admins: admins),
                by: caller,
                isClockBelieved: believed,
                requireReady: requireReady,
                in: transaction
            )
            return try body(act, &generator)
        }
    }

    func order(_ text: String) throws -> DocumentOrder {
        var order = DocumentOrder()
        order.documents = try Document.parse(Array(text.utf8), file: "test.yaml")
        return order
    }

    func propose(
        _ text: String,
        by name: String = "alice",
        showing certificate: String? = nil,
        needed: Int = 1,
        at now: Date = noon
    ) throws -> ProposalRecord {
        let order = try order(text)
        let answer = try act(name, showing: certificate, needed: needed, at: now) {
            try $0.apply(order, takesProposal: true, using: &$1)
        }
        guard case .proposed(let proposal, _) = answer else {
            throw APIError(.fault, "notProposed", "\(answer)")
        }
        return proposal
    }

    func approve(
        _ proposal: ProposalRecord,
        by name: String,
        needed: Int = 1,
        without left: [String] = [],
        at now: Date = noon
    ) throws -> ApprovalAnswer {
        try act(name, needed: needed, without: left, at: now) {
            try $0.approve(proposal.id, sha256: proposal.sha256, using: &$1)
        }
    }

    func refusal(_ call: () throws -> some Any) -> APIError? {
        do {
            _ = try call()
            return nil
        } catch {
            return error as? APIError ?? APIError(.fault, "\(type(of: error))", "\(error)")
        }
    }

    func leaves(_ event: AuditEvent.Name) throws -> [AuditRecord] {
        var filter = AuditLeafFilter()
        filter.event = event.rawValue
        let wanted = filter
        return try store.readNow { transaction in
            try transaction.queryLeaves(wanted, limit: 1000).map {
                try AuditRecord(parsing: $0.bytes)
            }
        }
    }

    func isCarriedOut(_ answer: ApprovalAnswer) -> Bool {
        if case .carriedOut = answer { true } else { false }
    }

    // MARK: - What is proposed

    @Test func `without approvals everything is done at once, and read as ever`() throws {
        let order = try order(roleDocument("viewer"))
        let answer = try act("alice", needed: 0) {
            try $0.apply(order, takesProposal: false, using: &$1)
        }
        guard case .done(let result) = answer else {
            Issue.record("\(answer)")
            return
        }
        #expect(result.outcomes.map(\.action) == [.created])
        #expect(try store.readNow { try $0.proposals() }.isEmpty)
    }

    @Test func `roles that do not change hold back nothing of an order`() throws {
        let first = try order(roleDocument("viewer"))
        _ = try act("alice", needed: 0) { try $0.apply(first, takesProposal: true, using: &$1) }
        let namespace =
            "---\napiVersion: core.signet/v1alpha1\nkind: Namespace\nmetadata: {name: a}\n"
        let second = try order(roleDocument("viewer") + namespace)
        let answer = try act("alice") { try $0.apply(second, takesProposal: false, using: &$1) }
        guard case .done(let result) = answer else {
            Issue.record("\(answer)")
            return
        }
        #expect(Set(result.outcomes.map(\.action)) == [.created, .unchanged])
    }

    @Test func `an order that needs approval for one document waits whole, and is done whole`()
        throws
    {
        let namespace =
            "---\napiVersion: core.signet/v1alpha1\nkind: Namespace\nmetadata: {name: a}\n"
        let proposal = try propose(roleDocument("viewer") + namespace)
        #expect(try store.readNow { try $0.revision() }.number == 0)
        guard case .carriedOut(.documents(let result), _, _) = try approve(proposal, by: "bob")
        else {
            Issue.record("not carried out")
            return
        }
        #expect(result.outcomes.map(\.key.name).sorted() == ["a", "viewer"])
    }

    @Test func `a deletion and what prune finds are proposed by name`() throws {
        let text = roleDocument("old", owner: "team") + roleDocument("kept", owner: "team")
        let first = try order(text)
        _ = try act("alice", needed: 0) { try $0.apply(first, takesProposal: true, using: &$1) }
        var pruning = try order(roleDocument("kept", owner: "team"))
        pruning.pruneOwner = "team"
        let prune = pruning
        let answer = try act("alice") { try $0.apply(prune, takesProposal: true, using: &$1) }
        guard case .proposed(let proposal, _) = answer,
            case .documents(let changes) = try ProposedAct(content: proposal.content)
        else {
            Issue.record("\(answer)")
            return
        }
        #expect(changes.map(\.key.name) == ["old"])
        #expect(changes.map(\.canonicalJSON) == [nil])
        #expect(changes.map(\.version) == [1])
        // What is labelled so later is not what was approved.
        let later = try propose(roleDocument("later", owner: "team"), by: "bob")
        #expect(isCarriedOut(try approve(later, by: "carol")))
        #expect(isCarriedOut(try approve(proposal, by: "bob")))
        let kind = DocumentFilter(kind: DocumentKind.role.rawValue)
        let left = try store.readNow { try $0.documents(kind, after: nil, limit: 10) }
        #expect(left.map(\.key.name) == ["kept", "later"])
    }

    @Test func `a program that does not know proposals is refused, and nothing is stored`() throws {
        let order = try order(roleDocument("viewer"))
        let refused = refusal {
            try act("alice") { try $0.apply(order, takesProposal: false, using: &$1) }
        }
        #expect(refused?.reason == "approvalsNeeded")
        #expect(try store.readNow { try $0.proposals() }.isEmpty)
    }

    @Test func `who may not do it does not propose it either`() throws {
        let order = try order(roleDocument("viewer"))
        let refused = refusal {
            try act("alice", without: ["alice"]) {
                try $0.apply(order, takesProposal: true, using: &$1)
            }
        }
        #expect(refused?.reason == "adminDenied")
        #expect(try store.readNow { try $0.proposals() }.isEmpty)
    }

    @Test func `the same content of the same actor is one proposal`() throws {
        let first = try propose(roleDocument("viewer"))
        #expect(try propose(roleDocument("viewer"), at: Self.noon + 60) == first)
        let other = try propose(roleDocument("viewer"), by: "bob")
        #expect(other.sha256 == first.sha256)
        #expect(other.id != first.id)
        #expect(try leaves(.changeProposed).count == 2)
    }

    @Test func `nobody has more than his share open`() throws {
        let most = ProposalRecord.openOfActorMax
        for number in 0..<most {
            _ = try propose(roleDocument("r\(number)"))
        }
        let refused = refusal { try propose(roleDocument("more")) }
        #expect(refused?.reason == "proposalsFull")
        _ = try propose(roleDocument("more"), by: "bob")
        #expect(try store.readNow { try $0.proposals() }.count == most + 1)
    }

    @Test func `what nobody can look over is not proposed`() throws {
        let text = (0...ProposedAct.changesMax).map { roleDocument("r\($0)") }.joined()
        let refused = refusal { try propose(text) }
        #expect(refused?.reason == "proposalTooLarge")
        #expect(try store.readNow { try $0.proposals() }.isEmpty)
    }

    @Test func `nothing is proposed or approved by a clock that is doubted`() throws {
        let order = try order(roleDocument("viewer"))
        let refused = refusal {
            try act("alice", believed: false) {
                try $0.apply(order, takesProposal: true, using: &$1)
            }
        }
        #expect(refused?.reason == "clockDoubted")
        let proposal = try propose(roleDocument("viewer"))
        let later = refusal {
            try act("bob", at: Self.noon + 90_000, believed: false) {
                try $0.approve(proposal.id, sha256: proposal.sha256, using: &$1)
            }
        }
        #expect(later?.reason == "clockDoubted")
        #expect(try store.readNow { try $0.proposals() } == [proposal.summary])
    }
}

// MARK: - What becomes of proposals

extension ApprovalActTests {
    @Test func `as many others as are needed approve, and the last has it done`() throws {
        let proposal = try propose(roleDocument("viewer"), needed: 2)
        #expect(try approve(proposal, by: "bob", needed: 2) == .approved(count: 1, struck: []))
        // Who calls again counts once.
        #expect(try approve(proposal, by: "bob", needed: 2) == .approved(count: 1, struck: []))
        #expect(isCarriedOut(try approve(proposal, by: "uid:0", needed: 2)))
        #expect(try store.readNow { try $0.proposals() }.isEmpty)
        let approvals = try leaves(.changeApproved)
        #expect(approvals.count == 3)
        guard case .changeApproved(let last)? = approvals.last?.event else { return }
        #expect(last.isCarriedOut)
        #expect((last.approved, last.needed) == (2, 2))
        // The act's own leaf stands before it, in the proposer's name.
        let applied = try #require(try leaves(.documentsApplied).last)
        #expect(applied.actor.description == ApprovalHarness.id("alice"))
        let names = try store.readNow { try $0.queryLeaves(AuditLeafFilter(), limit: 100) }
            .map { try AuditRecord(parsing: $0.bytes).event.name }
        #expect(names.suffix(2) == [.documentsApplied, .changeApproved])
    }

    @Test func `the number of the moment of approval counts`() throws {
        let proposal = try propose(roleDocument("viewer"), needed: 2)
        #expect(try approve(proposal, by: "bob", needed: 2) == .approved(count: 1, struck: []))
        #expect(isCarriedOut(try approve(proposal, by: "bob", needed: 1)))
    }

    @Test func `local users are one person, and so are those of one node`() throws {
        let local = try propose(roleDocument("a"), by: "uid:0")
        #expect(refusal { try approve(local, by: "uid:1") }?.reason == "approvalDenied")
        let proposal = try propose(roleDocument("b"), by: "dave")
        #expect(refusal { try approve(proposal, by: "eve") }?.reason == "approvalDenied")
        #expect(refusal { try approve(proposal, by: "dave") }?.reason == "approvalDenied")
        #expect(isCarriedOut(try approve(proposal, by: "bob")))
    }

    @Test func `a certificate whose node is not on record does not count`() throws {
        // Nothing that was issued to frank is on record, as after a restore.
        let proposal = try propose(roleDocument("a"))
        #expect(refusal { try approve(proposal, by: "frank") }?.reason == "approverUnknown")
        let his = try propose(roleDocument("b"), by: "frank")
        #expect(refusal { try approve(his, by: "bob") }?.reason == "approverUnknown")
        #expect(isCarriedOut(try approve(his, by: "uid:0")))
    }

    @Test func `who may not do it himself does not approve it, and nothing has changed`() throws {
        let proposal = try propose(roleDocument("viewer"))
        let size = try store.readNow { try $0.auditSize() }
        let refused = refusal { try approve(proposal, by: "bob", without: ["bob"]) }
        #expect(refused?.reason == "approvalDenied")
        #expect(refused?.message.contains("adminDenied") == true)
        #expect(try store.readNow { try $0.approvals(of: proposal.id) }.isEmpty)
        #expect(try store.readNow { try $0.auditSize() } == size)
    }

    @Test func `whoever lost the right since counts no more, and is named`() throws {
        let proposal = try propose(roleDocument("viewer"), needed: 2)
        _ = try approve(proposal, by: "bob", needed: 2)
        let answer = try approve(proposal, by: "carol", needed: 2, without: ["bob"])
        #expect(answer == .approved(count: 1, struck: [ApprovalHarness.id("bob")]))
        #expect(try store.readNow { try $0.approvals(of: proposal.id) }.count == 1)
        #expect(isCarriedOut(try approve(proposal, by: "dave", needed: 2, without: ["bob"])))
    }

    @Test func `if the proposer lost the right, the proposal ends`() throws {
        let proposal = try propose(roleDocument("viewer"))
        let answer = try approve(proposal, by: "bob", without: ["alice"])
        guard case .ended(.denied, let reason, _) = answer else {
            Issue.record("\(answer)")
            return
        }
        #expect(reason.contains("adminDenied"))
        #expect(try store.readNow { try $0.proposals() }.isEmpty)
        #expect(try leaves(.documentsApplied).isEmpty)
        #expect(try leaves(.changeDropped).count == 1)
    }

    @Test func `what was changed meanwhile is not approved, also if the change was undone`() throws
    {
        let first = try order(roleDocument("viewer"))
        _ = try act("alice", needed: 0) { try $0.apply(first, takesProposal: true, using: &$1) }
        let proposal = try propose(roleDocument("viewer", verb: "audit.read"))
        for verb in ["authority.show", "bundle.show"] {
            let other = try order(roleDocument("viewer", verb: verb))
            _ = try act("bob", needed: 0) { try $0.apply(other, takesProposal: true, using: &$1) }
        }
        let unseen = refusal { try act("carol") { _ = try $0.view(proposal.id, using: &$1) } }
        #expect(unseen?.reason == "proposalStale")
        let answer = try approve(proposal, by: "carol")
        #expect(answer == .ended(.stale, reason: "", struck: []))
        #expect(try store.readNow { try $0.proposals() }.isEmpty)
    }

    @Test func `a day later it is over`() throws {
        let proposal = try propose(roleDocument("viewer"))
        let end = Self.noon + ApprovalAct.secondsMax
        #expect(proposal.endsAt == end)
        let again = try propose(roleDocument("viewer"), at: end - 1)
        #expect(again == proposal)
        let answer = try approve(proposal, by: "bob", at: end)
        #expect(answer == .ended(.expired, reason: "", struck: []))
        let refused = refusal { try approve(proposal, by: "bob", at: end) }
        #expect(refused?.reason == "proposalUnknown")
        let second = try propose(roleDocument("viewer"), at: end)
        let third = try propose(roleDocument("viewer"), at: end + 90_000)
        #expect(third.id != second.id)
        #expect(try leaves(.changeDropped).count == 2)
    }

    @Test func `its proposer withdraws it, and nobody else`() throws {
        let proposal = try propose(roleDocument("viewer"))
        let refused = refusal { try act("bob") { act, _ in try act.withdraw(proposal.id) } }
        #expect(refused?.reason == "proposalOfAnother")
        try act("alice") { act, _ in try act.withdraw(proposal.id) }
        #expect(try store.readNow { try $0.proposals() }.isEmpty)
        guard case .changeDropped(let drop)? = try leaves(.changeDropped).last?.event else {
            Issue.record("no leaf")
            return
        }
        #expect(drop == ChangeDrop(proposal: proposal.id, cause: .withdrawn))
    }

    @Test func `too few who could approve are warned of`() throws {
        let rules = ApprovalRules(needed: 2, admins: [])
        func access(_ subjects: [ActorPattern]) -> AdminAccess {
            AdminAccess(roles: [], bindings: [.builtInAdmins(subjects)])
        }
        let local = [ActorPattern.localUser(uid: 0, host: nil), .localUser(uid: 1, host: "a")]
        let alice = try ActorPattern(ApprovalHarness.id("alice"))
        let bob = try ActorPattern(ApprovalHarness.id("bob"))
        #expect(rules.warning(of: access(local), now: Self.noon)?.contains("1 person") == true)
        #expect(rules.warning(of: access(local + [alice]), now: Self.noon) != nil)
        #expect(rules.warning(of: access(local + [alice, bob]), now: Self.noon) == nil)
        let off = ApprovalRules(needed: 0, admins: [])
        #expect(off.warning(of: access(local), now: Self.noon) == nil)
    }
}
