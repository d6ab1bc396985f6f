// SPDX-License-Identifier: Apache-2.0

/// The SPIFFE ID of a registration entry, with variables in braces or without any.
///
/// `{node.<type>}` is the value of the node's one selector of that type and `{node.name}` the
/// agent's name: both verified by the server. Any other variable, such as `{unix.user}`, is asserted
/// by the agent and needs a `VariableBound`. A segment holds at most one variable: with two, different
/// values could give the same ID.
package struct IDTemplate: Hashable, Sendable, CustomStringConvertible {
    /// Longest template in bytes: a whole ID and as much again for the names of variables.
    package static let bytesMax = 2 * SPIFFEID.bytesMax

    /// What a pair of braces stands for.
    package enum Variable: Hashable, Sendable, CustomStringConvertible {
        /// `{node.name}`: the agent's name.
        case nodeName
        /// `{node.<type>}`: the value of the node's only selector of that type.
        case nodeSelector(type: String)
        /// Any other: asserted by the agent, written `<selector type>.<key>`.
        case workload(name: String)

        /// The name as written between the braces.
        package var description: String {
            switch self {
            case .nodeName: "node.name"
            case .nodeSelector(let type): "node.\(type)"
            case .workload(let name): name
            }
        }
    }

    private struct Segment: Hashable {
        let prefix: String
        let variable: Variable?
        let suffix: String
    }

    package let trustDomain: TrustDomain
    /// The text as given.
    package let description: String
    /// Every variable once, in the order of first use.
    package let variables: [Variable]
    private let segments: [Segment]

    /// Whether the template is a plain SPIFFE ID.
    package var isLiteral: Bool { variables.isEmpty }

    /// Parses a template.
    ///
    /// - Parameter text: `spiffe://<trust domain>/...` with a path; the trust domain is literal.
    /// - Throws: `IDTemplateError`; never `.variableMissing`, `.variableAmbiguous` or
    ///   `.valueOutOfBounds`.
    package init(parsing text: String) throws(IDTemplateError) {
        guard text.utf8.count <= Self.bytesMax else { throw .tooLong }
        let scheme = "spiffe://"
        guard text.utf8.starts(with: scheme.utf8) else { throw .idMalformed(.schemeNotSPIFFE) }
        var parts = text.utf8.dropFirst(scheme.utf8.count).split(
            separator: UInt8(ascii: "/"),
            omittingEmptySubsequences: false
        )
        let authority = String(Substring(parts.removeFirst()))
        do throws(SPIFFEIDError) {
            trustDomain = try TrustDomain(authority)
        } catch {
            throw .idMalformed(error)
        }
        guard !parts.isEmpty else { throw .pathMissing }
        var segments: [Segment] = []
        var variables: [Variable] = []
        for part in parts {
            let segment = try Self.segment(String(Substring(part)))
            segments.append(segment)
            if let variable = segment.variable, !variables.contains(variable) {
                variables.append(variable)
            }
        }
        self.description = text
        self.segments = segments
        self.variables = variables
        if segments.first?.variable == nil, segments.first?.prefix == "signet" { throw .reserved }
        if variables.isEmpty { _ = try id(path: segments.map { "/" + $0.prefix }.joined()) }
    }

    /// Checks that `bounds` fit: each workload variable has one, none is left over, and each could
    /// be met.
    ///
    /// - Throws: `.boundMissing`, `.boundUnused`, `.boundEmpty` or `.valueMalformed`.
    package func check(bounds: [String: VariableBound]) throws(IDTemplateError) {
        for name in bounds.keys.sorted() where !variables.contains(.workload(name: name)) {
            throw .boundUnused(name)
        }
        for case .workload(let name) in variables {
            switch bounds[name] {
            case nil: throw .boundMissing(name)
            case .agentAsserted: break
            case .prefix(let prefix):
                // An empty prefix bounds nothing; whoever means that says agentAsserted.
                guard !prefix.isEmpty else { throw .boundEmpty(name) }
                guard Self.isPartOfSegment(prefix) else { throw .valueMalformed(name) }
            case .values(let values):
                guard !values.isEmpty else { throw .boundEmpty(name) }
                for value in values { try Self.check(value, of: name) }
            }
        }
    }

    /// Fills in the variables.
    ///
    /// - Parameters:
    ///   - trustDomain: The server's own; the template must name it.
    ///   - node: The agent, as the server has attested it.
    ///   - workload: What the agent asserts, by variable name; names the template does not use are
    ///     ignored.
    ///   - bounds: What the entry allows for each workload variable.
    /// - Returns: The ID: in `trustDomain`, with a path outside `/signet/`.
    /// - Throws: `IDTemplateError` naming the variable at fault.
    package func resolve(
        trustDomain: TrustDomain,
        node: TemplateNode,
        workload: [String: String] = [:],
        bounds: [String: VariableBound] = [:]
    ) throws(IDTemplateError) -> SPIFFEID {
        guard trustDomain == self.trustDomain else { throw .trustDomainForeign }
        var path = ""
        for segment in segments {
            path += "/" + segment.prefix
            if let variable = segment.variable {
                path += try value(of: variable, node: node, workload: workload, bounds: bounds)
            }
            path += segment.suffix
        }
        return try id(path: path)
    }

    /// Whether filling in the variables with some values could give an ID; bounds are not looked at.
    package func mayBecome(_ id: SPIFFEID) -> Bool {
        guard id.trustDomain == trustDomain else { return false }
        let parts = id.path.utf8.split(
            separator: UInt8(ascii: "/"),
            omittingEmptySubsequences: false
        ).dropFirst()
        guard parts.count == segments.count else { return false }
        return zip(segments, parts).allSatisfy { segment, part in
            guard segment.variable != nil else { return part.elementsEqual(segment.prefix.utf8) }
            // A value is never empty.
            return part.count > segment.prefix.utf8.count + segment.suffix.utf8.count
                && part.starts(with: segment.prefix.utf8)
                && part.suffix(segment.suffix.utf8.count).elementsEqual(segment.suffix.utf8)
        }
    }

    /// What a workload's selectors say about the template's workload variables: `unix:user:alice`
    /// gives `unix.user` the value `alice`.
    ///
    /// - Throws: `.variableMissing` or `.variableAmbiguous` if not exactly one selector answers.
    package func workloadValues(
        from selectors: Set<Selector>
    ) throws(IDTemplateError) -> [String: String] {
        var values: [String: String] = [:]
        for case .workload(let name) in variables {
            let answers = selectors.compactMap { selector -> String? in
                guard let colon = selector.value.utf8.firstIndex(of: UInt8(ascii: ":")),
                    "\(selector.type).\(selector.value[..<colon])" == name
                else { return nil }
                return String(selector.value[selector.value.utf8.index(after: colon)...])
            }
            values[name] = try Self.only(answers, name)
        }
        return values
    }

    private func value(
        of variable: Variable,
        node: TemplateNode,
        workload: [String: String],
        bounds: [String: VariableBound]
    ) throws(IDTemplateError) -> String {
        let name = variable.description
        let value: String
        switch variable {
        case .nodeName: value = node.name
        case .nodeSelector(let type):
            value = try Self.only(node.selectors.filter { $0.type == type }.map(\.value), name)
        case .workload:
            guard let asserted = workload[name] else { throw .variableMissing(name) }
            switch bounds[name] {
            case nil: throw .boundMissing(name)
            case .agentAsserted: break
            case .prefix(let prefix):
                guard !prefix.isEmpty, asserted.utf8.starts(with: prefix.utf8) else {
                    throw .valueOutOfBounds(name)
                }
            case .values(let values):
                guard values.contains(asserted) else { throw .valueOutOfBounds(name) }
            }
            value = asserted
        }
        try Self.check(value, of: name)
        return value
    }

    /// Joins the template's trust domain and a path, outside of what Signet keeps for itself.
    private func id(path: String) throws(IDTemplateError) -> SPIFFEID {
        let id: SPIFFEID
        do throws(SPIFFEIDError) {
            id = try SPIFFEID(trustDomain: trustDomain, path: path)
        } catch {
            throw .idMalformed(error)
        }
        guard !id.isReserved else { throw .reserved }
        return id
    }

    private static func only(
        _ values: [String],
        _ name: String
    ) throws(IDTemplateError) -> String {
        guard let value = values.first else { throw .variableMissing(name) }
        guard values.count == 1 else { throw .variableAmbiguous(name) }
        return value
    }

    private static func check(_ value: String, of name: String) throws(IDTemplateError) {
        do throws(SPIFFEIDError) {
            try SPIFFEID.check(segment: Array(value.utf8))
        } catch {
            throw .valueMalformed(name)
        }
    }

    private static func segment(_ text: String) throws(IDTemplateError) -> Segment {
        guard let open = text.utf8.firstIndex(of: UInt8(ascii: "{")) else {
            do throws(SPIFFEIDError) {
                try SPIFFEID.check(segment: Array(text.utf8))
            } catch {
                throw .idMalformed(error)
            }
            return Segment(prefix: text, variable: nil, suffix: "")
        }
        let rest = text[text.utf8.index(after: open)...]
        guard let close = rest.utf8.firstIndex(of: UInt8(ascii: "}")) else {
            throw .braceUnmatched
        }
        let prefix = String(text[..<open])
        let suffix = String(rest[rest.utf8.index(after: close)...])
        guard !suffix.utf8.contains(UInt8(ascii: "{")) else { throw .segmentHasTwoVariables }
        for part in [prefix, suffix] where !part.isEmpty && !isPartOfSegment(part) {
            throw .segmentMalformed(text)
        }
        let variable = try variable(named: String(rest[..<close]))
        return Segment(prefix: prefix, variable: variable, suffix: suffix)
    }

    private static func variable(named name: String) throws(IDTemplateError) -> Variable {
        let parts = name.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count >= 2, parts.allSatisfy({ !$0.isEmpty && $0.allSatisfy(allowsInName) })
        else { throw .variableNameMalformed(name) }
        guard name.utf8.starts(with: "node.".utf8) else { return .workload(name: name) }
        return name == "node.name" ? .nodeName : .nodeSelector(type: String(name.dropFirst(5)))
    }

    /// Whether the text is not empty and holds only what a segment may hold; `.` and `..` count.
    private static func isPartOfSegment(_ text: String) -> Bool {
        // With a letter beside them, dots alone are a segment too.
        (try? SPIFFEID.check(segment: Array(text.utf8) + [UInt8(ascii: "a")])) != nil
            && !text.isEmpty
    }

    private static func allowsInName(_ byte: UInt8) -> Bool {
        TrustDomain.allows(byte)
    }
}

