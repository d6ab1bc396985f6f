// SPDX-License-Identifier: Apache-2.0

internal import HTTPSemantics

/// What clauses ask beyond peer, port, method and plain paths: looked at only for those that
/// everything else has let through (docs/decisions/0025).
///
/// Values lie in a few arrays, so that nothing is allocated and no reference is counted.
struct LateConditions: Sendable {
    /// What is known of a request besides its fields.
    struct Asked {
        let path: ByteRange
        /// Empty if the host is not known.
        let authority: Authority
        let knowsFields: Bool
    }

    private enum Answer {
        case no
        case unknown
        case yes
    }

    private enum Subject: UInt8, Sendable, BitwiseCopyable {
        case header
        case host
        case path
    }

    private enum Form: UInt8, Sendable, BitwiseCopyable {
        case any
        case below
        case exact
        case suffix
        case template
    }

    private struct Run: Sendable, BitwiseCopyable {
        var start: UInt32 = 0
        var end: UInt32 = 0

        var range: Range<Int> { Int(start)..<Int(end) }
        var isEmpty: Bool { start == end }
    }

    private struct Value: Sendable, BitwiseCopyable {
        let form: Form
        var text = Run()
        /// Of a host; 0 for every one.
        var port: UInt16 = 0
    }

    private struct Test: Sendable, BitwiseCopyable {
        let subject: Subject
        /// Of a header.
        let name: Run
        let wanted: Run
        let excluded: Run
    }

    private struct Clause: Sendable, BitwiseCopyable {
        let tests: Run
        /// The place of its rule's tests.
        let rule: UInt32
    }

    /// What the conditions of the last rule that was looked at have said of the request at hand: they
    /// belong to the rule, which may have many clauses.
    struct Memo: BitwiseCopyable {
        fileprivate var rule = UInt32.max
        fileprivate var holds = false
    }

    private var clauses: [Clause] = []
    /// For each rule the tests of its conditions.
    private var rules: [Run] = []
    /// Whether a clause asks for the host.
    private(set) var asksHosts = false
    private var tests: [Test] = []
    private var values: [Value] = []
    private var bytes: [UInt8] = []

    // MARK: - Building

    /// Adds what the next clause asks; `isSameRule` if it is one more of the last one's rule.
    mutating func add(
        isSameRule: Bool,
        paths: AccessField<PathPattern>,
        hosts: AccessField<HostPattern>,
        conditions: [AccessCondition]
    ) {
        if !isSameRule { addRule(conditions) }
        let start = UInt32(tests.count)
        // What a template matches is found by its beginning and looked at here.
        if paths.contains({ $0.isTemplate }) { add(.path, paths) { $0.value(of: $1) } }
        if !hosts.isAbsent {
            add(.host, hosts) { $0.value(of: $1) }
            asksHosts = true
        }
        let own = Run(start: start, end: UInt32(tests.count))
        clauses.append(Clause(tests: own, rule: UInt32(rules.count - 1)))
    }

    private mutating func addRule(_ conditions: [AccessCondition]) {
        let start = UInt32(tests.count)
        for condition in conditions {
            switch condition {
            case .header(let name, let field):
                add(.header, name: Array(name.utf8), field) { $0.value(of: $1) }
            // It is known of the whole connection.
            case .serverName: break
            }
        }
        rules.append(Run(start: start, end: UInt32(tests.count)))
    }

    private mutating func add<Pattern>(
        _ subject: Subject,
        name: [UInt8] = [],
        _ field: AccessField<Pattern>,
        _ value: (inout Self, Pattern) -> Value
    ) {
        let test = Test(
            subject: subject,
            name: run(of: name),
            wanted: run(of: field.anyOf, value),
            excluded: run(of: field.noneOf, value)
        )
        tests.append(test)
    }

    private mutating func run<Pattern>(
        of patterns: [Pattern]?,
        _ value: (inout Self, Pattern) -> Value
    ) -> Run {
        let start = UInt32(values.count)
        for pattern in patterns ?? [] {
            let made = value(&self, pattern)
            values.append(made)
        }
        return Run(start: start, end: UInt32(values.count))
    }

    private mutating func run(of text: [UInt8]) -> Run {
        let start = UInt32(bytes.count)
        bytes += text
        return Run(start: start, end: UInt32(bytes.count))
    }

    private mutating func value(of host: HostPattern) -> Value {
        Value(
            form: host.isOpen ? .suffix : .exact,
            text: run(of: host.name),
            port: host.port ?? 0
        )
    }

    private mutating func value(of header: HeaderPattern) -> Value {
        switch header {
        case .any: Value(form: .any)
        case .exact(let text): Value(form: .exact, text: run(of: text))
        }
    }

