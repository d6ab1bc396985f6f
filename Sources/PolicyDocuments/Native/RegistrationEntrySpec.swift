// SPDX-License-Identifier: Apache-2.0

package import SPIFFE
import StrictYAML

/// What a `RegistrationEntry` document says.
package struct RegistrationEntrySpec: Hashable, Sendable {
    /// Most selectors of each side; an entry needs a handful, and each is matched often.
    package static let selectorsMax = 32
    /// Most DNS names; they all go into every certificate, whose size peers limit.
    package static let dnsNamesMax = 32
    /// Longest hint; it is a word that programs look for, sent with every SVID.
    package static let hintBytesMax = 1024
    /// Most bounded variables; a path has few segments, and each at most one variable.
    package static let variablesMax = 16
    /// Most values of one bounded variable.
    package static let variableValuesMax = 256
    /// Shorter SVIDs would be renewed more often than clocks agree.
    package static let ttlSecondsMin = 10
    /// No SVID outlives the 24 hours that an authority lives by default.
    package static let ttlSecondsMax = 24 * 3600
    /// Agents keep tokens and give none out that is about to end, so a shorter one would be signed anew
    /// for each who asks.
    package static let jwtTTLSecondsMin = 30
    /// Verifiers that are not told of revocations take a token until it ends: beyond an hour it would
    /// be a password.
    package static let jwtTTLSecondsMax = 3600

    /// A SPIFFE ID or a template of one, never in the reserved part.
    package let spiffeID: String
    package let nodeSelectors: [Selector]
    package let workloadSelectors: [Selector]
    package let x509SVIDTTLSeconds: Int?
    package let jwtSVIDTTLSeconds: Int?
    package let dnsNames: [String]
    package let federatesWith: [TrustDomain]
    package let hint: String?
    /// Bounds of exactly the workload variables that the template has.
    package let variables: [String: VariableBound]
    /// Whether the workload is a server, whose authorities are certified by what certifies those of
    /// this one; never with a template.
    package let isDownstream: Bool

    package init(
        spiffeID: String,
        nodeSelectors: [Selector],
        workloadSelectors: [Selector],
        x509SVIDTTLSeconds: Int? = nil,
        jwtSVIDTTLSeconds: Int? = nil,
        dnsNames: [String] = [],
        federatesWith: [TrustDomain] = [],
        hint: String? = nil,
        variables: [String: VariableBound] = [:],
        isDownstream: Bool = false
    ) {
        self.spiffeID = spiffeID
        self.nodeSelectors = nodeSelectors
        self.workloadSelectors = workloadSelectors
        self.x509SVIDTTLSeconds = x509SVIDTTLSeconds
        self.jwtSVIDTTLSeconds = jwtSVIDTTLSeconds
        self.dnsNames = dnsNames
        self.federatesWith = federatesWith
        self.hint = hint
        self.variables = variables
        self.isDownstream = isDownstream
    }

    /// The entry that the document registers once it is stored.
    package func entry(metadata: DocumentMetadata, stored: StoredMetadata) -> RegistrationEntry {
        RegistrationEntry(
            id: stored.uid,
            namespace: metadata.namespace,
            name: metadata.name,
            revision: stored.revision,
            createdAt: stored.creationTimestamp,
            spiffeID: spiffeID,
            variableBounds: variables,
            nodeSelectors: nodeSelectors,
            workloadSelectors: workloadSelectors,
            x509SVIDTTLSeconds: x509SVIDTTLSeconds,
            jwtSVIDTTLSeconds: jwtSVIDTTLSeconds,
            dnsNames: dnsNames,
            federatesWith: federatesWith.map(\.name),
            hint: hint ?? "",
            labels: metadata.labels,
            expires: metadata.expires,
            isDownstream: isDownstream
        )
    }
}

extension DocumentParser {
    mutating func registrationEntrySpec(_ node: YAMLNode) -> RegistrationEntrySpec? {
        guard var fields = fields(of: node, path: "spec") else { return nil }
        let idNode = required("spiffeID", of: &fields)
        let nodeSelectors = selectors("nodeSelectors", of: &fields)
        let workloadSelectors = selectors("workloadSelectors", of: &fields, areOfProcess: true)
        let ttl = lifetime(
            "x509SVIDTTL",
            of: &fields,
            in: RegistrationEntrySpec.ttlSecondsMin...RegistrationEntrySpec.ttlSecondsMax
        )
        let tokenTTL = lifetime(
            "jwtSVIDTTL",
            of: &fields,
            in: RegistrationEntrySpec.jwtTTLSecondsMin...RegistrationEntrySpec.jwtTTLSecondsMax
        )
        let dnsNames = fields.take("dnsNames").flatMap {
            list($0, path: "spec.dnsNames", max: RegistrationEntrySpec.dnsNamesMax) {
                $0.dnsName($1, path: $2)
            }
        }
        let federatesWith = fields.take("federatesWith").flatMap {
            list($0, path: "spec.federatesWith", max: RegistrationEntry.federatesWithMax) {
                $0.foreignTrustDomain($1, path: $2)
            }
        }
        let hint = fields.take("hint").flatMap {
            prose($0, path: "spec.hint", bytesMax: RegistrationEntrySpec.hintBytesMax)
        }
        let variables = fields.take("variables").flatMap { variableBounds($0) }
        let downstream = fields.take("downstream")
        refuseUnknown(in: fields)
        let template = idNode.flatMap { entryID($0) }
        if let template, let idNode { check(variables ?? [:], of: template, at: idNode.position) }
        if let downstream { check(downstream: downstream, of: template) }
        guard let template, let nodeSelectors, let workloadSelectors else { return nil }
        return RegistrationEntrySpec(
            spiffeID: template.description,
            nodeSelectors: nodeSelectors,
            workloadSelectors: workloadSelectors,
            x509SVIDTTLSeconds: ttl,
            jwtSVIDTTLSeconds: tokenTTL,
            dnsNames: dnsNames ?? [],
            federatesWith: federatesWith ?? [],
            hint: hint,
            variables: variables?.mapValues(\.bound) ?? [:],
            isDownstream: downstream != nil
        )
    }

