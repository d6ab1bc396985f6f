// SPDX-License-Identifier: Apache-2.0

internal import HTTPSemantics

/// A path, or what it looks like (docs/decisions/0008, docs/decisions/0025).
package enum PathPattern: Hashable, Sendable, CustomStringConvertible {
    case exact([UInt8])
    /// Everything that begins with it; it ends with a slash.
    case below([UInt8])
    /// Everything that ends with it.
    case suffix([UInt8])
    case any
    /// Segment by segment.
    case template(PathTemplate)
    /// The path of a method of gRPC, or of all methods of a service.
    case call(GRPCCall)

    /// Parses `/a/b`, `/a/*`, `*.css`, `*/x`, `*`, or a template such as `/a/{*}/b`.
    ///
    /// - Returns: nil for anything else, for what no request can have (decision 0007), and for `%2A`.
    package init?(_ text: String) {
        let bytes = Array(text.utf8)
        guard bytes.allSatisfy({ $0 < 0x80 }) else { return nil }
        if bytes.contains(UInt8(ascii: "{")) {
            guard let template = PathTemplate(bytes) else { return nil }
            self = .template(template)
            return
        }
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

    /// Parses `package.Service/Method` or `package.Service/*`.
    ///
    /// - Returns: nil for anything else.
    package init?(call text: String) {
        guard let call = GRPCCall(text) else { return nil }
        self = .call(call)
    }

    /// The path as requests are compared; nil if none can have it, and for one with an asterisk that
    /// is meant as itself (`%2A`), which would be read as a pattern where the policy travels.
    static func spelling(_ path: [UInt8]) -> [UInt8]? {
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
        case .template(let template): template.description
        case .call(let call): call.description
        }
    }

    /// The same without another notation for it.
    package var plain: PathPattern {
        if case .call(let call) = self { call.pattern } else { self }
    }

    /// Whether it is written as a method of gRPC.
    package var isCall: Bool {
        if case .call = self { true } else { false }
    }

    /// Whether it is looked at segment by segment.
    var isTemplate: Bool {
        if case .template = plain { true } else { false }
    }

    /// Whether every path that another pattern matches is matched by this one; where that is not
    /// seen at once, false.
    package func covers(_ other: PathPattern) -> Bool {
        switch (plain, other.plain) {
        case (.any, _): true
        case (let own, .exact(let path)): own.matches(path)
        case (.below(let start), .below(let path)): path.starts(with: start)
        case (.below(let start), .template(let template)): template.prefix.starts(with: start)
        case (.suffix(let end), .suffix(let path)):
            path.suffix(end.count).elementsEqual(end)
        // Only what begins with any slash ends with anything.
        case (.below(let start), .suffix): start == Array("/".utf8)
        case (.template(let own), .template(let template)): own == template
        default: false
        }
    }

    /// Whether a path matches that is spelled as `CanonicalPath.spelling` does.
    package func matches(_ path: [UInt8]) -> Bool {
        switch self {
        case .exact(let other): path == other
        case .below(let start): path.starts(with: start)
        case .suffix(let end): path.suffix(end.count).elementsEqual(end)
        case .any: true
        case .template(let template): template.matches(path)
        case .call(let call): call.pattern.matches(path)
        }
    }
}

