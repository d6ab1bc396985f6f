// SPDX-License-Identifier: Apache-2.0

import SPIFFE
import TestSeeds
import Testing

/// A template text that is refused, and why.
struct RefusedTemplate: Sendable, CustomTestStringConvertible {
    let text: String
    let error: IDTemplateError

    init(_ text: String, _ error: IDTemplateError) {
        self.text = text
        self.error = error
    }

    var testDescription: String { String(reflecting: text.prefix(60)) }
}

@Suite struct IDTemplateTests {
    private let trustDomain: TrustDomain
    private let node: TemplateNode

    init() throws {
        trustDomain = try TrustDomain("td")
        node = TemplateNode(
            name: "web-1",
            selectors: [
                try Selector("role:web"), try Selector("zone:eu:a"), try Selector("disk:a"),
                try Selector("disk:b"), try Selector("unix:user:root"),
            ]
        )
    }

    @Test func `a template without variables is the ID itself`() throws {
        let template = try IDTemplate(parsing: "spiffe://td/db/main")
        #expect(template.isLiteral)
        #expect(template.variables.isEmpty)
        let id = try template.resolve(trustDomain: trustDomain, node: node)
        #expect(id.description == "spiffe://td/db/main")
    }

    @Test func `variables fill a whole segment or a part of one`() throws {
        let template = try IDTemplate(
            parsing: "spiffe://td/{node.name}/{node.role}/u-{unix.user}.x"
        )
        #expect(
            template.variables == [
                .nodeName, .nodeSelector(type: "role"), .workload(name: "unix.user"),
            ]
        )
        #expect(template.description == "spiffe://td/{node.name}/{node.role}/u-{unix.user}.x")
        let id = try template.resolve(
            trustDomain: trustDomain,
            node: node,
            workload: ["unix.user": "alice"],
            bounds: ["unix.user": .values(["alice", "bob"])]
        )
        #expect(id.description == "spiffe://td/web-1/web/u-alice.x")
    }

    @Test(arguments: [
        RefusedTemplate("spiffe://td", .pathMissing),
        RefusedTemplate("http://td/a", .idMalformed(.schemeNotSPIFFE)),
        RefusedTemplate("spiffe:///a", .idMalformed(.trustDomainEmpty)),
        RefusedTemplate(
            "spiffe://{node.name}/a",
            .idMalformed(.trustDomainCharacter(UInt8(ascii: "{")))
        ),
        RefusedTemplate("spiffe://td/", .idMalformed(.pathEmptySegment)),
        RefusedTemplate("spiffe://td//a", .idMalformed(.pathEmptySegment)),
        RefusedTemplate("spiffe://td/../a", .idMalformed(.pathDotSegment)),
        RefusedTemplate("spiffe://td/a b", .idMalformed(.pathCharacter(UInt8(ascii: " ")))),
        RefusedTemplate("spiffe://td/a}", .idMalformed(.pathCharacter(UInt8(ascii: "}")))),
        RefusedTemplate("spiffe://td/{node.name", .braceUnmatched),
        RefusedTemplate("spiffe://td/{node/name}", .braceUnmatched),
        RefusedTemplate("spiffe://td/{node.name}{unix.user}", .segmentHasTwoVariables),
        RefusedTemplate("spiffe://td/{node.name}-{unix.user}", .segmentHasTwoVariables),
        RefusedTemplate("spiffe://td/{node.name}}", .segmentMalformed("{node.name}}")),
        RefusedTemplate("spiffe://td/a%{node.name}", .segmentMalformed("a%{node.name}")),
        RefusedTemplate("spiffe://td/{}", .variableNameMalformed("")),
        RefusedTemplate("spiffe://td/{node}", .variableNameMalformed("node")),
        RefusedTemplate("spiffe://td/{node.}", .variableNameMalformed("node.")),
        RefusedTemplate("spiffe://td/{unix..user}", .variableNameMalformed("unix..user")),
        RefusedTemplate("spiffe://td/{Unix.user}", .variableNameMalformed("Unix.user")),
        RefusedTemplate("spiffe://td/{{node.name}}", .segmentMalformed("{{node.name}}")),
        RefusedTemplate("spiffe://td/signet", .reserved),
        RefusedTemplate("spiffe://td/signet/a", .reserved),
        RefusedTemplate("spiffe://td/signet/{node.name}", .reserved),
        RefusedTemplate("spiffe://td/" + String(repeating: "a", count: 4100), .tooLong),
        RefusedTemplate(
            "spiffe://td/" + String(repeating: "a", count: 2040),
            .idMalformed(.tooLong)
        ),
    ])
    func `a malformed template is refused by name`(_ refused: RefusedTemplate) {
        #expect(throws: refused.error) { try IDTemplate(parsing: refused.text) }
    }

    @Test func `a template of another trust domain is refused`() throws {
        let template = try IDTemplate(parsing: "spiffe://other/a")
        #expect(throws: IDTemplateError.trustDomainForeign) {
            try template.resolve(trustDomain: trustDomain, node: node)
        }
    }

    @Test func `a node variable needs exactly one selector of its type`() throws {
        let missing = try IDTemplate(parsing: "spiffe://td/{node.region}")
        #expect(throws: IDTemplateError.variableMissing("node.region")) {
            try missing.resolve(trustDomain: trustDomain, node: node)
        }
        let several = try IDTemplate(parsing: "spiffe://td/{node.disk}")
        #expect(throws: IDTemplateError.variableAmbiguous("node.disk")) {
            try several.resolve(trustDomain: trustDomain, node: node)
        }
        let notASegment = try IDTemplate(parsing: "spiffe://td/{node.zone}")
        #expect(throws: IDTemplateError.valueMalformed("node.zone")) {
            try notASegment.resolve(trustDomain: trustDomain, node: node)
        }
    }

    @Test func `what an agent asserts never fills a node variable`() throws {
        let template = try IDTemplate(parsing: "spiffe://td/{node.name}/{node.role}")
        let id = try template.resolve(
            trustDomain: trustDomain,
            node: node,
            workload: ["node.name": "db-1", "node.role": "db"],
            bounds: ["node.name": .agentAsserted, "node.role": .agentAsserted]
        )
        #expect(id.path == "/web-1/web")
    }

    @Test(arguments: ["", ".", "..", "a/b", "a b", "%41", "a\0", "é", "{x.y}"])
    func `an asserted value that is not one segment is refused`(_ value: String) throws {
        let template = try IDTemplate(parsing: "spiffe://td/x{unix.user}")
        #expect(throws: IDTemplateError.valueMalformed("unix.user")) {
            try template.resolve(
                trustDomain: trustDomain,
                node: node,
                workload: ["unix.user": value],
                bounds: ["unix.user": .agentAsserted]
            )
        }
    }

    @Test func `an asserted value outside its bound is refused`() throws {
        let template = try IDTemplate(parsing: "spiffe://td/{unix.user}")
        func path(_ value: String?, _ bound: VariableBound?) throws -> String {
            try template.resolve(
                trustDomain: trustDomain,
                node: node,
                workload: value.map { ["unix.user": $0] } ?? [:],
                bounds: bound.map { ["unix.user": $0] } ?? [:]
            ).path
        }
        #expect(try path("web-7", .prefix("web-")) == "/web-7")
        #expect(throws: IDTemplateError.valueOutOfBounds("unix.user")) {
            try path("db-7", .prefix("web-"))
        }
        #expect(throws: IDTemplateError.valueOutOfBounds("unix.user")) {
            try path("db", .values(["web"]))
        }
        #expect(throws: IDTemplateError.valueOutOfBounds("unix.user")) {
            try path("db", .prefix(""))
        }
        #expect(throws: IDTemplateError.boundMissing("unix.user")) { try path("db", nil) }
        #expect(throws: IDTemplateError.variableMissing("unix.user")) {
            try path(nil, .agentAsserted)
        }
    }

    @Test func `no value leads into the part Signet keeps for itself`() throws {
        for text in ["spiffe://td/{unix.user}/agent/x", "spiffe://td/{unix.user}"] {
            #expect(throws: IDTemplateError.reserved) {
                try IDTemplate(parsing: text).resolve(
                    trustDomain: trustDomain,
                    node: node,
                    workload: ["unix.user": "signet"],
                    bounds: ["unix.user": .agentAsserted]
                )
            }
        }
        #expect(throws: IDTemplateError.reserved) {
            try IDTemplate(parsing: "spiffe://td/sig{unix.user}/x").resolve(
                trustDomain: trustDomain,
                node: node,
                workload: ["unix.user": "net"],
                bounds: ["unix.user": .agentAsserted]
            )
        }
    }

    @Test func `ID-7 a value that makes the ID too long is refused`() throws {
        let template = try IDTemplate(parsing: "spiffe://td/{unix.user}")
        #expect(throws: IDTemplateError.idMalformed(.tooLong)) {
            try template.resolve(
                trustDomain: trustDomain,
                node: node,
                workload: ["unix.user": String(repeating: "a", count: 2037)],
                bounds: ["unix.user": .agentAsserted]
            )
        }
    }

    @Test func `every workload variable needs a bound that can be met`() throws {
        let template = try IDTemplate(parsing: "spiffe://td/{node.name}/{unix.user}")
        try template.check(bounds: ["unix.user": .prefix("a")])
        try template.check(bounds: ["unix.user": .prefix(".")])
        try template.check(bounds: ["unix.user": .agentAsserted])
        try template.check(bounds: ["unix.user": .values(["a", "b"])])
        #expect(throws: IDTemplateError.boundMissing("unix.user")) {
            try template.check(bounds: [:])
        }
        #expect(throws: IDTemplateError.boundEmpty("unix.user")) {
            try template.check(bounds: ["unix.user": .prefix("")])
        }
        #expect(throws: IDTemplateError.boundEmpty("unix.user")) {
            try template.check(bounds: ["unix.user": .values([])])
        }
        #expect(throws: IDTemplateError.valueMalformed("unix.user")) {
            try template.check(bounds: ["unix.user": .values(["a", "b/c"])])
        }
        #expect(throws: IDTemplateError.valueMalformed("unix.user")) {
            try template.check(bounds: ["unix.user": .prefix("a/")])
        }
        #expect(throws: IDTemplateError.boundUnused("node.name")) {
            try template.check(bounds: ["unix.user": .agentAsserted, "node.name": .agentAsserted])
        }
    }

    @Test func `a workload variable takes the value of the one selector with its key`() throws {
        let template = try IDTemplate(parsing: "spiffe://td/{unix.user}/{systemd.unit}/{node.name}")
        let selectors: Set = [
            try Selector("unix:user:alice"), try Selector("unix:uid:1000"),
            try Selector("systemd:unit:web.service"), try Selector("unix:path:/bin/a"),
        ]
        #expect(
            try template.workloadValues(from: selectors) == [
                "unix.user": "alice", "systemd.unit": "web.service",
            ]
        )
        #expect(throws: IDTemplateError.variableMissing("unix.user")) {
            try template.workloadValues(from: [])
        }
        #expect(throws: IDTemplateError.variableAmbiguous("unix.user")) {
            try template.workloadValues(from: selectors.union([Selector("unix:user:bob")]))
        }
    }

    @Test(arguments: [
        ("spiffe://td/web", "spiffe://td/web", true),
        ("spiffe://td/web", "spiffe://td/webs", false),
        ("spiffe://td/web", "spiffe://td/web/a", false),
        ("spiffe://td/web", "spiffe://other/web", false),
        ("spiffe://td/{node.name}", "spiffe://td/web", true),
        ("spiffe://td/{node.name}", "spiffe://td/web/a", false),
        ("spiffe://td/a-{node.name}-b", "spiffe://td/a-x-b", true),
        ("spiffe://td/a-{node.name}-b", "spiffe://td/a--b", false),
        ("spiffe://td/a-{node.name}-b", "spiffe://td/a-b", false),
        ("spiffe://td/a/{unix.user}", "spiffe://td/a/x", true),
        ("spiffe://td/a/{unix.user}", "spiffe://td/b/x", false),
    ])
    func `a template may become the IDs that some values give`(
        _ template: String,
        _ id: String,
        _ isPossible: Bool
    ) throws {
        let template = try IDTemplate(parsing: template)
        #expect(template.mayBecome(try SPIFFEID(id)) == isPossible)
    }

    @Test(arguments: [UInt64(1), 2, 3, 4])
    func `different values never give the same ID`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let template = try IDTemplate(parsing: "spiffe://td/{node.name}/x-{unix.user}-y/{k8s.ns}")
        let bounds: [String: VariableBound] = [
            "unix.user": .agentAsserted, "k8s.ns": .agentAsserted,
        ]
        let alphabet = Array("ab-.xy/")
        var seen: [SPIFFEID: [String]] = [:]
        for _ in 0..<4000 {
            let values = (0..<3).map { _ in
                String(
                    (0...Int.random(in: 0...3, using: &random)).map { _ in
                        alphabet[Int.random(in: 0..<alphabet.count, using: &random)]
                    }
                )
            }
            let id = try? template.resolve(
                trustDomain: trustDomain,
                node: TemplateNode(name: values[0], selectors: []),
                workload: ["unix.user": values[1], "k8s.ns": values[2]],
                bounds: bounds
            )
            guard let id else { continue }
            #expect(seen[id, default: values] == values)
            seen[id] = values
        }
        #expect(seen.count > 100)
    }
}
