// SPDX-License-Identifier: Apache-2.0

package import Authorization
package import HTTPSemantics
package import SPIFFE
import StrictYAML

/// What an `AccessPolicy` document says (docs/decisions/0008, docs/decisions/0025,
/// docs/policy.md).
package struct AccessPolicySpec: Hashable, Sendable {
    /// Most tests of a document; each is run at every apply.
    package static let testsMax = 256
    /// Longest path in a pattern or test: as much as a request's target may have.
    package static let pathBytesMax = 8 * 1024

    /// nil: every workload of the namespace, or of every one in the root namespace.
    package let target: AccessTarget?
    package let action: AccessPolicy.Action
    package let tier: AccessPolicy.Tier
    package let mode: AccessPolicy.Mode
    package let rules: [AccessRule]
    /// Requests with what the document alone must say of them.
    package let tests: [AccessPolicyTest]

    package init(
        target: AccessTarget? = nil,
        action: AccessPolicy.Action,
        tier: AccessPolicy.Tier = .normal,
        mode: AccessPolicy.Mode = .enforce,
        rules: [AccessRule],
        tests: [AccessPolicyTest] = []
    ) {
        self.target = target
        self.action = action
        self.tier = tier
        self.mode = mode
        self.rules = rules
        self.tests = tests
    }

    /// Whether a proxy reads what it is sent as exactly this: equal bytes are not enough, since a
    /// value may be written as another one is.
    var comesBack: Bool {
        let sent = AccessPolicy(
            namespace: "n",
            name: "p",
            action: action,
            tier: tier,
            mode: mode,
            target: target,
            rules: rules
        )
        return (try? AccessPolicy(decoding: sent.encoded)) == sent
    }

    /// The policy that the document makes; what travels to proxies is its `encoded`.
    package func policy(metadata: DocumentMetadata) -> AccessPolicy {
        AccessPolicy(
            namespace: metadata.namespace,
            name: metadata.name,
            action: action,
            tier: tier,
            mode: mode,
            target: target,
            rules: rules
        )
    }
}

/// A request with what a document alone must say of it.
package struct AccessPolicyTest: Hashable, Sendable {
    /// What a test expects.
    package enum Expectation: String, CaseIterable, Hashable, Sendable {
        case allow = "ALLOW"
        case deny = "DENY"
    }

    /// Which rule must have decided.
    package enum Rule: Hashable, Sendable {
        /// This one, counted from 0.
        case decides(Int)
        /// None: the default.
        case noRule
    }

    /// What a test can say of a fact that its rules ask for: that nobody knows it.
    package enum UnknownFact: String, Hashable, Sendable {
        /// Written `host: unknown`.
        case host = "unknown"
    }

    package let name: String?
    package let peer: SPIFFEID?
    /// nil if no rule asks for it.
    package let address: IPAddress?
    /// nil if no rule asks for it.
    package let port: UInt16?
    /// What it says is not known.
    package let unknowns: Set<UnknownFact>
    /// nil: the client has asked for no name.
    package let serverName: RequestedHost?
    package let http: AccessRequest.HTTP?
    package let expectation: Expectation
    /// nil if it does not matter.
    package let rule: Rule?

    /// The request at a workload of a trust domain; what no rule asks for is anything.
    package func request(in trustDomain: TrustDomain) -> AccessRequest {
        AccessRequest(
            peer: peer,
            in: trustDomain,
            address: address ?? IPAddress(ipv4: 0),
            port: port ?? 1,
            serverName: serverName,
            http: http
        )
    }

    /// What the rules make of the request instead, if the test fails.
    func failure(
        of action: AccessPolicy.Action,
        _ rules: [AccessRule],
        in trustDomain: TrustDomain
    ) -> String? {
        // A policy in shadow or off is tested as what it would be.
        let policy = AccessPolicy(namespace: "", name: "", action: action, rules: rules)
        let explanation = AccessExplanation(request(in: trustDomain), under: [policy])
        let cause = explanation.verdict.cause
        let isExpectedRule =
            switch rule {
            case nil: true
            case .decides(let place): cause?.rule == place
            case .noRule: cause == nil
            }
        let isExpected =
            switch expectation {
            case .allow: explanation.verdict.isAllowed
            case .deny: !explanation.verdict.isAllowed
            }
        guard !isExpected || !isExpectedRule else { return nil }
        let word = explanation.verdict.isAllowed ? "ALLOW" : "DENY"
        if let cause { return "rules[\(cause.rule)] says \(word)" }
        if explanation.isPeerReserved { return "DENY: the peer is one of Signet's own parts" }
        let nearest = explanation.policies.first?.rules.min { $0.misses.count < $1.misses.count }
        guard let nearest, let miss = nearest.firstMiss else { return "no rule matches: DENY" }
        return "no rule matches: DENY (rules[\(nearest.rule)].\(miss.path) \(miss.cause.phrase))"
    }

    /// The expectation in words.
    var expected: String {
        let word = expectation.rawValue
        return switch rule {
        case nil: word
        case .decides(let place): "\(word) by rules[\(place)]"
        case .noRule: "\(word) by no rule"
        }
    }
}

extension AccessExplanation.Cause {
    /// What it means, as the end of a sentence.
    fileprivate var phrase: String {
        switch self {
        case .differs: "does not match"
        case .excluded: "excludes it"
        case .foreign: "is missing, and only by it is a peer of another trust domain admitted"
        case .unknown: "asks for what the request does not have"
        case .unremembered: "asks for what is not remembered of the request"
        }
    }
}