    private mutating func value(of path: PathPattern) -> Value {
        switch path.plain {
        case .any, .call: Value(form: .any)
        case .below(let text): Value(form: .below, text: run(of: text))
        case .exact(let text): Value(form: .exact, text: run(of: text))
        case .suffix(let text): Value(form: .suffix, text: run(of: text))
        case .template(let template):
            Value(form: .template, text: run(of: PathTemplateBytes.written(template)))
        }
    }

    /// Whether a clause has any.
    func has(_ clause: Int) -> Bool {
        !clauses[clause].tests.isEmpty || !rules[Int(clauses[clause].rule)].isEmpty
    }

    // MARK: - Looking

    /// Whether everything that a clause asks late lets a request through.
    func hold(
        _ clause: Int,
        isAllow: Bool,
        _ asked: Asked,
        _ fields: Span<HeaderField>,
        _ head: Span<UInt8>,
        _ memo: inout Memo
    ) -> Bool {
        let rule = clauses[clause].rule
        if memo.rule != rule {
            memo.holds = hold(rules[Int(rule)], isAllow, asked, fields, head)
            memo.rule = rule
        }
        return memo.holds && hold(clauses[clause].tests, isAllow, asked, fields, head)
    }

    private func hold(
        _ run: Run,
        _ isAllow: Bool,
        _ asked: Asked,
        _ fields: Span<HeaderField>,
        _ head: Span<UInt8>
    ) -> Bool {
        for index in run.range {
            switch answer(tests[index], isAllow, asked, fields, head) {
            case .no: return false
            case .unknown: if isAllow { return false }
            case .yes: break
            }
        }
        return true
    }

    private func answer(
        _ test: Test,
        _ isAllow: Bool,
        _ asked: Asked,
        _ fields: Span<HeaderField>,
        _ head: Span<UInt8>
    ) -> Answer {
        switch test.subject {
        case .header:
            asked.knowsFields ? header(test, isAllow, fields, head) : .unknown
        case .host:
            asked.authority.host.isEmpty ? .unknown : host(test, asked.authority, head)
        case .path: path(test, asked.path, head)
        }
    }

    // MARK: - Headers

    private func header(
        _ test: Test,
        _ isAllow: Bool,
        _ fields: Span<HeaderField>,
        _ head: Span<UInt8>
    ) -> Answer {
        var (lines, value) = (0, ByteRange.empty)
        for index in fields.indices where isName(fields[index].name, test.name, head) {
            lines += 1
            value = fields[index].value
        }
        guard lines > 0 else {
            if !test.wanted.isEmpty { return .no }
            for index in test.excluded.range where values[index].form == .any { return .yes }
            return .unknown
        }
        guard lines == 1, !value.isEmpty else { return .unknown }
        guard test.wanted.isEmpty || isSaid(value, test.wanted, isAgainst: !isAllow, head) else {
            return .no
        }
        return isSaid(value, test.excluded, isAgainst: isAllow, head) ? .no : .yes
    }

    private func isName(_ name: ByteRange, _ wanted: Run, _ head: Span<UInt8>) -> Bool {
        name.count == wanted.range.count
            && isSame(head, name.range, wanted.range, ignoringCase: true)
    }

    /// Whether a value is one of several.
    private func isSaid(
        _ value: ByteRange,
        _ patterns: Run,
        isAgainst: Bool,
        _ head: Span<UInt8>
    ) -> Bool {
        guard !patterns.isEmpty else { return false }
        for index in patterns.range where values[index].form == .any { return true }
        if isAgainst, HeaderPattern.isStrange(head, value) { return true }
        if isOne(value.range, of: patterns, ignoringCase: isAgainst, head) { return true }
        guard isAgainst else { return false }
        var start = Int(value.lower)
        let end = Int(value.upper)
        while start <= end {
            var stop = start
            while stop < end, head[stop] != UInt8(ascii: ","), head[stop] != UInt8(ascii: ";") {
                stop += 1
            }
            var (lower, upper) = (start, stop)
            while lower < upper, Self.isBlank(head[lower]) { lower += 1 }
            while upper > lower, Self.isBlank(head[upper - 1]) { upper -= 1 }
            if isOne(lower..<upper, of: patterns, ignoringCase: true, head) { return true }
            start = stop + 1
        }
        return false
    }

    private func isOne(
        _ read: Range<Int>,
        of patterns: Run,
        ignoringCase: Bool,
        _ head: Span<UInt8>
    ) -> Bool {
        for index in patterns.range
        where isSame(head, read, values[index].text.range, ignoringCase: ignoringCase) {
            return true
        }
        return false
    }

