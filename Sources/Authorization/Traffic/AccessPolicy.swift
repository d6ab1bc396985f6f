// SPDX-License-Identifier: Apache-2.0

package import HTTPSemantics
package import SPIFFE

/// Who may do what to workloads (docs/decisions/0008).
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

/// One way to match: one of the sources and one of the operations.
package struct AccessRule: Hashable, Sendable {
    /// nil: whoever it is.
    package let from: [AccessSource]?
    /// nil: whatever it is.
    package let to: [AccessOperation]?

    /// - Returns: nil for an empty list, which could be meant as everything and as nothing.
    package init?(from: [AccessSource]? = nil, to: [AccessOperation]? = nil) {
        guard from?.isEmpty != true, to?.isEmpty != true else { return nil }
        self.from = from
        self.to = to
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
}

/// Who asks.
package struct AccessSource: Hashable, Sendable {
    package let principals: AccessField<PrincipalPattern>
    package let addresses: AccessField<IPBlock>

    package init(
        principals: AccessField<PrincipalPattern> = .absent,
        addresses: AccessField<IPBlock> = .absent
    ) {
        self.principals = principals
        self.addresses = addresses
    }
}

/// What is asked for.
package struct AccessOperation: Hashable, Sendable {
    package let methods: AccessField<String>
    package let paths: AccessField<PathPattern>
    package let ports: AccessField<UInt16>

    package init(
        methods: AccessField<String> = .absent,
        paths: AccessField<PathPattern> = .absent,
        ports: AccessField<UInt16> = .absent
    ) {
        self.methods = methods
        self.paths = paths
        self.ports = ports
    }
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

/// A path, or what it begins or ends with.
package enum PathPattern: Hashable, Sendable, CustomStringConvertible {
    case exact([UInt8])
    /// Everything that begins with it; it ends with a slash.
    case below([UInt8])
    /// Everything that ends with it.
    case suffix([UInt8])
    case any

    /// Parses `/a/b`, `/a/*`, `*.css`, `*/x` or `*`.
    ///
    /// - Returns: nil for anything else, for what no request can have (decision 0007), and for `%2A`.
    package init?(_ text: String) {
        let bytes = Array(text.utf8)
        guard bytes.allSatisfy({ $0 < 0x80 }) else { return nil }
        let star = UInt8(ascii: "*")
        let (isOpen, isStar) = (bytes.last == star, bytes.first == star)
        guard bytes.count(where: { $0 == star }) == (isOpen || isStar ? 1 : 0) else { return nil }
        if bytes.count == 1, isStar {
            self = .any
        } else if isOpen {
            guard bytes.dropLast().last == UInt8(ascii: "/"),
                let path = Self.spelling(Array(bytes.dropLast()))
            else { return nil }
            self = .below(path)
        } else if isStar {
            let end = Array(bytes.dropFirst())
            // Within a word it would match words that nobody thought of.
            guard end.count > 1, end[0] == UInt8(ascii: "/") || end[0] == UInt8(ascii: "."),
                let path = Self.spelling(end[0] == UInt8(ascii: "/") ? end : Array("/a".utf8) + end)
            else { return nil }
            self = .suffix(end[0] == UInt8(ascii: "/") ? path : Array(path.dropFirst(2)))
        } else {
            guard let path = Self.spelling(bytes) else { return nil }
            self = .exact(path)
        }
    }

    /// The path as requests are compared; nil if none can have it, and for one with an asterisk that
    /// is meant as itself (`%2A`), which would be read as a pattern where the policy travels.
    private static func spelling(_ path: [UInt8]) -> [UInt8]? {
        let range = ByteRange(0..<path.count)
        guard CanonicalPath.refusal(path.span, range) == nil else { return nil }
        let spelling = CanonicalPath.spelling(path.span, range)
        return spelling.contains(UInt8(ascii: "*")) ? nil : spelling
    }

    /// As it is written, in the spelling in which paths are compared.
    package var description: String {
        switch self {
        case .exact(let path): String(decoding: path, as: UTF8.self)
        case .below(let start): String(decoding: start, as: UTF8.self) + "*"
        case .suffix(let end): "*" + String(decoding: end, as: UTF8.self)
        case .any: "*"
        }
    }

    /// Whether every path that another pattern matches is matched by this one.
    package func covers(_ other: PathPattern) -> Bool {
        switch (self, other) {
        case (.any, _): true
        case (.exact(let path), .exact(let other)): path == other
        case (.below(let start), .exact(let path)), (.below(let start), .below(let path)):
            path.starts(with: start)
        case (.suffix(let end), .exact(let path)), (.suffix(let end), .suffix(let path)):
            path.suffix(end.count).elementsEqual(end)
        // Only what begins with any slash ends with anything.
        case (.below(let start), .suffix), (.below(let start), .any):
            start == Array("/".utf8) && other != .any
        case (.exact, _), (.suffix, _): false
        }
    }

    /// Whether a path matches that is spelled as `CanonicalPath.spelling` does.
    package func matches(_ path: [UInt8]) -> Bool {
        switch self {
        case .exact(let other): path == other
        case .below(let start): path.starts(with: start)
        case .suffix(let end): path.suffix(end.count).elementsEqual(end)
        case .any: true
        }
    }
}
