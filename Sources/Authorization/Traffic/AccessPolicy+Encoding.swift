// SPDX-License-Identifier: Apache-2.0

internal import HTTPSemantics
internal import SPIFFE

/// How a policy travels: fields with numbers, in one order (`TaggedWriter`).
///
/// A number is never used again for something else, and whoever does not know a field refuses the
/// policy: a condition that is not understood cannot be left out.
extension AccessPolicy {
    /// What a proxy says it can do: one word for each version of the encoding that it reads.
    ///
    /// The words of a version are closed with the release that first says it: whatever is added later,
    /// a header that may not be asked included, has a version of its own.
    package static let capabilities = ["access-policy/1", "access-policy/2"]
    /// Most rules of a policy: a person must judge them.
    package static let rulesMax = 128
    /// Most sources, and most operations, of a rule, for the same reason.
    package static let partsMax = 64
    /// Most values of one list, for the same reason.
    package static let valuesMax = 256
    /// The version of what decision 0008 knows, which every proxy reads.
    private static let firstVersion: UInt8 = 1
    /// The version of the rest (docs/decisions/0025).
    private static let secondVersion: UInt8 = 2

    /// What a proxy must be able to do to read a policy that has travelled.
    package static func capability(for encoded: [UInt8]) -> String {
        "access-policy/\(encoded.first ?? 0)"
    }

    private enum Tag {
        static let namespace: UInt8 = 1
        static let name: UInt8 = 2
        static let action: UInt8 = 3
        static let tier: UInt8 = 4
        static let mode: UInt8 = 5
        static let target: UInt8 = 6
        static let rule: UInt8 = 7
        // In a target.
        static let identity: UInt8 = 1
        static let label: UInt8 = 2
        static let service: UInt8 = 3
        // In a label.
        static let key: UInt8 = 1
        static let value: UInt8 = 2
        // In a rule.
        static let source: UInt8 = 1
        static let operation: UInt8 = 2
        static let condition: UInt8 = 3
        // In a condition: what is wanted, and one more for what is excluded.
        static let values: UInt8 = 2
        // In a source: what is wanted, and one more for what is excluded.
        static let principals: UInt8 = 1
        static let addresses: UInt8 = 3
        static let trustDomains: UInt8 = 5
        // In an operation, the same way.
        static let methods: UInt8 = 1
        static let paths: UInt8 = 3
        static let ports: UInt8 = 5
        static let hosts: UInt8 = 7
    }

    /// The policy in the form in which it travels; equal policies have equal bytes.
    package var encoded: [UInt8] {
        var writer = TaggedWriter(version: version)
        writer.text(Tag.namespace, namespace)
        writer.text(Tag.name, name)
        writer.text(Tag.action, action.rawValue)
        writer.text(Tag.tier, tier.rawValue)
        writer.text(Tag.mode, mode.rawValue)
        if let target { writer.record(Tag.target) { Self.write(target, to: &$0) } }
        for rule in rules {
            writer.record(Tag.rule) { writer in
                for source in rule.from ?? [] {
                    writer.record(Tag.source) { Self.write(source, to: &$0) }
                }
                for operation in rule.to ?? [] {
                    writer.record(Tag.operation) { Self.write(operation, to: &$0) }
                }
                for condition in rule.when {
                    writer.record(Tag.condition) { Self.write(condition, to: &$0) }
                }
            }
        }
        return writer.bytes
    }

    /// The lowest version that has words for it: proxies of earlier releases read as much as they
    /// can.
    private var version: UInt8 {
        func isSecond(_ rule: AccessRule) -> Bool {
            !rule.when.isEmpty
                || rule.from?.contains { !$0.trustDomains.isAbsent } ?? false
                || rule.to?.contains { operation in
                    let patterns = (operation.paths.anyOf ?? []) + (operation.paths.noneOf ?? [])
                    return !operation.hosts.isAbsent
                        || patterns.contains(where: \.isOfSecondVersion)
                } ?? false
        }
        return rules.contains(where: isSecond) ? Self.secondVersion : Self.firstVersion
    }