extension DocumentParser {
    mutating func accessPolicySpec(_ node: YAMLNode) -> AccessPolicySpec? {
        let before = problems.count
        guard var fields = fields(of: node, path: "spec") else { return nil }
        let target = fields.take("target").flatMap { accessTarget($0) }
        let action = required("action", of: &fields).flatMap {
            accessAction($0)
        }
        let tierNode = fields.take("tier")
        let tier = tierNode.flatMap { word($0, path: "spec.tier", as: AccessPolicy.Tier.self) }
        let mode = fields.take("mode").flatMap {
            word($0, path: "spec.mode", as: AccessPolicy.Mode.self)
        }
        let rulesNode = required("rules", of: &fields)
        let rules = rulesNode.flatMap { accessRules($0, action: action) }
        let testsNode = fields.take("tests")
        let tests = testsNode.flatMap { accessTests($0, action: action, rules: rules) }
        refuseUnknown(in: fields)
        if let tierNode, action == .allow, tier == .guardrail {
            report(
                tierNode.position,
                "spec.tier: a guardrail only denies",
                "write action: DENY, or remove the tier"
            )
        }
        guard problems.count == before, let action, let rules, let rulesNode else { return nil }
        let spec = AccessPolicySpec(
            target: target,
            action: action,
            tier: tier ?? .normal,
            mode: mode ?? .enforce,
            rules: rules,
            tests: tests ?? []
        )
        guard spec.comesBack else {
            report(
                rulesNode.position,
                "spec: what travels to proxies would be read there as another policy",
                "tell Signet's authors; no document should come so far"
            )
            return nil
        }
        return spec
    }

    private mutating func accessAction(_ node: YAMLNode) -> AccessPolicy.Action? {
        if case .scalar("AUDIT", _) = node.content {
            report(
                node.position,
                "spec.action: a policy that only has requests written down cannot be written yet",
                "remove it; AUDIT comes later (docs/decisions/0025)"
            )
            return nil
        }
        return word(node, path: "spec.action", as: AccessPolicy.Action.self)
    }

    /// Reads one word of a closed list; `off` needs no quotes where no truth value can stand.
    mutating func word<Word: RawRepresentable<String> & CaseIterable>(
        _ node: YAMLNode,
        path: String,
        as type: Word.Type
    ) -> Word? {
        let words = Word.allCases.map(\.rawValue)
        guard case .scalar(let text, _) = node.content, !text.isEmpty else {
            reportType(of: node, path: path, expected: "one of \(words.joined(separator: ", "))")
            return nil
        }
        if let word = Word(rawValue: text) { return word }
        report(
            node.position,
            "\(path): \"\(Self.shown(text))\" is unknown",
            Suggestion.remedy(for: text, among: words)
        )
        return nil
    }

    private mutating func accessTarget(_ node: YAMLNode) -> AccessTarget? {
        let path = "spec.target"
        let before = problems.count
        guard var fields = fields(of: node, path: path) else { return nil }
        let nodes = (
            ids: fields.take("spiffeIDs"), labels: fields.take("matchLabels"),
            services: fields.take("services")
        )
        refuseUnknown(in: fields)
        var targets: [AccessTarget] = []
        if let ids = nodes.ids {
            let patterns = list(ids, path: "\(path).spiffeIDs", max: AccessPolicy.valuesMax) {
                $0.principal($1, path: $2, isTarget: true)
            }
            targets += patterns.map { [.identities($0)] } ?? []
        }
        if let labels = nodes.labels {
            targets += self.labels(labels, path: "\(path).matchLabels").map { [.labels($0)] } ?? []
        }
        if let services = nodes.services {
            let names = list(services, path: "\(path).services", max: AccessPolicy.valuesMax) {
                $0.name($1, path: $2)
            }
            targets += names.map { [.services($0)] } ?? []
        }
        guard problems.count == before else { return nil }
        guard targets.count == 1 else {
            report(
                node.position,
                targets.isEmpty ? "\(path) names nothing" : "\(path) has \(targets.count) keys",
                "write one of matchLabels, services, spiffeIDs; without target the policy holds "
                    + "for every workload of its namespace"
            )
            return nil
        }
        return targets.first
    }

    /// Reads a SPIFFE ID, or one with `/*` for all below it.
    mutating func principal(
        _ node: YAMLNode,
        path: String,
        isTarget: Bool = false
    ) -> PrincipalPattern? {
        guard let text = string(node, path: path, bytesMax: SPIFFEID.bytesMax) else { return nil }
        do throws(SPIFFEIDError) {
            let pattern = try PrincipalPattern(text)
            if isTarget {
                let trustDomain =
                    switch pattern {
                    case .below(let trustDomain, _): trustDomain
                    case .exact(let id): id.trustDomain
                    }
                use(trustDomain, as: .own, path: path, at: node.position)
            }
            guard !pattern.isReserved else {
                report(
                    node.position,
                    "\(path): what lies below \(SPIFFEID.reservedPathPrefix) is Signet's own and "
                        + "no peer of traffic",
                    "remove it"
                )
                return nil
            }
            return pattern
        } catch {
            report(
                node.position,
                "\(path): \"\(Self.shown(text))\" is not a SPIFFE ID",
                "\(error); write a whole ID, or one with /* for every ID below it"
            )
            return nil
        }
    }
}
