// SPDX-License-Identifier: Apache-2.0

import Foundation
import PolicyDocuments
import SPIFFE
import Testing

struct RegistrationEntrySpecTests {
    static let refused: [BadDocument] = [
        .entry(
            "no node selectors",
            "  nodeSelectors:\n    - role:web\n",
            with: "",
            "7:3: spec.nodeSelectors is missing; add it"
        ),
        .entry(
            "an empty list of selectors",
            "workloadSelectors:\n    - unix:uid:1000",
            with: "workloadSelectors: []",
            "10:22: spec.workloadSelectors is an empty list; add a value or remove the key"
        ),
        .entry(
            "a selector that is a mapping",
            "- role:web",
            with: "- role: web",
            "9:7: spec.nodeSelectors[0] is a mapping, not a selector; write role:value without a "
                + "space after the colon"
        ),
        .entry(
            "a selector without type",
            "- role:web",
            with: "- web",
            "9:7: spec.nodeSelectors[0]: \"web\" is not a selector; a selector is written "
                + "type:value, for example role:web of a node or unix:uid:1000 of a workload"
        ),
        .entry(
            "a unix selector that does not exist",
            "unix:uid:1000",
            with: "unix:usr:web",
            "11:7: spec.workloadSelectors[0]: there is no selector unix:usr; did you mean \"user\"?"
        ),
        .entry(
            "a uid that is a name",
            "unix:uid:1000",
            with: "unix:uid:root",
            "11:7: spec.workloadSelectors[0]: the value of unix:uid: is not a number; write a "
                + "number such as unix:uid:1000, or unix:user: with a name"
        ),
        .entry(
            "a gid with a leading zero",
            "unix:uid:1000",
            with: "unix:gid:0100",
            "11:7: spec.workloadSelectors[0]: the value of unix:gid: is not a number; write a "
                + "number such as unix:gid:1000, or unix:group: with a name"
        ),
        .entry(
            "a SHA-256 that is too short",
            "unix:uid:1000",
            with: "unix:sha256:abc",
            "11:7: spec.workloadSelectors[0]: the value of unix:sha256: is not a SHA-256 in "
                + "hexadecimal; write 64 digits 0-9 and a-f in lower case, as sha256sum does"
        ),
        .entry(
            "a relative path",
            "unix:uid:1000",
            with: "unix:path:bin/web",
            "11:7: spec.workloadSelectors[0]: the value of unix:path: is not an absolute path; "
                + "write the whole path, such as unix:path:/usr/bin/web"
        ),
        .entry(
            "a selector twice",
            "- role:web",
            with: "- role:web\n    - role:web",
            "10:7: spec.nodeSelectors[1] repeats spec.nodeSelectors[0]; remove one of them"
        ),
        .entry(
            "a text where a list is meant",
            "nodeSelectors:\n    - role:web",
            with: "nodeSelectors: role:web",
            "8:18: spec.nodeSelectors is \"role:web\", not a list; write a list"
        ),
        .entry(
            "too many selectors",
            "- role:web",
            with: (0..<33).map { "- role:\($0)" }.joined(separator: "\n    "),
            "9:5: spec.nodeSelectors has 33 values, more than the 32 allowed; split the document"
        ),
        .entry(
            "a reserved ID",
            "example.org/web",
            with: "example.org/signet/web",
            "7:13: spec.spiffeID: \"spiffe://example.org/signet/web\": paths under /signet/ "
                + "belong to Signet itself; write spiffe://<trust domain>/<path>, such as "
                + "spiffe://example.org/web"
        ),
        .entry(
            "the trust domain itself",
            "example.org/web",
            with: "example.org",
            "7:13: spec.spiffeID: \"spiffe://example.org\": the ID of a workload has a path; "
                + "write spiffe://<trust domain>/<path>, such as spiffe://example.org/web"
        ),
        .entry(
            "an agent-asserted variable without bound",
            "org/web",
            with: "org/{unix.user}",
            "7:13: spec.spiffeID: {unix.user} is asserted by the agent and has no bound; add "
                + "spec.variables.unix.user with values, prefix, or agentAsserted: true"
        ),
        .entry(
            "a bound of nothing",
            "hint: x",
            with: "variables: {unix.user: {prefix: a}}",
            "13:15: spec.variables.unix.user: spec.spiffeID has no variable {unix.user}; remove "
                + "it, or write {unix.user} in spec.spiffeID"
        ),
        .init(
            "a bound of a node variable",
            BadDocument.sampleEntry.replacing("org/web", with: "org/{node.name}")
                .replacing("hint: x", with: "variables: {node.name: {prefix: a}}"),
            "13:15: spec.variables.node.name: the server verifies {node.name} itself; remove the "
                + "bound"
        ),
        .entry(
            "two bounds",
            "hint: x",
            with: "variables: {a.b: {prefix: a, agentAsserted: true}}",
            "13:20: spec.variables.a.b needs exactly one bound; write one of values, prefix, or "
                + "agentAsserted: true"
        ),
        .entry(
            "an assertion that is not made",
            "hint: x",
            with: "variables: {a.b: {agentAsserted: false}}",
            "13:36: spec.variables.a.b.agentAsserted is \"false\", not true; write true"
        ),
        .entry(
            "a value that is no segment",
            "hint: x",
            with: "variables: {a.b: {values: [x/y]}}",
            "13:30: spec.variables.a.b.values[0]: \"x/y\" cannot be a path segment of a SPIFFE "
                + "ID; \"/\" in the path: a segment holds only letters, digits, \".\", \"-\" "
                + "and \"_\""
        ),
        .entry(
            "a lifetime that is too short",
            "1h",
            with: "9s",
            "12:16: spec.x509SVIDTTL: 9s is outside 10s to 24h; write a duration from 10s to 24h, "
                + "for example 1h or 90s"
        ),
        .entry(
            "a lifetime that is too long",
            "1h",
            with: "24h1s",
            "12:16: spec.x509SVIDTTL: 24h1s is outside 10s to 24h; write a duration from 10s to "
                + "24h, for example 1h or 90s"
        ),
        .entry(
            "a lifetime of tokens that is too long",
            "hint: x",
            with: "jwtSVIDTTL: 61m",
            "13:15: spec.jwtSVIDTTL: 61m is outside 30s to 1h; write a duration from 30s to 1h, "
                + "for example 1h or 90s"
        ),
        .entry(
            "a lifetime without unit",
            "1h",
            with: "3600",
            "12:16: spec.x509SVIDTTL is \"3600\", not a duration; write a duration from 10s to "
                + "24h, for example 1h or 90s"
        ),
        .entry(
            "a DNS name with a wildcard",
            "hint: x",
            with: "dnsNames: [\"*.example.org\"]",
            "13:14: spec.dnsNames[0]: \"*.example.org\" is not a DNS name; write a whole name in "
                + "lower case without wildcard, for example web.example.org"
        ),
        .entry(
            "an address as DNS name",
            "hint: x",
            with: "dnsNames: [\"10.0.0.1\"]",
            "13:14: spec.dnsNames[0]: \"10.0.0.1\" is not a DNS name; write a whole name in lower "
                + "case without wildcard, for example web.example.org"
        ),
        .entry(
            "a federated ID instead of a name",
            "hint: x",
            with: "federatesWith: [\"spiffe://b\"]",
            "13:19: spec.federatesWith[0]: \"spiffe://b\" is not a trust domain: a trust domain "
                + "has no port; write the bare name, for example partner.example"
        ),
    ]

