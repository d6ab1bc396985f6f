// SPDX-License-Identifier: Apache-2.0

internal import HTTPSemantics
internal import SPIFFE

extension CompiledPolicySet {
    /// Why policies were not compiled.
    package enum CompileError: Error, Hashable, Sendable {
        /// More pairs of rule and operation than `clausesMax`.
        case clausesMax
        /// More of one namespace that is looked at late than `lateCostMax`.
        case lateCostMax(namespace: String)
    }

    /// Whether policies that hold for one workload ask for more than one decision may cost.
    ///
    /// - Returns: nil if they can be compiled.
    package static func refusal(of policies: [AccessPolicy]) -> CompileError? {
        let asked = policies.filter { $0.mode != .off }
        if asked.reduce(0, { $0 + $1.clauseCount }) > clausesMax { return .clausesMax }
        let costs = Dictionary(grouping: asked, by: \.namespace)
            .mapValues { policies in policies.reduce(0) { $0 + $1.lateCost } }
        return costs.filter { $0.value > lateCostMax }.keys.min().map {
            .lateCostMax(namespace: $0)
        }
    }

    /// Builds the indexes; allocates, and belongs off the loops.
    ///
    /// - Parameter policies: Those that hold for one workload.
    /// - Throws: `CompileError`; then the last good set stays.
    package init(_ policies: [AccessPolicy]) throws(CompileError) {
        let sorted = policies.sorted { ($0.namespace, $0.name) < ($1.namespace, $1.name) }
        if let refusal = Self.refusal(of: sorted) { throw refusal }
        let clauses = Clause.all(of: sorted)
        var lists = ClauseLists(clauseCount: clauses.count)
        self.policies = sorted
        fingerprint = sorted.hashValue
        origins = clauses.map(\.origin)
        blockCount = lists.blockCount
        enforced = Self.bits(of: clauses) { $0.isEnforced }
        connection = Self.bits(of: clauses, where: \.holdsForConnection)
        let otherPlace = HTTPMethod.other
        methods = HTTPMethod.allCases.flatMap { method in
            Self.bits(of: clauses) {
                method == otherPlace ? $0.couldHoldForOther : $0.holds(for: method)
            }
        }
        let named = clauses.enumerated().compactMap { number, clause in
            clause.otherMethods.map { (number, $0) }
        }
        namesMethod = Self.bits(of: clauses) { $0.otherMethods != nil }
        otherMethods = Dictionary(uniqueKeysWithValues: named)
        pathFields = clauses.map(\.operation.paths)
        excludesPaths = Self.bits(of: clauses) { $0.operation.paths.noneOf != nil }
        let (paths, anyPath) = Self.index(clauses, &lists)
        (self.paths, self.anyPath) = (paths, anyPath)
        var sources = SourceIndex()
        Self.index(clauses, &sources, &lists)
        let unnamed = clauses.indices.filter { clauses[$0].from == nil }
        everybody = lists.add(unnamed)
        everybodyDenied = lists.add(unnamed.filter { clauses[$0].isDeny })
        self.sources = sources
        ports = Self.grouped(clauses) { clause in
            clause.operation.ports.isAbsent ? [] : [clause.operation.ports]
        }
        .map { field, numbers in (field, lists.add(numbers)) }
        serverNames = Self.grouped(clauses, by: \.serverNames).map { field, numbers in
            (field, lists.add(numbers))
        }
        self.lists = lists
        var late = LateConditions()
        for (number, clause) in clauses.enumerated() {
            late.add(
                isSameRule: number > 0 && clauses[number - 1].origin == clause.origin,
                paths: clause.operation.paths,
                hosts: clause.operation.hosts,
                conditions: clause.conditions
            )
        }
        looksLate = Self.bits(ofPlaces: clauses.indices.filter(late.has), clauses.count)
        self.late = late
        headerNames = Set(clauses.flatMap(\.headerNames))
    }

