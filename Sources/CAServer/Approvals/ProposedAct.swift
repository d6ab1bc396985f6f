// SPDX-License-Identifier: Apache-2.0

package import AuditLog
package import ControlAPI
package import Authorization
package import Datastore
internal import Issuance
package import PolicyDocuments
package import SPIFFE

/// An act that others have to approve, with all that it was judged by.
package enum ProposedAct: Hashable, Sendable {
    /// Documents that are created, changed and deleted, all of them or none.
    case documents([ProposedChange])
    /// A join token.
    case token(ProposedToken)
    /// A banned node is let in again.
    case unban(node: String, reason: String)
    /// An authority begins to sign, has everything replaced that it signed, or ends.
    case authority(ProposedStep)

    /// Most documents that one proposal changes: whoever approves it has to look at each.
    package static let changesMax = 100
    /// Most SPIFFE IDs that the RoleBindings of one proposal name: of each it is looked by what it is
    /// given.
    package static let subjectsMax = 256
    /// Most bytes of the documents that are there before, together: they are shown beside those that
    /// would be, in one message.
    package static let beforeBytesMax = 1 << 20

    static let tokenName = "token"
    private static let unbanName = "unban"
    /// The names of acts that let a node in; the node is their subject.
    static let admitting = [tokenName, unbanName]

    /// What kind of act it is, for the audit log and for people.
    package var name: String {
        switch self {
        case .documents: "documents"
        case .token: Self.tokenName
        case .unban: Self.unbanName
        case .authority(let step): step.verb.rawValue
        }
    }

    /// What it is about, if not about documents: the name of a node.
    package var subject: String {
        switch self {
        case .documents: ""
        case .token(let token): token.name
        case .unban(let node, _): node
        case .authority(let step): step.authorityID
        }
    }

    /// Why, in the words of whoever asks for it; documents have theirs in them.
    package var reason: String {
        switch self {
        case .documents, .token: ""
        case .unban(_, let reason): reason
        case .authority(let step): step.reason
        }
    }

    /// What is kept of it beside its content.
    ///
    /// - Throws: `APIError` (`proposalUnreadable`).
    package func topic() throws(APIError) -> ProposalTopic {
        var changeCount = 1
        var (rights, boundIDs): (Set<ProposedRight>, Set<String>) = ([], [])
        var givers: [ProposedGiver] = []
        switch self {
        case .documents(let changes):
            changeCount = changes.count
            for change in changes {
                let verb: AdminVerb = change.verb == .delete ? .delete : .apply
                rights.insert(ProposedRight(verb: verb, kind: change.key.kind))
                guard Self.telling.contains(change.key.kind), let document = try change.document()
                else { continue }
                if let giver = ProposedGiver(document) { givers.append(giver) }
                guard case .roleBinding(let spec) = document.spec else { continue }
                for case .spiffe(let id) in spec.subjects { boundIDs.insert(id.description) }
            }
        case .token: rights = [ProposedRight(verb: .tokenCreate, kind: nil)]
        case .unban: rights = [ProposedRight(verb: .nodeBan, kind: nil)]
        case .authority(let step): rights = [ProposedRight(verb: step.verb, kind: nil)]
        }
        return ProposalTopic(
            act: name,
            subject: subject,
            changeCount: changeCount,
            rights: rights.map(\.text).sorted(),
            boundIDs: boundIDs.sorted(),
            givers: givers
        )
    }

    /// Kinds of which more is kept beside the content.
    private static let telling = [DocumentKind.proxy, .registrationEntry, .roleBinding].map(
        \.rawValue
    )
}

extension ProposedGiver {
    /// Nil for kinds that give no identity.
    fileprivate init?(_ document: Document) {
        guard let selectors = document.nodeSelectors else { return nil }
        self.init(
            kind: document.key.kind,
            namespace: document.key.namespace,
            spiffeIDs: document.identities,
            nodeSelectors: selectors.map(\.description),
            isDownstream: document.isDownstream
        )
    }
}

/// A right that an act takes: whoever holds it for anything is told that the act waits.
struct ProposedRight: Hashable, Sendable {
    let verb: AdminVerb
    /// Of what kind of document; nil for acts.
    let kind: String?

    init(verb: AdminVerb, kind: String?) {
        self.verb = verb
        self.kind = kind
    }

