// SPDX-License-Identifier: Apache-2.0

package import Authorization
import SPIFFE
import StrictYAML

/// What a `Role` document says.
///
/// A role of the root namespace may be given everywhere; any other only in its own namespace, so
/// what could never apply there is refused.
package struct RoleSpec: Hashable, Sendable {
    /// Most rules of a role: every rule is tried for every request, and a person must judge them.
    package static let rulesMax = 32
    /// Most values of each list in a rule, for the same reason.
    package static let listMax = 32

    package let rules: [AdminRule]

    package init(rules: [AdminRule]) {
        self.rules = rules
    }

    /// The role that the document defines.
    package func role(metadata: DocumentMetadata) -> AdminRole {
        let reference = AdminRoleReference(namespace: metadata.namespace, name: metadata.name)
        return AdminRole(reference: reference, rules: rules)
    }
}

extension DocumentParser {
    mutating func roleSpec(_ node: YAMLNode, namespace: String?) -> RoleSpec? {
        guard var fields = fields(of: node, path: "spec") else { return nil }
        let rules = required("rules", of: &fields).flatMap { node in
            list(node, path: "spec.rules", max: RoleSpec.rulesMax) {
                $0.rule($1, path: $2, namespace: namespace)
            }
        }
        refuseUnknown(in: fields)
        return rules.map(RoleSpec.init)
    }

    private mutating func rule(
        _ node: YAMLNode,
        path: String,
        namespace: String?
    ) -> AdminRule? {
        let before = problems.count
        guard var fields = fields(of: node, path: path) else { return nil }
        let verbs = required("verbs", of: &fields).flatMap { node in
            list(node, path: "\(path).verbs", max: RoleSpec.listMax) { $0.verb($1, path: $2) }
        }
        let kindsNode = fields.take("kinds")
        let kinds = kindsNode.flatMap { node in
            list(node, path: "\(path).kinds", max: RoleSpec.listMax) { $0.kind($1, path: $2) }
        }
        let namespacesNode = fields.take("namespaces")
        let namespaces = namespacesNode.flatMap { node in
            list(node, path: "\(path).namespaces", max: RoleSpec.listMax) {
                $0.namespaceName($1, path: $2)
            }
        }
        let prefixesNode = fields.take("spiffeIDPrefixes")
        let prefixes = prefixesNode.flatMap { node in
            list(node, path: "\(path).spiffeIDPrefixes", max: RoleSpec.listMax) {
                $0.prefix($1, path: $2)
            }
        }
        refuseUnknown(in: fields)
        guard let verbs, problems.count == before else { return nil }
        let rule = AdminRule(
            verbs: Set(verbs),
            kinds: .only(Set((kinds ?? []).map(\.rawValue))),
            namespaces: namespaces.map { Set($0) },
            spiffeIDPrefixes: prefixes.map { Set($0) }
        )
        refuseWhatNeverApplies(
            in: rule,
            kinds: kinds ?? [],
            place: RulePlace(
                path: path,
                position: node.position,
                namespace: namespace,
                kinds: kindsNode?.position,
                namespaces: namespacesNode?.position,
                prefixes: prefixesNode?.position
            )
        )
        return problems.count == before ? rule : nil
    }

    /// Where a rule and its optional keys stand.
    private struct RulePlace {
        let path: String
        let position: TextPosition
        /// The namespace of the role; nil if it could not be read.
        let namespace: String?
        let kinds: TextPosition?
        let namespaces: TextPosition?
        let prefixes: TextPosition?
    }

    private mutating func refuseWhatNeverApplies(
        in rule: AdminRule,
        kinds: [DocumentKind],
        place: RulePlace
    ) {
        let acts = rule.verbs.filter { !$0.isOnDocuments }.map(\.rawValue).sorted()
        guard acts.isEmpty || acts.count == rule.verbs.count else {
            report(
                place.position,
                "\(place.path) mixes verbs on documents with \(acts.joined(separator: ", "))",
                "write two rules"
            )
            return
        }
        if acts.isEmpty, kinds.isEmpty {
            report(place.position, "\(place.path).kinds is missing", "list the kinds it is about")
        }
        if !acts.isEmpty {
            refuseLists(ofActs: rule.verbs, place: place)
        } else if let position = place.prefixes, kinds != [.registrationEntry] {
            report(
                position,
                "\(place.path).spiffeIDPrefixes narrows only RegistrationEntry",
                "write a rule of its own for RegistrationEntry"
            )
        } else if let position = place.prefixes,
            rule.spiffeIDPrefixes?.contains(where: \.isReserved) == true
        {
            report(
                position,
                "no RegistrationEntry lies below \(SPIFFEID.reservedPathPrefix)",
                "remove the prefix"
            )
        }
        if let position = place.namespaces, let kind = kinds.first(where: { !$0.isNamespaced }) {
            report(
                position,
                "a \(kind.rawValue) document lies in no namespace, so this rule never applies to it",
                "write a rule of its own for \(kind.rawValue), without namespaces"
            )
        }
        refuseReach(of: rule, kinds: kinds, place: place)
    }

