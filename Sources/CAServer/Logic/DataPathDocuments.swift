// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import FoundationEssentials
internal import PolicyDocuments
internal import Routing

/// The kinds of document that say what proxies do.
enum DataPathKind {
    static let accessPolicy = DocumentKind.accessPolicy.rawValue
    static let proxy = DocumentKind.proxy.rawValue
    static let service = DocumentKind.service.rawValue
}

/// Which policy is meant.
struct PolicyReference: Hashable {
    let namespace: String
    let name: String
}

/// A policy as it is stored.
struct DatedPolicy {
    let policy: AccessPolicy
    /// From here on it allows and denies nothing.
    let expires: Date?
    /// As proxies read it.
    let encoded: [UInt8]

    var reference: PolicyReference {
        PolicyReference(namespace: policy.namespace, name: policy.name)
    }
}

extension Document {
    /// What the document says, if it is of kind Proxy.
    var proxy: Proxy? {
        if case .proxy(let spec) = spec { spec.proxy(metadata: metadata) } else { nil }
    }

    /// What the document says, if it is of kind Service.
    var service: Service? {
        if case .service(let spec) = spec { spec.service(metadata: metadata) } else { nil }
    }

    /// What the document says, if it is of kind AccessPolicy.
    var accessPolicy: DatedPolicy? {
        guard case .accessPolicy(let spec) = spec else { return nil }
        let policy = spec.policy(metadata: metadata)
        return DatedPolicy(policy: policy, expires: metadata.expires, encoded: policy.encoded)
    }
}