    /// Which server is meant has to be said by the entry, not by the node or its agent.
    private mutating func check(downstream node: YAMLNode, of template: IDTemplate?) {
        guard case .scalar("true", isPlain: true) = node.content else {
            reportType(of: node, path: "spec.downstream", expected: "true")
            return
        }
        guard let variable = template?.variables.first else { return }
        report(
            node.position,
            "spec.downstream: an entry with {\(variable.description)} in its spiffeID "
                + "means no single server",
            "write one entry with a whole SPIFFE ID for each server"
        )
    }

    /// Reads what a node or process must show.
    mutating func selectors(
        _ key: String,
        of fields: inout Fields,
        areOfProcess: Bool = false
    ) -> [Selector]? {
        guard let node = required(key, of: &fields) else { return nil }
        let path = fields.path(of: key)
        return list(node, path: path, max: RegistrationEntrySpec.selectorsMax) {
            let selector = $0.selector($1, path: $2)
            if areOfProcess, let selector, selector.type != UnixSelector.type {
                $0.warn(
                    $1.position,
                    "\($2): no process is attested to be \(Self.shown(selector.description))",
                    "agents attest unix:... only: \(UnixSelector.kinds.joined(separator: ", "))"
                )
            }
            return selector
        }
    }

    private mutating func selector(_ node: YAMLNode, path: String) -> Selector? {
        if case .mapping(let pairs) = node.content, let pair = pairs.first {
            report(
                node.position,
                "\(path) is a mapping, not a selector",
                "write \(Self.shown(pair.key)):value without a space after the colon"
            )
            return nil
        }
        guard let text = string(node, path: path, bytesMax: Selector.bytesMax) else { return nil }
        do throws(SelectorError) {
            let selector = try Selector(text)
            if selector.type == UnixSelector.type,
                let problem = UnixSelector.problem(in: selector.value)
            {
                report(node.position, "\(path): \(problem.what)", problem.remedy)
                return nil
            }
            return selector
        } catch {
            report(
                node.position,
                "\(path): \"\(Self.shown(text))\" is not a selector",
                error.description
            )
            return nil
        }
    }

    /// Reads a duration.
    mutating func lifetime(
        _ key: String,
        of fields: inout Fields,
        in range: ClosedRange<Int>
    ) -> Int? {
        guard let node = fields.take(key) else { return nil }
        let path = fields.path(of: key)
        let bounds =
            "\(DurationText.text(seconds: range.lowerBound)) to "
            + DurationText.text(seconds: range.upperBound)
        let remedy = "write a duration from \(bounds), for example 1h or 90s"
        guard case .scalar(let text, _) = node.content,
            let seconds = DurationText.seconds(parsing: text)
        else {
            reportType(of: node, path: path, expected: "a duration", remedy: remedy)
            return nil
        }
        guard range.contains(seconds) else {
            report(node.position, "\(path): \(text) is outside \(bounds)", remedy)
            return nil
        }
        return seconds
    }

    private mutating func dnsName(_ node: YAMLNode, path: String) -> String? {
        guard let text = string(node, path: path, bytesMax: DNSName.bytesMax) else { return nil }
        guard DNSName.isHost(text) else {
            report(
                node.position,
                "\(path): \"\(Self.shown(text))\" is not a DNS name",
                "write a whole name in lower case without wildcard, for example web.example.org"
            )
            return nil
        }
        return text
    }

    /// Reads the bare name of another trust domain than the server's own.
    mutating func foreignTrustDomain(_ node: YAMLNode, path: String) -> TrustDomain? {
        guard let text = string(node, path: path, bytesMax: TrustDomain.nameBytesMax) else {
            return nil
        }
        do throws(SPIFFEIDError) {
            let trustDomain = try TrustDomain(text)
            use(trustDomain, as: .foreign, path: path, at: node.position)
            return trustDomain
        } catch {
            report(
                node.position,
                "\(path): \"\(Self.shown(text))\" is not a trust domain: \(error)",
                "write the bare name, for example partner.example"
            )
            return nil
        }
    }
}