/// What the server knows about a node when it fills in a template.
package struct TemplateNode: Hashable, Sendable {
    /// The agent's name.
    package let name: String
    /// The selectors that the server has attested.
    package let selectors: Set<Selector>

    package init(name: String, selectors: Set<Selector>) {
        self.name = name
        self.selectors = selectors
    }
}

/// Why a template, or its filling in, is refused.
package enum IDTemplateError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The bound of this variable allows nothing, or, being an empty prefix, everything.
    case boundEmpty(String)
    case boundMissing(String)
    case boundUnused(String)
    case braceUnmatched
    case idMalformed(SPIFFEIDError)
    case pathMissing
    case reserved
    case segmentHasTwoVariables
    case segmentMalformed(String)
    case tooLong
    case trustDomainForeign
    /// The value of this variable is not one valid path segment.
    case valueMalformed(String)
    case valueOutOfBounds(String)
    case variableAmbiguous(String)
    case variableMissing(String)
    case variableNameMalformed(String)

    package var description: String {
        switch self {
        case .boundEmpty(let name):
            "the bound of {\(name)} is empty: list values, give a prefix or say agentAsserted: true"
        case .boundMissing(let name):
            "{\(name)} is asserted by the agent and needs values, a prefix or agentAsserted: true"
        case .boundUnused(let name): "the template has no agent-asserted variable {\(name)}"
        case .braceUnmatched: "\"{\" without \"}\""
        case .idMalformed(let error): error.description
        case .pathMissing: "the ID of a workload has a path"
        case .reserved: "paths under \(SPIFFEID.reservedPathPrefix) belong to Signet itself"
        case .segmentHasTwoVariables: "a path segment holds at most one variable"
        case .segmentMalformed(let segment):
            "path segment \"\(segment)\" holds more than letters, digits, \".\", \"-\" and \"_\""
        case .tooLong: "a template has at most \(IDTemplate.bytesMax) bytes"
        case .trustDomainForeign: "the template names another trust domain"
        case .valueMalformed(let name): "the value of {\(name)} is not one valid path segment"
        case .valueOutOfBounds(let name): "the value of {\(name)} is outside its bound"
        case .variableAmbiguous(let name): "several selectors give {\(name)} a value"
        case .variableMissing(let name): "nothing gives {\(name)} a value"
        case .variableNameMalformed(let name):
            "{\(name)}: a variable is written {node.<type>} or {<type>.<key>} in lower case"
        }
    }
}