    @Test(arguments: refused)
    func `a wrong entry is refused with place and remedy`(bad: BadDocument) {
        // A bound without its variable is a second problem of these texts.
        let error = #expect(throws: DocumentProblems.self) {
            try Document.parse(Array(bad.text.utf8), file: "f.yaml")
        }
        let messages = error?.problems.map(\.description) ?? []
        #expect(messages.contains("f.yaml:\(bad.message)"), "\(messages)")
        #expect(messages.count == 1, "\(messages)")
    }

    @Test(arguments: [
        ("10s", 10), ("24h", 86_400), ("90m", 5_400), ("1h30m", 5_400), ("1m5s", 65),
    ])
    func `a lifetime is read in hours, minutes and seconds`(text: String, seconds: Int) throws {
        let document = try Self.entry(BadDocument.sampleEntry.replacing("1h", with: text))
        #expect(document.spec.x509SVIDTTLSeconds == seconds)
    }

    @Test func `tokens have a lifetime of their own`() throws {
        let text = BadDocument.sampleEntry.replacing("hint: x", with: "jwtSVIDTTL: 90s")
        let document = try Self.entry(text)
        #expect(document.spec.x509SVIDTTLSeconds == 3_600)
        #expect(document.spec.jwtSVIDTTLSeconds == 90)
        let shown = String(decoding: document.document.canonicalJSON, as: UTF8.self)
        #expect(shown.contains(#""jwtSVIDTTL":"1m30s""#), "\(shown)")
    }

    @Test func `an entry of a server below says so, and is shown with it`() throws {
        let text = BadDocument.sampleEntry.replacing("hint: x", with: "downstream: true")
        let document = try Self.entry(text)
        #expect(document.spec.isDownstream)
        let shown = String(decoding: document.document.canonicalJSON, as: UTF8.self)
        #expect(shown.contains(#""downstream":true"#), "\(shown)")
        #expect(try !Self.entry(BadDocument.sampleEntry).spec.isDownstream)
    }

    @Test(arguments: ["false", "\"true\"", "yes", "[true]"])
    func `downstream is true or not there`(value: String) {
        let text = BadDocument.sampleEntry.replacing("hint: x", with: "downstream: \(value)")
        let error = #expect(throws: DocumentProblems.self) { try Self.entry(text) }
        let messages = error?.problems.map(\.description) ?? []
        #expect(messages.count == 1, "\(messages)")
        #expect(messages.allSatisfy { $0.contains(":13:15: spec.downstream") }, "\(messages)")
    }

    @Test func `a template names no single server`() {
        let text = BadDocument.sampleEntry
            .replacing("example.org/web", with: "example.org/{unix.user}")
            .replacing(
                "hint: x",
                with: "downstream: true\n  variables: {unix.user: {agentAsserted: true}}"
            )
        let error = #expect(throws: DocumentProblems.self) { try Self.entry(text) }
        let messages = error?.problems.map(\.description) ?? []
        #expect(messages.count == 1, "\(messages)")
        #expect(
            messages.first?.contains(":13:15: spec.downstream: an entry with {unix.user}") == true,
            "\(messages)"
        )
    }

    @Test(arguments: ["", "h", "1", "1H", "-1h", "+1h", "1.5h", "1 h", "1m1h", "1h1h", "1234567s"])
    func `a malformed lifetime is refused`(text: String) {
        #expect(throws: DocumentProblems.self) {
            try Self.entry(BadDocument.sampleEntry.replacing("1h", with: "\"\(text)\""))
        }
    }

    @Test(arguments: [
        ("1970-01-01T00:00:00Z", 0.0), ("2000-02-29T23:59:59Z", 951_868_799),
        ("2027-01-31T00:00:00+01:00", 1_801_350_000), ("2027-01-31T00:00:00-00:30", 1_801_355_400),
        ("9999-12-31T23:59:59Z", 253_402_300_799),
    ])
    func `a time is read in its offset`(text: String, seconds: Double) throws {
        let line = "namespace: payments\n  expires: \(text)"
        let entry = try Self.entry(
            BadDocument.sampleEntry.replacing("namespace: payments", with: line)
        )
        #expect(entry.document.metadata.expires == Date(timeIntervalSince1970: seconds))
    }

    @Test(arguments: [
        "2027-01-31", "2027-01-31T00:00:00", "2027-01-31 00:00:00Z", "2027-13-01T00:00:00Z",
        "1900-01-01T00:00:00Z", "2027-01-31T24:00:00Z", "2027-01-31T00:00:60Z",
        "2027-01-31T00:00:00z", "2027-01-31T00:00:00.5Z", "2027-01-31T00:00:00+0100",
        "2100-02-29T00:00:00Z", "2027-00-10T00:00:00Z", "2027-01-00T00:00:00Z",
    ])
    func `a malformed time is refused`(text: String) {
        let line = "namespace: payments\n  expires: \"\(text)\""
        #expect(throws: DocumentProblems.self) {
            try Self.entry(BadDocument.sampleEntry.replacing("namespace: payments", with: line))
        }
    }

    @Test func `a document becomes the entry that the server stores`() throws {
        let text = BadDocument.sampleEntry
            .replacing("org/web", with: "org/{unix.user}")
            .replacing("namespace: payments", with: "labels: {app: web}")
            .replacing(
                "hint: x",
                with: "variables: {unix.user: {values: [a, b]}}\n  dnsNames: [w.example.org]\n"
                    + "  federatesWith: [partner.example]"
            )
        let (document, spec) = try Self.entry(text)
        let created = Date(timeIntervalSince1970: 1_800_000_000)
        let stored = StoredMetadata(
            uid: "5e0c",
            resourceVersion: 3,
            creationTimestamp: created,
            revision: 17
        )
        let entry = spec.entry(metadata: document.metadata, stored: stored)
        let expected = RegistrationEntry(
            id: "5e0c",
            namespace: "default",
            name: "web",
            revision: 17,
            createdAt: created,
            spiffeID: "spiffe://example.org/{unix.user}",
            variableBounds: ["unix.user": .values(["a", "b"])],
            nodeSelectors: [try Selector("role:web")],
            workloadSelectors: [try Selector("unix:uid:1000")],
            x509SVIDTTLSeconds: 3_600,
            jwtSVIDTTLSeconds: nil,
            dnsNames: ["w.example.org"],
            federatesWith: ["partner.example"],
            hint: "",
            labels: ["app": "web"]
        )
        #expect(entry == expected)
    }

    @Test func `selectors of a type that no agent attests are warned of`() throws {
        let text = BadDocument.sampleEntry.replacing(
            "    - unix:uid:1000",
            with: "    - unix:uid:1000\n    - k8s:ns:shop"
        )
        let warnings = try Self.entry(text).document.warnings
        #expect(warnings.count == 1)
        #expect(warnings.first?.what.hasSuffix("no process is attested to be k8s:ns:shop") == true)
        #expect(warnings.first?.remedy.hasPrefix("agents attest unix:... only: gid, ") == true)
        #expect(try Self.entry(BadDocument.sampleEntry).document.warnings.isEmpty)
    }

    @Test func `IDs of another trust domain are named with their places`() throws {
        let text = BadDocument.sampleEntry.replacing(
            "hint: x",
            with: "federatesWith: [other.example]"
        )
        let document = try Self.entry(text).document
        #expect(document.problems(inTrustDomain: try TrustDomain("example.org")).isEmpty)
        let problems = document.problems(inTrustDomain: try TrustDomain("other.example"))
        #expect(
            problems.map(\.description) == [
                "f.yaml:7:13: spec.spiffeID: the trust domain is example.org, this server's is "
                    + "other.example; write spiffe://other.example/...",
                "f.yaml:13:19: spec.federatesWith[0]: other.example is this server's own trust "
                    + "domain; remove it",
            ]
        )
    }

    private static func entry(
        _ text: String
    ) throws -> (document: Document, spec: RegistrationEntrySpec) {
        let documents = try Document.parse(Array(text.utf8), file: "f.yaml")
        let document = try #require(documents.first)
        guard case .registrationEntry(let spec) = document.spec else {
            throw EntryMissing()
        }
        return (document, spec)
    }

    private struct EntryMissing: Error {}
}