    private static func write(_ target: AccessTarget, to writer: inout TaggedWriter) {
        switch target {
        case .identities(let patterns): writer.texts(Tag.identity, patterns.map(\.description))
        case .labels(let labels):
            for (key, value) in labels.sorted(by: { $0.key < $1.key }) {
                writer.record(Tag.label) { writer in
                    writer.text(Tag.key, key)
                    writer.text(Tag.value, value)
                }
            }
        case .services(let names): writer.texts(Tag.service, names)
        }
    }

    private static func write(_ source: AccessSource, to writer: inout TaggedWriter) {
        write(source.principals, Tag.principals, to: &writer)
        write(source.addresses, Tag.addresses, to: &writer)
        write(source.trustDomains, Tag.trustDomains, to: &writer)
    }

    private static func write(_ operation: AccessOperation, to writer: inout TaggedWriter) {
        writer.texts(Tag.methods, operation.methods.anyOf)
        writer.texts(Tag.methods + 1, operation.methods.noneOf)
        write(operation.paths, Tag.paths, to: &writer)
        for port in operation.ports.anyOf ?? [] { writer.number(Tag.ports, port) }
        for port in operation.ports.noneOf ?? [] { writer.number(Tag.ports + 1, port) }
        write(operation.hosts, Tag.hosts, to: &writer)
    }

    private static func write(_ condition: AccessCondition, to writer: inout TaggedWriter) {
        writer.text(Tag.key, condition.key)
        switch condition {
        case .header(_, let field): write(field, Tag.values, to: &writer)
        case .serverName(let field): write(field, Tag.values, to: &writer)
        }
    }

    private static func write<Value: CustomStringConvertible>(
        _ field: AccessField<Value>,
        _ tag: UInt8,
        to writer: inout TaggedWriter
    ) {
        writer.texts(tag, field.anyOf?.map(\.description))
        writer.texts(tag + 1, field.noneOf?.map(\.description))
    }

    // MARK: - Reading

    /// Reads a policy that has travelled.
    ///
    /// - Throws: `TaggedFieldError` for everything that this version does not write; then no part of
    ///   it holds, and whoever reads keeps what it has.
    package init(decoding bytes: [UInt8]) throws(TaggedFieldError) {
        let isSecond = bytes.first == Self.secondVersion
        var reader = try TaggedReader(
            bytes,
            version: isSecond ? Self.secondVersion : Self.firstVersion
        )
        let (namespace, name) = (try reader.text(Tag.namespace), try reader.text(Tag.name))
        guard let action = Action(rawValue: try reader.text(Tag.action)) else {
            throw .value(Tag.action)
        }
        guard let tier = Tier(rawValue: try reader.text(Tag.tier)) else { throw .value(Tag.tier) }
        guard let mode = Mode(rawValue: try reader.text(Tag.mode)) else { throw .value(Tag.mode) }
        let target = try reader.optionalRecord(Tag.target, Self.target)
        let rules = try reader.records(Tag.rule, max: Self.rulesMax, Self.rule)
        try reader.end()
        // Such a policy would allow nothing and look as if it did.
        guard action == .deny || tier == .normal else { throw .whole }
        self.init(
            namespace: namespace,
            name: name,
            action: action,
            tier: tier,
            mode: mode,
            target: target,
            rules: rules
        )
        // Two spellings of one policy would be two policies for whoever compares bytes.
        guard encoded == bytes else { throw .whole }
    }

    private static func target(
        _ reader: inout TaggedReader
    ) throws(TaggedFieldError) -> AccessTarget {
        let texts = try reader.texts(Tag.identity, max: valuesMax)
        let identities = try TaggedReader.parsed(texts, Tag.identity, Self.principal)
        let labels = try reader.records(Tag.label, max: valuesMax, Self.label)
        let services = try reader.texts(Tag.service, max: valuesMax)
        switch (identities, labels.isEmpty, services) {
        case (let patterns?, true, nil): return .identities(patterns)
        case (nil, false, nil):
            let values = Dictionary(labels, uniquingKeysWith: { first, _ in first })
            guard values.count == labels.count else { throw .value(Tag.label) }
            return .labels(values)
        case (nil, true, let names?): return .services(names)
        default: throw .whole
        }
    }

    private static func label(
        _ reader: inout TaggedReader
    ) throws(TaggedFieldError) -> (String, String) {
        (try reader.text(Tag.key), try reader.text(Tag.value))
    }

