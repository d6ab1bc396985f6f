// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import Datastore
internal import PolicyDocuments
internal import SPIFFE

/// By what the subjects of a RoleBinding get their identities.
///
/// An entry that was there before its ID became an admin is no escalation of whoever wrote it, so
/// that only who binds can see it (docs/decisions/0023-approvals.md).
extension DocumentAct {
    /// Most subjects of one order that are looked for: each takes a few reads while nobody else can
    /// write.
    static let reviewedSubjectsMax = 256
    /// Most entries with one ID, and most Proxies, that are looked at for one subject.
    static let giversMax = 100
    /// Most that a warning names.
    static let giversNamedMax = 10

    /// Tells of the entries and Proxies that give the subjects of bindings that change, as far as the
    /// caller may see them.
    mutating func warnOfGivers(_ documents: [Document]) throws {
        let changed = Set(outcomes.filter { $0.action != .unchanged }.map(\.key))
        var left = Self.reviewedSubjectsMax
        for document in documents where changed.contains(document.key) {
            guard case .roleBinding(let spec) = document.spec else { continue }
            for case .spiffe(let id) in spec.subjects {
                guard left > 0 else {
                    warnings.append(
                        "of \(Self.reviewedSubjectsMax) subjects it was looked for what gives them, "
                            + "not of the others"
                    )
                    return
                }
                left -= 1
                let givers = try givers(of: id)
                guard !givers.isEmpty else { continue }
                warnings.append("\(document.key): \(id) is given by \(Self.list(givers))")
            }
        }
    }

    private static func list(_ givers: [String]) -> String {
        let more = givers.count - giversNamedMax
        return givers.prefix(giversNamedMax).joined(separator: ", ")
            + (more > 0 ? " and \(more) more" : "")
    }

    /// The documents that give an identity or its keys, with who wrote each last.
    private func givers(of id: SPIFFEID) throws -> [String] {
        let named = try transaction.entries(
            spiffeIDPrefix: id.description,
            limit: Self.giversMax
        ).filter { $0.spiffeID == id.description }
        let most = ServerLogic.revokedTemplatesMax
        let read = try transaction.templates(beginningAs: id, limit: most + 1)
        let templates = read.filter { $0.mayGive(id) && $0.spiffeID != id.description }
        let entries = (named + templates).map { entry in
            (
                key: Self.key(.registrationEntry, entry.namespace, entry.name),
                spiffeID: Optional(entry.spiffeID)
            )
        }
        let proxies = try transaction.proxyNames(presenting: id, limit: Self.giversMax).map {
            (key: Self.key(.proxy, $0.namespace, $0.name), spiffeID: String?.none)
        }
        // Many that mean nobody must not hide one.
        let isCut = read.count > most || max(named.count, proxies.count) == Self.giversMax
        let unseen = isCut ? ["more documents than were looked at"] : []
        let seen = try (entries + proxies).compactMap { giver -> String? in
            let (key, spiffeID) = giver
            guard
                standing.may(.get, kind: key.kind, namespace: key.namespace, spiffeID: spiffeID),
                let stored = try transaction.document(key)
            else { return nil }
            return "\(key) (last written by \(stored.actor))"
        }
        return unseen + seen
    }

    private static func key(
        _ kind: DocumentKind,
        _ namespace: String,
        _ name: String
    ) -> DocumentKey {
        DocumentKey(
            group: DocumentKey.nativeGroup,
            kind: kind.rawValue,
            namespace: namespace,
            name: name
        )
    }
}
