// SPDX-License-Identifier: Apache-2.0

import SPIFFE
import StrictYAML

/// A bound of a template variable, with the place of its key.
struct PlacedBound {
    let bound: VariableBound
    let position: TextPosition
}

extension DocumentParser {
    /// Reads the SPIFFE ID of an entry, which may be a template.
    mutating func entryID(_ node: YAMLNode) -> IDTemplate? {
        let path = "spec.spiffeID"
        guard let text = string(node, path: path, bytesMax: IDTemplate.bytesMax) else { return nil }
        do throws(IDTemplateError) {
            let template = try IDTemplate(parsing: text)
            use(template.trustDomain, as: .own, path: path, at: node.position)
            return template
        } catch {
            let remedy = "write spiffe://<trust domain>/<path>, such as spiffe://example.org/web"
            report(node.position, "\(path): \"\(Self.shown(text))\": \(error)", remedy)
            return nil
        }
    }

    /// Checks that the variables of a template and the bounds belong together.
    mutating func check(
        _ bounds: [String: PlacedBound],
        of template: IDTemplate,
        at position: TextPosition
    ) {
        let before = problems.count
        for (name, placed) in bounds.sorted(by: { $0.key < $1.key })
        where !template.variables.contains(.workload(name: name)) {
            let isNode = template.variables.contains { $0.description == name }
            report(
                placed.position,
                isNode
                    ? "spec.variables.\(name): the server verifies {\(name)} itself"
                    : "spec.variables.\(name): spec.spiffeID has no variable {\(name)}",
                isNode ? "remove the bound" : "remove it, or write {\(name)} in spec.spiffeID"
            )
        }
        for case .workload(let name) in template.variables where bounds[name] == nil {
            report(
                position,
                "spec.spiffeID: {\(name)} is asserted by the agent and has no bound",
                "add spec.variables.\(name) with values, prefix, or agentAsserted: true"
            )
        }
        guard problems.count == before else { return }
        do throws(IDTemplateError) {
            try template.check(bounds: bounds.mapValues(\.bound))
        } catch {
            report(position, "spec.variables: \(error)", "change the bound")
        }
    }

    mutating func variableBounds(_ node: YAMLNode) -> [String: PlacedBound]? {
        let path = "spec.variables"
        guard case .mapping(let pairs) = node.content, !pairs.isEmpty else {
            reportType(of: node, path: path, expected: "a mapping of variables to their bounds")
            return nil
        }
        guard pairs.count <= RegistrationEntrySpec.variablesMax else {
            report(
                node.position,
                "\(path) has \(pairs.count) variables, more than the "
                    + "\(RegistrationEntrySpec.variablesMax) allowed",
                "remove some"
            )
            return nil
        }
        var result: [String: PlacedBound] = [:]
        for pair in pairs {
            guard let bound = bound(pair.value, path: "\(path).\(pair.key)") else { continue }
            result[pair.key] = PlacedBound(bound: bound, position: pair.keyPosition)
        }
        return result
    }

    private mutating func bound(_ node: YAMLNode, path: String) -> VariableBound? {
        guard var fields = fields(of: node, path: path) else { return nil }
        let values = fields.take("values")
        let prefix = fields.take("prefix")
        let agentAsserted = fields.take("agentAsserted")
        refuseUnknown(in: fields)
        switch (values, prefix, agentAsserted) {
        case (let values?, nil, nil):
            return list(
                values,
                path: "\(path).values",
                max: RegistrationEntrySpec.variableValuesMax
            ) { $0.segment($1, path: $2) }.map(VariableBound.values)
        case (nil, let prefix?, nil):
            return segment(prefix, path: "\(path).prefix", followedBy: "a")
                .map(VariableBound.prefix)
        case (nil, nil, let agentAsserted?):
            guard case .scalar("true", isPlain: true) = agentAsserted.content else {
                reportType(of: agentAsserted, path: "\(path).agentAsserted", expected: "true")
                return nil
            }
            return .agentAsserted
        default:
            report(
                node.position,
                "\(path) needs exactly one bound",
                "write one of values, prefix, or agentAsserted: true"
            )
            return nil
        }
    }

    /// Reads one path segment, or the start of one if something follows.
    private mutating func segment(
        _ node: YAMLNode,
        path: String,
        followedBy rest: String = ""
    ) -> String? {
        guard let text = string(node, path: path, bytesMax: SPIFFEID.bytesMax) else { return nil }
        do throws(SPIFFEIDError) {
            try SPIFFEID.check(segment: Array((text + rest).utf8))
            return text
        } catch {
            report(
                node.position,
                "\(path): \"\(Self.shown(text))\" cannot be a path segment of a SPIFFE ID",
                error.description
            )
            return nil
        }
    }
}