    private static func bits(ofPlaces places: [Int], _ count: Int) -> [SIMD8<UInt64>] {
        var blocks = [SIMD8<UInt64>](repeating: .zero, count: ClauseSet.blockCount(count))
        for number in places {
            ClauseSet.insert(number, into: &blocks[number / ClauseSet.blockSize])
        }
        return blocks
    }

    private static func bits(
        of clauses: [Clause],
        where holds: (Clause) -> Bool
    ) -> [SIMD8<UInt64>] {
        bits(ofPlaces: clauses.indices.filter { holds(clauses[$0]) }, clauses.count)
    }

    /// The clauses of each value, in the order in which values come first.
    private static func grouped<Value: Hashable>(
        _ clauses: [Clause],
        by values: (Clause) -> [Value]
    ) -> [(value: Value, clauses: [Int])] {
        var places: [Value: Int] = [:]
        var groups: [(value: Value, clauses: [Int])] = []
        for (number, clause) in clauses.enumerated() {
            for value in Set(values(clause)) {
                if let place = places[value] {
                    groups[place].clauses.append(number)
                } else {
                    places[value] = groups.count
                    groups.append((value, [number]))
                }
            }
        }
        return groups
    }

    private static func index(
        _ clauses: [Clause],
        _ lists: inout ClauseLists
    ) -> (paths: PathIndex, anyPath: UInt32) {
        var open: [Int] = []
        var closed: Set<Int> = []
        for (number, clause) in clauses.enumerated() {
            let field = clause.operation.paths
            // What excludes every path holds for connections at most.
            if field.noneOf?.contains(.any) == true { closed.insert(number) }
            let isOpen = field.anyOf?.contains(.any) ?? true
            if isOpen, !closed.contains(number) { open.append(number) }
        }
        let anyPath = lists.add(open)
        let wanted = grouped(clauses) { clause in
            let patterns = clause.operation.paths.anyOf ?? []
            return patterns.contains(.any) ? [] : patterns.map(\.plain)
        }
        // Excluded templates are looked at late: what an index finds of one is more than it is.
        let excluded = grouped(clauses) { clause in
            (clause.operation.paths.noneOf ?? []).filter { !$0.isTemplate }.map(\.plain)
        }
        var numbers: [PathPattern: (positive: UInt32, negative: UInt32)] = [:]
        for (pattern, group) in wanted {
            numbers[pattern, default: (.max, .max)].positive = lists.add(
                group.filter { !closed.contains($0) }
            )
        }
        for (pattern, group) in excluded {
            numbers[pattern, default: (.max, .max)].negative = lists.add(group)
        }
        var paths = PathIndex()
        for (pattern, number) in numbers {
            paths.add(pattern, positive: number.positive, negative: number.negative)
        }
        paths.seal()
        return (paths, anyPath)
    }

    private static func index(
        _ clauses: [Clause],
        _ sources: inout SourceIndex,
        _ lists: inout ClauseLists
    ) {
        struct Key: Hashable {
            let source: AccessSource
            let isDeny: Bool
        }
        let groups = grouped(clauses) { clause in
            (clause.from ?? []).map { Key(source: $0, isDeny: clause.isDeny) }
        }
        for (key, numbers) in groups {
            sources.add(key.source, isDeny: key.isDeny, clauses: lists.add(numbers))
        }
    }
}

/// A rule with one of its operations.
private struct Clause {
    let origin: CompiledPolicySet.Origin
    let isEnforced: Bool
    let rule: AccessRule
    let operation: AccessOperation

    var from: [AccessSource]? { rule.from }
    var conditions: [AccessCondition] { rule.when }

    /// Whether what is not known matches.
    var isDeny: Bool { origin.reason != .allowed }

    var serverNames: [CompiledPolicySet.ServerNameField] {
        conditions.compactMap { condition in
            guard case .serverName(let field) = condition else { return nil }
            return CompiledPolicySet.ServerNameField(field: field, isAllow: !isDeny)
        }
    }

    var headerNames: [String] {
        conditions.compactMap { condition in
            if case .header(let name, _) = condition { name } else { nil }
        }
    }