    private static func rule(
        _ reader: inout TaggedReader
    ) throws(TaggedFieldError) -> AccessRule {
        let from = try reader.records(Tag.source, max: partsMax, Self.source)
        let to = try reader.records(Tag.operation, max: partsMax, Self.operation)
        let when = try reader.records(
            Tag.condition,
            max: AccessCondition.conditionsMax,
            Self.condition
        )
        guard Set(when.map(\.key)).count == when.count,
            let rule = AccessRule(
                from: from.isEmpty ? nil : from,
                to: to.isEmpty ? nil : to,
                when: when
            )
        else { throw .whole }
        return rule
    }

    private static func condition(
        _ reader: inout TaggedReader
    ) throws(TaggedFieldError) -> AccessCondition {
        let key = try reader.text(Tag.key)
        switch key {
        case AccessCondition.serverName(.absent).key:
            let field = try field(&reader, Tag.values) { HostPattern($0) }
            guard !field.isAbsent, !field.contains({ $0.port != nil }) else { throw .whole }
            return .serverName(field)
        default:
            guard let name = AccessCondition.headerName(ofKey: key) else { throw .value(Tag.key) }
            let field = try field(&reader, Tag.values) { HeaderPattern($0) }
            guard !field.isAbsent else { throw .whole }
            switch AccessCondition.use(ofHeader: name) {
            case .value: break
            case .presence:
                guard !field.contains({ $0 != .any }) else { throw .whole }
            case .none, .malformed: throw .value(Tag.key)
            }
            return .header(name, field)
        }
    }

    private static func source(
        _ reader: inout TaggedReader
    ) throws(TaggedFieldError) -> AccessSource {
        AccessSource(
            principals: try field(&reader, Tag.principals, Self.principal),
            addresses: try field(&reader, Tag.addresses) { IPBlock($0) },
            trustDomains: try field(&reader, Tag.trustDomains) { try? TrustDomain($0) }
        )
    }

    private static func operation(
        _ reader: inout TaggedReader
    ) throws(TaggedFieldError) -> AccessOperation {
        let methods = try field(&reader, Tag.methods) { Self.isMethod($0) ? $0 : nil }
        let paths = try field(&reader, Tag.paths) { PathPattern($0) ?? PathPattern(call: $0) }
        // A document has one of the two notations.
        guard !paths.contains(\.isCall) || !paths.contains({ !$0.isCall }) else { throw .whole }
        let wanted = try reader.numbers(Tag.ports, max: valuesMax, as: UInt16.self)
        let excluded = try reader.numbers(Tag.ports + 1, max: valuesMax, as: UInt16.self)
        guard let ports = AccessField(anyOf: wanted, noneOf: excluded) else { throw .whole }
        let hosts = try field(&reader, Tag.hosts) { HostPattern($0) }
        return AccessOperation(methods: methods, paths: paths, ports: ports, hosts: hosts)
    }

    private static func field<Value: CustomStringConvertible & Hashable & Sendable>(
        _ reader: inout TaggedReader,
        _ tag: UInt8,
        _ parse: (String) -> Value?
    ) throws(TaggedFieldError) -> AccessField<Value> {
        let wanted = try reader.texts(tag, max: valuesMax)
        let excluded = try reader.texts(tag + 1, max: valuesMax)
        let field = AccessField(
            anyOf: try TaggedReader.parsed(wanted, tag, parse),
            noneOf: try TaggedReader.parsed(excluded, tag + 1, parse)
        )
        guard let field else { throw .whole }
        return field
    }

    private static func principal(_ text: String) -> PrincipalPattern? {
        try? PrincipalPattern(text)
    }

    /// Whether a text is a method as policies write it: a token (RFC 9110 section 5.6.2) without
    /// small letters, which no request that is let through has.
    package static func isMethod(_ text: String) -> Bool {
        (1...methodBytesMax).contains(text.utf8.count)
            && text.utf8.allSatisfy {
                Octet.isToken($0) && !(UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0)
            }
    }

    /// Longest method: registered ones have up to 17 letters.
    package static let methodBytesMax = 32
}

extension PathPattern {
    /// Whether version 1 of the encoding has no words for it.
    fileprivate var isOfSecondVersion: Bool {
        switch self {
        case .call, .template: true
        case .any, .below, .exact, .suffix: false
        }
    }
}