    private static func isBlank(_ byte: UInt8) -> Bool {
        byte == Octet.space || byte == Octet.horizontalTab
    }

    private func isSame(
        _ head: Span<UInt8>,
        _ read: Range<Int>,
        _ text: Range<Int>,
        ignoringCase: Bool
    ) -> Bool {
        guard read.count == text.count else { return false }
        for offset in 0..<read.count {
            var (one, other) = (head[read.lowerBound + offset], bytes[text.lowerBound + offset])
            if ignoringCase { (one, other) = (Octet.lowercased(one), Octet.lowercased(other)) }
            if one != other { return false }
        }
        return true
    }

    // MARK: - Hosts

    private func host(_ test: Test, _ authority: Authority, _ head: Span<UInt8>) -> Answer {
        var isUnknown = false
        if !test.wanted.isEmpty {
            switch isAmong(test.wanted, authority, head) {
            case .no: return .no
            case .unknown: isUnknown = true
            case .yes: break
            }
        }
        switch isAmong(test.excluded, authority, head) {
        case .no: return isUnknown ? .unknown : .yes
        case .unknown: return .unknown
        case .yes: return .no
        }
    }

    private func isAmong(
        _ hosts: Run,
        _ authority: Authority,
        _ head: Span<UInt8>
    ) -> Answer {
        var answer = Answer.no
        for index in hosts.range where isNamed(authority.host, by: values[index], head) {
            let port = values[index].port
            guard port != 0 else { return .yes }
            guard let written = authority.port else {
                answer = .unknown
                continue
            }
            if written == port { return .yes }
        }
        return answer
    }

    private func isNamed(_ host: ByteRange, by value: Value, _ head: Span<UInt8>) -> Bool {
        let text = value.text.range
        guard value.form == .suffix else {
            return isSame(head, host.range, text, ignoringCase: true)
        }
        let dot = Int(host.upper) - text.count - 1
        return dot > Int(host.lower) && head[dot] == UInt8(ascii: ".")
            && isSame(head, (dot + 1)..<Int(host.upper), text, ignoringCase: true)
    }

    // MARK: - Paths

    private func path(_ test: Test, _ path: ByteRange, _ head: Span<UInt8>) -> Answer {
        var isWanted = test.wanted.isEmpty
        for index in test.wanted.range where !isWanted {
            isWanted = isLike(values[index], path, head)
        }
        guard isWanted else { return .no }
        for index in test.excluded.range where isLike(values[index], path, head) { return .no }
        return .yes
    }

    private func isLike(_ value: Value, _ path: ByteRange, _ head: Span<UInt8>) -> Bool {
        let text = value.text.range
        var spelled = SpelledPath(path)
        switch value.form {
        case .any: return true
        case .below: return begins(&spelled, text, head)
        case .exact: return begins(&spelled, text, head) && spelled.next(head) == nil
        case .suffix: return ends(&spelled, text, head)
        case .template:
            var place = text.lowerBound
            while place < text.upperBound {
                switch bytes[place] {
                case PathTemplateBytes.one:
                    guard spelled.skipSegment(head) else { return false }
                case PathTemplateBytes.rest:
                    let end = (place + 1)..<text.upperBound
                    // One segment at least lies before what is written out, which has a slash.
                    return end.isEmpty
                        || spelled.count(head) > end.count && ends(&spelled, end, head)
                case let byte:
                    guard spelled.next(head) == byte else { return false }
                }
                place += 1
            }
            return spelled.next(head) == nil
        }
    }

    private func begins(
        _ spelled: inout SpelledPath,
        _ text: Range<Int>,
        _ head: Span<UInt8>
    ) -> Bool {
        for place in text {
            guard spelled.next(head) == bytes[place] else { return false }
        }
        return true
    }

    private func ends(
        _ spelled: inout SpelledPath,
        _ text: Range<Int>,
        _ head: Span<UInt8>
    ) -> Bool {
        let count = spelled.count(head)
        guard count >= text.count else { return false }
        for _ in 0..<(count - text.count) { _ = spelled.next(head) }
        return begins(&spelled, text, head)
    }
}

/// A template in bytes: what is written out, and one byte for each operator, which no path has.
private enum PathTemplateBytes {
    static let one: UInt8 = 1
    static let rest: UInt8 = 2

    static func written(_ template: PathTemplate) -> [UInt8] {
        template.segments.flatMap { segment in
            switch segment {
            case .literal(let text): [UInt8(ascii: "/")] + text
            case .one: [UInt8(ascii: "/"), one]
            case .rest: [UInt8(ascii: "/"), rest]
            }
        }
    }
}