    /// The clauses of policies that are looked at, in the order of verdicts.
    static func all(of policies: [AccessPolicy]) -> [Clause] {
        var clauses: [Clause] = []
        let steps: [(AccessPolicy.Action, AccessPolicy.Tier, Decision.Reason)] = [
            (.deny, .guardrail, .guardrail), (.deny, .normal, .denied), (.allow, .normal, .allowed),
        ]
        for (action, tier, reason) in steps {
            for (place, policy) in policies.enumerated()
            where policy.action == action && policy.tier == tier && policy.mode != .off {
                for (number, rule) in policy.rules.enumerated() {
                    let origin = CompiledPolicySet.Origin(
                        policy: UInt32(place),
                        rule: UInt32(number),
                        reason: reason
                    )
                    for operation in rule.to ?? [AccessOperation()] {
                        clauses.append(
                            Clause(
                                origin: origin,
                                isEnforced: policy.mode == .enforce,
                                rule: rule,
                                operation: operation
                            )
                        )
                    }
                }
            }
        }
        return clauses
    }

    /// Whether it holds for a connection that has neither method nor path: what is not known counts
    /// against access.
    var holdsForConnection: Bool {
        isDeny || !operation.asksHTTP && !conditions.contains(where: \.asksHTTP)
    }

    /// Whether it holds for a method with a number of its own.
    func holds(for method: HTTPMethod) -> Bool {
        func names(_ names: [String]?, orHead: Bool) -> Bool? {
            guard let names else { return nil }
            return names.contains { $0 == method.name || orHead && method == .head && $0 == "GET" }
        }
        return names(operation.methods.anyOf, orHead: isDeny) ?? true
            && !(names(operation.methods.noneOf, orHead: !isDeny) ?? false)
    }

    /// Whether it could hold for some method without number.
    var couldHoldForOther: Bool {
        operation.methods.anyOf?.contains(where: Self.isOther) ?? true
    }

    /// nil if it names no such method.
    var otherMethods: CompiledPolicySet.OtherMethods? {
        let wanted = operation.methods.anyOf?.filter(Self.isOther).map { Array($0.utf8) }
        let excluded = (operation.methods.noneOf ?? []).filter(Self.isOther).map { Array($0.utf8) }
        guard wanted?.isEmpty == false || !excluded.isEmpty else { return nil }
        return CompiledPolicySet.OtherMethods(anyOf: wanted, noneOf: excluded)
    }

    private static func isOther(_ name: String) -> Bool {
        let bytes = Array(name.utf8)
        return HTTPMethod(bytes.span, ByteRange(0..<bytes.count)) == .other
    }
}

extension AccessPolicy {
    /// The pairs of a rule and one of its operations.
    fileprivate var clauseCount: Int { rules.reduce(0) { $0 + max(1, $1.to?.count ?? 1) } }

    /// What is looked at of it late, in values: those of conditions once for each rule, those of hosts
    /// and templates once for each operation.
    package var lateCost: Int {
        rules.reduce(0) { sum, rule in
            rule.when.reduce(sum) { $0 + $1.valueCount }
                + (rule.to ?? []).reduce(0) { $0 + $1.lateCost }
        }
    }
}

extension AccessField {
    fileprivate var count: Int { (anyOf?.count ?? 0) + (noneOf?.count ?? 0) }
}

extension AccessCondition {
    fileprivate var valueCount: Int {
        switch self {
        case .header(_, let field): field.count
        case .serverName(let field): field.count
        }
    }
}

extension AccessOperation {
    /// A template that is excluded is looked for along the whole path, which is as long as some words.
    private static let excludedTemplateCost = 16

    fileprivate var lateCost: Int {
        let excluded = (paths.noneOf ?? []).count(where: \.isTemplate)
        let found = paths.contains(\.isTemplate) ? paths.count : 0
        return hosts.count + found + excluded * Self.excludedTemplateCost
    }
}