    /// Reads what `text` writes; nil: another release has written it.
    init?(_ text: String) {
        let parts = text.split(separator: " ", maxSplits: 1)
        guard let name = parts.first, let verb = AdminVerb(rawValue: String(name)) else {
            return nil
        }
        self.init(verb: verb, kind: parts.count == 2 ? String(parts[1]) : nil)
    }

    var text: String { kind.map { "\(verb.rawValue) \($0)" } ?? verb.rawValue }
}

/// What is done to an authority.
package struct ProposedStep: Hashable, Sendable {
    /// The verbs of acts that others have to approve.
    static let verbs: [AdminVerb] = [.authorityActivate, .authorityRevoke, .authorityTaint]

    /// What is done, as the right to do it: one of `verbs`.
    package let verb: AdminVerb
    package let authorityID: String
    /// The state in which the authority was found.
    package let state: String
    /// Why, in the words of whoever asks for it.
    package let reason: String
    /// Although somebody is not ready for it.
    package let isNow: Bool

    package init(
        _ verb: AdminVerb,
        of authorityID: String,
        in state: String,
        reason: String,
        isNow: Bool
    ) {
        self.verb = verb
        self.authorityID = authorityID
        self.state = state
        self.reason = reason
        self.isNow = isNow
    }

    /// What an authority is afterwards.
    var outcome: Authority.State {
        switch verb {
        case .authorityActivate: .active
        case .authorityTaint: .tainted
        default: .revoked
        }
    }
}

/// A join token that others have to approve: all of it but the secret.
package struct ProposedToken: Hashable, Sendable {
    /// SHA-256 of the secret.
    package let hash: [UInt8]
    /// The name the node will have.
    package let name: String
    /// The selectors the node will have, beside those of its name.
    package let selectors: [Selector]
    /// How long it may be used, from when it is approved.
    package let ttlSeconds: UInt32
    /// SHA-256 of the keys of the authorities that the new machine will believe.
    package let pins: [[UInt8]]

    package init(_ order: JoinTokenOrder, pins: [[UInt8]]) {
        self.init(
            hash: order.hash,
            name: order.name,
            selectors: order.selectors.sorted(),
            ttlSeconds: order.ttlSeconds,
            pins: pins
        )
    }

    fileprivate init(
        hash: [UInt8],
        name: String,
        selectors: [Selector],
        ttlSeconds: UInt32,
        pins: [[UInt8]]
    ) {
        self.hash = hash
        self.name = name
        self.selectors = selectors
        self.ttlSeconds = ttlSeconds
        self.pins = pins
    }

    package var order: JoinTokenOrder {
        JoinTokenOrder(hash: hash, name: name, selectors: selectors, ttlSeconds: ttlSeconds)
    }
}

/// What a proposal does to one document.
package struct ProposedChange: Hashable, Sendable {
    package let key: DocumentKey
    /// The version that was found; 0 for none.
    package let version: UInt64
    /// What would be stored; nil: the document is deleted.
    package let canonicalJSON: [UInt8]?

    package init(key: DocumentKey, version: UInt64, canonicalJSON: [UInt8]?) {
        self.key = key
        self.version = version
        self.canonicalJSON = canonicalJSON
    }
}

extension ProposedAct {
    /// The version of this form.
    private static let formVersion: Int64 = 1

    /// Canonical JSON: the same act, judged by the same, has the same bytes.
    package var content: [UInt8] {
        var members: [String: CanonicalJSON] = [
            "act": .string(name), "v": .integer(Self.formVersion),
        ]
        switch self {
        case .documents(let changes): members["changes"] = .array(changes.map(\.json))
        case .token(let token): members.merge(token.members) { $1 }
        case .unban(let node, let reason):
            members["node"] = .string(node)
            members["reason"] = .string(reason)
        case .authority(let step): members.merge(step.members) { $1 }
        }
        return CanonicalJSON.object(members).encoded
    }

    /// Reads what `content` writes.
    ///
    /// - Throws: `APIError` (`proposalUnreadable`): another release has stored it.
    package init(content: [UInt8]) throws(APIError) {
        guard let act = Self.reading(content), act.content == content else {
            throw APIError(
                .failedPrecondition,
                "proposalUnreadable",
                "this release cannot read what was proposed; withdraw it, and propose it again"
            )
        }
        self = act
    }

