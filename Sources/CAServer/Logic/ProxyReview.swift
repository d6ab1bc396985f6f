// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import ControlAPI
internal import Datastore
internal import PolicyDocuments
internal import Routing
internal import SPIFFE

/// What an order does to proxies, collected over all of them before it is judged.
struct ProxyReview {
    /// Most names in one sentence.
    private static let namesMax = 5

    /// Every inbound listener that was looked at, and every policy that holds for one.
    private var listeners: [KnownListener] = []
    private var policies: Set<PolicyReference> = []
    private(set) var warnings: [String] = []
    /// The Proxies, by what they would lose.
    private var losses: [String: Set<String>] = [:]
    private var namespaces: [String: String] = [:]

    static func list(
        _ names: some Collection<String>,
        separator: String = ", "
    ) -> String {
        let shown = names.sorted().prefix(namesMax).joined(separator: separator)
        return names.count > namesMax ? "\(shown) and \(names.count - namesMax) more" : shown
    }

    /// Takes one Proxy in.
    ///
    /// - Parameters:
    ///   - composition: As it is after the order.
    ///   - document: Its document, if the order has written it.
    ///   - lostEntry: Whether an entry of one of its identities changed.
    /// - Throws: `APIError` for what the written document lacks, and for what is too large.
    mutating func add(
        _ composition: ProxyComposer.Composition,
        _ document: Document?,
        lostEntry: Bool
    ) throws(APIError) {
        listeners += composition.listeners
        policies.formUnion(composition.policies)
        let (reference, namespace) = (composition.record.reference, composition.record.namespace)
        for problem in composition.problems {
            if let document {
                throw APIError(
                    .failedPrecondition,
                    problem.rule,
                    "\(document.file):\(document.line): \(document.key): "
                        + problem.sentence(namespace: namespace)
                )
            }
            switch problem {
            case .portMissing(_, let service, let port):
                lose("port \(port) of Service \(namespace)/\(service)", by: reference, namespace)
            case .serviceMissing(_, let service):
                lose("Service \(namespace)/\(service)", by: reference, namespace)
            case .identityUnregistered(let id):
                guard lostEntry else { continue }
                warnings.append(
                    "Proxy \(reference) names \(id), which no entry of its namespace gives any more: "
                        + "it is not served"
                )
            case .forwardUsersUnknown(let listener, let id):
                guard lostEntry else { continue }
                warnings.append(
                    "Proxy \(reference): inbound \(listener) is not served, because no entry of \(id) "
                        + "names a user any more; write forward.uids"
                )
            case .clausesTooMany, .policiesTooCostly, .policiesTooLarge, .policiesTooMany,
                .tooLarge, .unreadable:
                throw APIError(
                    .failedPrecondition,
                    problem.rule,
                    "Proxy \(reference): \(problem.sentence(namespace: namespace))"
                )
            }
        }
    }

    private mutating func lose(_ what: String, by proxy: String, _ namespace: String) {
        losses[what, default: []].insert(proxy)
        namespaces[what] = namespace
    }

    /// Requires that nothing is taken away that a Proxy needs.
    ///
    /// - Throws: `APIError` (`inUse`); it names Proxies to who may see them.
    func requireNothingInUse(visibleTo standing: AdminStanding) throws(APIError) {
        guard let (what, proxies) = losses.min(by: { $0.key < $1.key }) else { return }
        let isVisible = standing.may(
            .list,
            kind: DataPathKind.proxy,
            namespace: namespaces[what] ?? ""
        )
        let names =
            isVisible
            ? proxies.map { "Proxy \($0)" }.sorted() : ["\(proxies.count) Proxies of its namespace"]
        throw APIError(
            .failedPrecondition,
            "inUse",
            "\(what) is named by \(Self.list(names)); change what names it first or with it"
        )
    }

    /// Refuses a policy with a rule that nothing it holds for could ever match.
    func check(_ document: Document) throws(APIError) {
        let problems = document.problems(atListeners: listeners)
        guard problems.isEmpty else {
            throw APIError(
                .failedPrecondition,
                "ruleNeverApplies",
                problems.map(\.description).joined(separator: "\n")
            )
        }
    }

    /// What somebody who applies a document should know, though it is applied.
    func warnings(of document: Document) -> [String] {
        var warnings = document.warnings.map(\.description)
        if let policy = document.accessPolicy?.policy, policy.target != nil, policy.mode != .off,
            !policies.contains(PolicyReference(policy))
        {
            warnings.append(
                "\(document.key): no Proxy listens for a workload that it holds for, so it decides "
                    + "nothing yet"
            )
        }
        return warnings
    }
}

extension PolicyReference {
    init(_ policy: AccessPolicy) {
        self.init(namespace: policy.namespace, name: policy.name)
    }
}