/// A path of which some segments are left open: `{*}` is one that is not empty, `{**}` one or more,
/// of which the last of a path may be empty.
package struct PathTemplate: Hashable, Sendable, CustomStringConvertible {
    /// Most segments: more levels than any API has.
    package static let segmentsMax = 32

    /// One segment.
    package enum Segment: Hashable, Sendable {
        case literal([UInt8])
        case one
        case rest
    }

    package let segments: [Segment]

    fileprivate init(_ segments: [Segment]) {
        self.segments = segments
    }

    /// - Returns: nil if it is no template: no operator, more than one `{**}` or one that is not the
    ///   last operator, or literals that no request can have.
    init?(_ bytes: [UInt8]) {
        guard bytes.first == UInt8(ascii: "/") else { return nil }
        let texts = bytes.dropFirst().split(
            separator: UInt8(ascii: "/"),
            omittingEmptySubsequences: false
        )
        guard texts.count <= Self.segmentsMax else { return nil }
        var segments: [Segment] = []
        var (hasOperator, hasRest) = (false, false)
        for (place, text) in texts.enumerated() {
            switch String(decoding: text, as: UTF8.self) {
            case "{*}", "{**}":
                guard !hasRest else { return nil }
                hasOperator = true
                hasRest = text.count == 4
                segments.append(hasRest ? .rest : .one)
            case "":
                guard place == texts.count - 1 else { return nil }
                segments.append(.literal([]))
            default:
                guard !text.contains(UInt8(ascii: "*")),
                    let literal = PathPattern.spelling([UInt8(ascii: "/")] + text)
                else { return nil }
                segments.append(.literal(Array(literal.dropFirst())))
            }
        }
        guard hasOperator else { return nil }
        self.segments = segments
    }

    /// As it is written, in the spelling in which paths are compared.
    package var description: String {
        segments.map { segment in
            switch segment {
            case .literal(let text): "/" + String(decoding: text, as: UTF8.self)
            case .one: "/{*}"
            case .rest: "/{**}"
            }
        }.joined()
    }

    /// What every path that it matches begins with; it ends with a slash.
    var prefix: [UInt8] {
        var prefix: [UInt8] = [UInt8(ascii: "/")]
        for case .literal(let text) in segments.prefix(while: { $0 != .one && $0 != .rest }) {
            prefix += text + [UInt8(ascii: "/")]
        }
        return prefix
    }

    /// Whether a path matches that is spelled as `CanonicalPath.spelling` does.
    func matches(_ path: [UInt8]) -> Bool {
        guard path.first == UInt8(ascii: "/") else { return false }
        let texts = path.dropFirst().split(
            separator: UInt8(ascii: "/"),
            omittingEmptySubsequences: false
        )
        return Self.match(segments[...], texts[...])
    }

    private static func match(
        _ segments: ArraySlice<Segment>,
        _ texts: ArraySlice<ArraySlice<UInt8>>
    ) -> Bool {
        guard let segment = segments.first else { return texts.isEmpty }
        guard let text = texts.first else { return false }
        let (others, rest) = (segments.dropFirst(), texts.dropFirst())
        return switch segment {
        case .literal(let literal): literal[...] == text && match(others, rest)
        case .one: !text.isEmpty && match(others, rest)
        case .rest: (1...texts.count).contains { match(others, texts.dropFirst($0)) }
        }
    }
}

/// A method of gRPC, or all methods of a service: by its path a server finds it.
package struct GRPCCall: Hashable, Sendable, CustomStringConvertible {
    /// With its package: `package.Service`.
    package let service: String
    /// nil: all of the service.
    package let method: String?

    init?(_ text: String) {
        let parts = text.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        guard parts.count == 2,
            let (service, method) = parts.first.flatMap({ first in
                parts.last.map { (first, $0) }
            })
        else { return nil }
        let names = service.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard names.allSatisfy(Self.isName) else { return nil }
        self.service = String(decoding: service, as: UTF8.self)
        if method.elementsEqual("*".utf8) {
            self.method = nil
        } else {
            guard Self.isName(method) else { return nil }
            self.method = String(decoding: method, as: UTF8.self)
        }
    }

    private static func isName(_ text: Substring.UTF8View) -> Bool {
        guard let first = text.first, !Octet.isDigit(first) else { return false }
        return text.allSatisfy { byte in
            Octet.isDigit(byte) || byte == UInt8(ascii: "_")
                || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(Octet.lowercased(byte))
        }
    }

    /// As it is written.
    package var description: String { "\(service)/\(method ?? "*")" }

    /// Its path, or that of every method of the service: one more segment.
    var pattern: PathPattern {
        if let method { return .exact(Array("/\(service)/\(method)".utf8)) }
        return .template(PathTemplate([.literal(Array(service.utf8)), .one]))
    }
}
