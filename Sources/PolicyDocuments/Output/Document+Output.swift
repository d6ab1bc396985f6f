// SPDX-License-Identifier: Apache-2.0

import Authorization
import HTTPSemantics
import SPIFFE

extension Document {
    /// The document as JSON for people and tools, with a line end.
    ///
    /// What the server added is shown in the metadata. The text can be applied again: `uid` and
    /// `resourceVersion` then say what is meant to be changed.
    package func prettyJSON(stored: StoredMetadata?) -> String { json(stored: stored).pretty }

    /// The same as `prettyJSON(stored:)` in YAML; several are separated by lines of `---`.
    package func yaml(stored: StoredMetadata?) -> String { json(stored: stored).yaml }

    func json(stored: StoredMetadata?) -> JSONValue {
        var members: [String: JSONValue] = [
            "apiVersion": .string(Self.nativeAPIVersion),
            "kind": .string(kind.rawValue),
            "metadata": metadata.json(stored: stored),
        ]
        switch spec {
        case .accessPolicy(let spec): members["spec"] = spec.json
        case .delegationPolicy(let spec): members["spec"] = spec.json
        case .federatedTrustDomain(let spec): members["spec"] = spec.json
        case .namespace: break
        case .proxy(let spec): members["spec"] = spec.json
        case .registrationEntry(let spec): members["spec"] = spec.json
        case .role(let spec): members["spec"] = .object(["rules": .array(spec.rules.map(\.json))])
        case .roleBinding(let spec): members["spec"] = spec.json(in: metadata.namespace)
        case .service(let spec): members["spec"] = spec.json
        }
        return .object(members)
    }
}

extension DocumentMetadata {
    fileprivate func json(stored: StoredMetadata?) -> JSONValue {
        var members: [String: JSONValue] = ["name": .string(name)]
        if !namespace.isEmpty { members["namespace"] = .string(namespace) }
        if !labels.isEmpty { members["labels"] = .object(labels.mapValues(JSONValue.string)) }
        if !annotations.isEmpty {
            members["annotations"] = .object(annotations.mapValues(JSONValue.string))
        }
        members["owner"] = owner.map(JSONValue.string)
        members["reason"] = reason.map(JSONValue.string)
        members["expires"] = expires.map { .string(Timestamp.text($0)) }
        if let stored {
            members["uid"] = .string(stored.uid)
            members["resourceVersion"] = .integer(stored.resourceVersion)
            members["creationTimestamp"] = .string(Timestamp.text(stored.creationTimestamp))
            members["revision"] = .integer(stored.revision)
        }
        return .object(members)
    }
}

extension DelegationPolicySpec {
    fileprivate var json: JSONValue {
        .object([
            "subjects": .array(subjects.map { .string($0.description) }),
            "actors": .array(actors.map { .string($0.description) }),
            "audiences": .array(audiences.map(JSONValue.string)),
        ])
    }
}

extension RegistrationEntrySpec {
    fileprivate var json: JSONValue {
        var members: [String: JSONValue] = [
            "spiffeID": .string(spiffeID),
            "nodeSelectors": .array(nodeSelectors.map { .string($0.description) }),
            "workloadSelectors": .array(workloadSelectors.map { .string($0.description) }),
        ]
        members["x509SVIDTTL"] = x509SVIDTTLSeconds.map { .string(DurationText.text(seconds: $0)) }
        members["jwtSVIDTTL"] = jwtSVIDTTLSeconds.map { .string(DurationText.text(seconds: $0)) }
        if !dnsNames.isEmpty { members["dnsNames"] = .array(dnsNames.map(JSONValue.string)) }
        if !federatesWith.isEmpty {
            members["federatesWith"] = .array(federatesWith.map { .string($0.name) })
        }
        members["hint"] = hint.map(JSONValue.string)
        if !variables.isEmpty { members["variables"] = .object(variables.mapValues(\.json)) }
        if isDownstream { members["downstream"] = .boolean(true) }
        return .object(members)
    }
}

extension FederatedTrustDomainSpec {
    fileprivate var json: JSONValue {
        var members: [String: JSONValue] = [
            "trustDomain": .string(trustDomain.name),
            "bundleEndpointURL": .string(bundleEndpointURL.description),
        ]
        switch bundleEndpointProfile {
        case .spiffe(let id, let bundle):
            members["bundleEndpointProfile"] = .object([
                "type": .string("https_spiffe"), "endpointSPIFFEID": .string(id.description),
            ])
            members["trustDomainBundle"] = bundle.map(JSONValue.string)
        case .web: members["bundleEndpointProfile"] = .object(["type": .string("https_web")])
        }
        if staleAfterSeconds != Self.staleAfterSecondsDefault {
            members["staleAfter"] = .string(DurationText.text(seconds: staleAfterSeconds))
        }
        return .object(members)
    }
}

extension VariableBound {
    fileprivate var json: JSONValue {
        switch self {
        case .agentAsserted: .object(["agentAsserted": .boolean(true)])
        case .prefix(let prefix): .object(["prefix": .string(prefix)])
        case .values(let values): .object(["values": .array(values.map(JSONValue.string))])
        }
    }
}

extension AdminRule {
    fileprivate var json: JSONValue {
        var members = ["verbs": Self.list(verbs.map(\.rawValue))]
        // Documents cannot say "every kind"; only the built-in role does, and it is no document.
        if case .only(let names) = kinds, !names.isEmpty { members["kinds"] = Self.list(names) }
        members["namespaces"] = namespaces.map(Self.list)
        members["spiffeIDPrefixes"] = spiffeIDPrefixes.map { Self.list($0.map(\.description)) }
        return .object(members)
    }

    private static func list(_ names: some Collection<String>) -> JSONValue {
        .array(names.sorted().map(JSONValue.string))
    }
}

extension RoleBindingSpec {
    fileprivate func json(in namespace: String) -> JSONValue {
        .object([
            "role": .string(role.namespace == namespace ? role.name : role.description),
            "subjects": .array(subjects.map { .string($0.description) }),
        ])
    }
}