    private static func reading(_ content: [UInt8]) -> Self? {
        guard case .object(let members)? = try? CanonicalJSON(parsing: content),
            members["v"] == .integer(formVersion), case .string(let name)? = members["act"]
        else { return nil }
        switch name {
        case "documents":
            guard case .array(let elements)? = members["changes"] else { return nil }
            let changes = elements.compactMap(ProposedChange.init(json:))
            return changes.count == elements.count ? .documents(changes) : nil
        case tokenName: return ProposedToken(members: members).map { .token($0) }
        case unbanName:
            guard let node = members.text("node"), let reason = members.text("reason") else {
                return nil
            }
            return .unban(node: node, reason: reason)
        default: return ProposedStep(name: name, members: members).map { .authority($0) }
        }
    }
}

extension [String: CanonicalJSON] {
    fileprivate func text(_ name: String) -> String? {
        if case .string(let text)? = self[name] { text } else { nil }
    }

    fileprivate func number(_ name: String) -> Int64? {
        if case .integer(let number)? = self[name], number >= 0 { number } else { nil }
    }

    /// A list of texts, each of which `parse` understands.
    fileprivate func list<Item>(_ name: String, _ parse: (String) -> Item?) -> [Item]? {
        guard case .array(let elements)? = self[name] else { return nil }
        let values = elements.compactMap { element in
            if case .string(let text) = element { parse(text) } else { nil }
        }
        return values.count == elements.count ? values : nil
    }
}

extension ProposedStep {
    fileprivate var members: [String: CanonicalJSON] {
        [
            "authority": .string(authorityID), "now": .integer(isNow ? 1 : 0),
            "reason": .string(reason), "state": .string(state),
        ]
    }

    fileprivate init?(name: String, members: [String: CanonicalJSON]) {
        guard let verb = Self.verbs.first(where: { $0.rawValue == name }),
            let id = members.text("authority"), let state = members.text("state"),
            let reason = members.text("reason"), let now = members.number("now"), now <= 1
        else { return nil }
        self.init(verb, of: id, in: state, reason: reason, isNow: now == 1)
    }
}

extension ProposedToken {
    fileprivate var members: [String: CanonicalJSON] {
        [
            "name": .string(name),
            "pins": .array(pins.map { .string(Hexadecimal.text($0)) }),
            "secretSHA256": .string(Hexadecimal.text(hash)),
            "selectors": .array(selectors.map { .string($0.description) }),
            "ttlSeconds": .integer(Int64(ttlSeconds)),
        ]
    }

    fileprivate init?(members: [String: CanonicalJSON]) {
        guard let name = members.text("name"), let pins = members.list("pins", Hexadecimal.bytes),
            let hash = members.text("secretSHA256").flatMap(Hexadecimal.bytes),
            let selectors = members.list("selectors", { try? Selector($0) }),
            let seconds = members.number("ttlSeconds").flatMap({ UInt32(exactly: $0) })
        else { return nil }
        self.init(hash: hash, name: name, selectors: selectors, ttlSeconds: seconds, pins: pins)
    }
}

extension ProposedChange {
    fileprivate var json: CanonicalJSON {
        var members: [String: CanonicalJSON] = [
            "group": .string(key.group), "kind": .string(key.kind), "name": .string(key.name),
            "namespace": .string(key.namespace), "version": .integer(Int64(clamping: version)),
        ]
        members["document"] = canonicalJSON.map { .string(String(decoding: $0, as: UTF8.self)) }
        return .object(members)
    }

    fileprivate init?(json: CanonicalJSON) {
        guard case .object(let members) = json, let group = members.text("group"),
            let kind = members.text("kind"), let name = members.text("name"),
            let namespace = members.text("namespace"), let version = members.number("version")
        else { return nil }
        let document = members.text("document").map { Array($0.utf8) }
        self.init(
            key: DocumentKey(group: group, kind: kind, namespace: namespace, name: name),
            version: UInt64(version),
            canonicalJSON: document
        )
    }

    /// What happens to the document.
    package var verb: DocumentChange.Verb {
        if canonicalJSON == nil { return .delete }
        return version == 0 ? .create : .update
    }

    /// The document as it would be; nil: it is deleted.
    ///
    /// - Throws: `APIError` (`proposalUnreadable`).
    package func document() throws(APIError) -> Document? {
        guard let canonicalJSON else { return nil }
        guard let document = Document.reading(canonicalJSON, of: key) else {
            throw APIError(
                .failedPrecondition,
                "proposalUnreadable",
                "this release cannot read \(key) as it was proposed; withdraw the proposal, and "
                    + "propose it again"
            )
        }
        return document
    }
}