    private mutating func refuseLists(ofActs verbs: Set<AdminVerb>, place: RulePlace) {
        for (position, key) in [(place.kinds, "kinds"), (place.namespaces, "namespaces")] {
            guard let position else { continue }
            report(
                position,
                "\(place.path).\(key) has no meaning for verbs that are not on documents",
                "remove it"
            )
        }
        let others = verbs.filter { !$0.concernsSPIFFEID }.map(\.rawValue).sorted()
        if let position = place.prefixes, !others.isEmpty {
            report(
                position,
                "\(place.path).spiffeIDPrefixes never applies to \(others.joined(separator: ", "))",
                "write a rule of its own for these verbs"
            )
        }
    }

    private mutating func refuseReach(
        of rule: AdminRule,
        kinds: [DocumentKind],
        place: RulePlace
    ) {
        guard let namespace = place.namespace, namespace != AdminRole.rootNamespace else { return }
        let root = AdminRole.rootNamespace
        if rule.verbs.contains(where: { !$0.isOnDocuments }) {
            report(
                place.position,
                "\(place.path) acts on the whole cluster, which a Role in namespace \(namespace) "
                    + "never reaches",
                "put the Role in namespace \(root)"
            )
        }
        if rule.verbs.contains(.apply), kinds.contains(.registrationEntry), place.prefixes == nil {
            report(
                place.position,
                "\(place.path) would register any SPIFFE ID, which a Role in namespace "
                    + "\(namespace) never does",
                "add spiffeIDPrefixes, in a rule of its own for RegistrationEntry"
            )
        }
        if let position = place.namespaces {
            report(
                position,
                "a Role in namespace \(namespace) reaches that namespace only",
                "remove \(place.path).namespaces, or put the Role in namespace \(root)"
            )
        }
        if let position = place.kinds, let kind = kinds.first(where: { !$0.isNamespaced }) {
            report(
                position,
                "a Role in namespace \(namespace) never reaches \(kind.rawValue) documents",
                "put the Role in namespace \(root)"
            )
        }
    }

    private mutating func verb(_ node: YAMLNode, path: String) -> AdminVerb? {
        guard let text = string(node, path: path, bytesMax: Self.wordBytesMax) else { return nil }
        if let verb = AdminVerb(rawValue: text) { return verb }
        report(
            node.position,
            "\(path): the verb \"\(Self.shown(text))\" is unknown",
            Suggestion.remedy(for: text, among: AdminVerb.allCases.map(\.rawValue))
        )
        return nil
    }

    private mutating func kind(_ node: YAMLNode, path: String) -> DocumentKind? {
        guard let text = string(node, path: path, bytesMax: Self.wordBytesMax) else { return nil }
        if let kind = DocumentKind(rawValue: text) { return kind }
        report(
            node.position,
            "\(path): the kind \"\(Self.shown(text))\" is unknown",
            Suggestion.remedy(for: text, among: DocumentKind.allCases.map(\.rawValue))
        )
        return nil
    }

    private mutating func prefix(_ node: YAMLNode, path: String) -> SPIFFEID? {
        guard let text = string(node, path: path, bytesMax: SPIFFEID.bytesMax) else { return nil }
        do throws(SPIFFEIDError) {
            let id = try SPIFFEID(text)
            use(id.trustDomain, as: .own, path: path, at: node.position)
            return id
        } catch {
            report(
                node.position,
                "\(path): \"\(Self.shown(text))\" is not a SPIFFE ID",
                error.description
            )
            return nil
        }
    }
}
