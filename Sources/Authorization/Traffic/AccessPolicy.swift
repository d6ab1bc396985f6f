// SPDX-License-Identifier: Apache-2.0

package import HTTPSemantics
package import SPIFFE

/// Who may do what to workloads (docs/decisions/0008, docs/decisions/0025).
package struct AccessPolicy: Hashable, Sendable {
    /// What a policy does with what its rules match.
    package enum Action: String, CaseIterable, Hashable, Sendable {
        case allow = "ALLOW"
        case deny = "DENY"
    }

    /// A guardrail only denies, and is looked at before everything else.
    package enum Tier: String, CaseIterable, Hashable, Sendable {
        case guardrail
        case normal
    }

    /// Whether it decides, decides only beside, or is not looked at.
    package enum Mode: String, CaseIterable, Hashable, Sendable {
        case enforce
        case shadow
        case off
    }

    package let namespace: String
    package let name: String
    package let action: Action
    package let tier: Tier
    package let mode: Mode
    /// nil: every workload of the namespace.
    package let target: AccessTarget?
    package let rules: [AccessRule]

    /// Joins the parts; whether they fit each other was checked when the document was read.
    package init(
        namespace: String,
        name: String,
        action: Action,
        tier: Tier = .normal,
        mode: Mode = .enforce,
        target: AccessTarget? = nil,
        rules: [AccessRule]
    ) {
        self.namespace = namespace
        self.name = name
        self.action = action
        self.tier = tier
        self.mode = mode
        self.target = target
        self.rules = rules
    }
}

/// One way to match: one of the sources, one of the operations and all of the conditions.
package struct AccessRule: Hashable, Sendable {
    /// nil: whoever it is.
    package let from: [AccessSource]?
    /// nil: whatever it is.
    package let to: [AccessOperation]?
    /// What must hold besides, each subject once.
    package let when: [AccessCondition]

    /// - Returns: nil for an empty list, which could be meant as everything and as nothing.
    package init?(
        from: [AccessSource]? = nil,
        to: [AccessOperation]? = nil,
        when: [AccessCondition] = []
    ) {
        guard from?.isEmpty != true, to?.isEmpty != true else { return nil }
        self.from = from
        self.to = to
        self.when = when
    }
}

/// Values of which one must match, and values of which none may.
package struct AccessField<Value: Hashable & Sendable>: Hashable, Sendable {
    package let anyOf: [Value]?
    package let noneOf: [Value]?

    /// The field of a rule that does not ask about it.
    package static var absent: Self { Self() }

    private init() { (anyOf, noneOf) = (nil, nil) }

    /// - Returns: nil for an empty list, which could be meant as everything and as nothing.
    package init?(anyOf: [Value]? = nil, noneOf: [Value]? = nil) {
        guard anyOf?.isEmpty != true, noneOf?.isEmpty != true else { return nil }
        self.anyOf = anyOf
        self.noneOf = noneOf
    }

    package var isAbsent: Bool { anyOf == nil && noneOf == nil }

    /// Whether one of its values, of either kind, is such.
    package func contains(_ isSuch: (Value) -> Bool) -> Bool {
        anyOf?.contains(where: isSuch) ?? false || noneOf?.contains(where: isSuch) ?? false
    }
}

/// Who asks.
package struct AccessSource: Hashable, Sendable {
    package let principals: AccessField<PrincipalPattern>
    package let addresses: AccessField<IPBlock>
    package let trustDomains: AccessField<TrustDomain>

    package init(
        principals: AccessField<PrincipalPattern> = .absent,
        addresses: AccessField<IPBlock> = .absent,
        trustDomains: AccessField<TrustDomain> = .absent
    ) {
        self.principals = principals
        self.addresses = addresses
        self.trustDomains = trustDomains
    }

    /// Whether it says by name whom it means: only so does an ALLOW admit a peer of another trust
    /// domain (docs/decisions/0021-federation.md).
    package var names: Bool { principals.anyOf != nil || trustDomains.anyOf != nil }

    /// Whether it says that it means whoever is at an address: only so does an ALLOW admit a peer
    /// without identity.
    package var namesAddresses: Bool {
        addresses.anyOf != nil && principals.isAbsent && trustDomains.isAbsent
    }
}

/// What is asked for.
package struct AccessOperation: Hashable, Sendable {
    package let methods: AccessField<String>
    package let paths: AccessField<PathPattern>
    package let ports: AccessField<UInt16>
    package let hosts: AccessField<HostPattern>

    package init(
        methods: AccessField<String> = .absent,
        paths: AccessField<PathPattern> = .absent,
        ports: AccessField<UInt16> = .absent,
        hosts: AccessField<HostPattern> = .absent
    ) {
        self.methods = methods
        self.paths = paths
        self.ports = ports
        self.hosts = hosts
    }

    /// Whether it asks for what only a request over HTTP has.
    package var asksHTTP: Bool { !methods.isAbsent || !paths.isAbsent || !hosts.isAbsent }
}

/// A whole SPIFFE ID, or every ID below one.
package enum PrincipalPattern: Hashable, Sendable, CustomStringConvertible {
    case exact(SPIFFEID)
    /// Every ID of the trust domain that begins with the path and a slash.
    case below(TrustDomain, path: String)

    /// Parses `spiffe://td/a/b` or `spiffe://td/a/*`.
    ///
    /// - Throws: `SPIFFEIDError` for anything else.
    package init(_ text: String) throws(SPIFFEIDError) {
        // By bytes: a Character may hold more than the asterisk.
        let bytes = Array(text.utf8)
        guard bytes.suffix(2) == Array("/*".utf8) else {
            self = .exact(try SPIFFEID(text))
            return
        }
        let base = try SPIFFEID(String(decoding: bytes.dropLast(2), as: UTF8.self))
        self = .below(base.trustDomain, path: base.path)
    }

    /// As it is written.
    package var description: String {
        switch self {
        case .exact(let id): id.description
        case .below(let trustDomain, let path): "spiffe://\(trustDomain)\(path)/*"
        }
    }

    /// Whether everybody whom another pattern names is named by this one.
    package func covers(_ other: PrincipalPattern) -> Bool {
        switch (self, other) {
        case (_, .exact(let id)): matches(id)
        case (.exact, .below): false
        case (.below(let own, let start), .below(let trustDomain, let path)):
            own == trustDomain && (path + "/").utf8.starts(with: (start + "/").utf8)
        }
    }

    /// Whether it names nobody but Signet's own parts.
    package var isReserved: Bool {
        switch self {
        case .exact(let id): id.isReserved
        case .below(_, let path):
            (path + "/").utf8.starts(with: SPIFFEID.reservedPathPrefix.utf8)
        }
    }

    /// Whether it names this ID.
    package func matches(_ id: SPIFFEID) -> Bool {
        switch self {
        case .exact(let other): other == id
        case .below(let trustDomain, let path):
            trustDomain == id.trustDomain && id.path.utf8.starts(with: (path + "/").utf8)
        }
    }
}
