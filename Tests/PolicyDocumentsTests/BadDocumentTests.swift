// SPDX-License-Identifier: Apache-2.0

import PolicyDocuments
import Testing

/// Documents that can be read but say something wrong.
struct BadDocumentTests {
    static let documents: [BadDocument] = [
        .init(
            "a list as document",
            "- a\n",
            "1:1: a document is a list, not a mapping (key: value); write a mapping (key: value)"
        ),
        .init(
            "an unknown version",
            "apiVersion: core.signet/v2\nkind: Role\nmetadata: {name: a}\n",
            "1:13: the apiVersion \"core.signet/v2\" is unknown; write core.signet/v1alpha1"
        ),
        .entry(
            "a misspelt kind",
            "RegistrationEntry",
            with: "RegistrationEntri",
            "2:7: the kind \"RegistrationEntri\" is unknown; did you mean \"RegistrationEntry\"?"
        ),
        .entry(
            "a kind that is nothing like one",
            "RegistrationEntry",
            with: "Deployment",
            "2:7: the kind \"Deployment\" is unknown; write one of AccessPolicy, "
                + "DelegationPolicy, FederatedTrustDomain, Namespace, Proxy, RegistrationEntry, "
                + "Role, RoleBinding, Service"
        ),
        .entry(
            "a misspelt key",
            "x509SVIDTTL",
            with: "x509SvidTtI",
            "12:3: unknown key \"x509SvidTtI\" in spec; did you mean \"x509SVIDTTL\"?"
        ),
        .entry(
            "two letters swapped",
            "hint: x",
            with: "hnit: x",
            "13:3: unknown key \"hnit\" in spec; did you mean \"hint\"?"
        ),
        .entry(
            "an unknown key",
            "hint: x",
            with: "admin: true",
            "13:3: unknown key \"admin\" in spec; write one of dnsNames, downstream, "
                + "federatesWith, hint, jwtSVIDTTL, nodeSelectors, spiffeID, variables, "
                + "workloadSelectors, x509SVIDTTL"
        ),
        .entry(
            "a key twice",
            "hint: x",
            with: "hint: x\n  hint: y",
            "14:3: the key \"hint\" stands twice (first on line 13); remove one of them"
        ),
        .entry(
            "no name",
            "  name: web\n",
            with: "",
            "4:3: metadata.name is missing; add it"
        ),
        .entry(
            "a name in capitals",
            "name: web",
            with: "name: Web",
            "4:9: metadata.name: \"Web\" is not a name; write lower-case letters, digits, \"-\" "
                + "and \".\", for example web-1"
        ),
        .entry(
            "a number as name",
            "name: web",
            with: "name: 12",
            "4:9: metadata.name: 12 is a number or date to YAML, not a text; write \"12\""
        ),
        .entry(
            "a truth value as hint",
            "hint: x",
            with: "hint: no",
            "13:9: spec.hint: no is a truth value to YAML, not a text; write \"no\""
        ),
        .entry(
            "nothing as hint",
            "hint: x",
            with: "hint:",
            "13:8: spec.hint is empty; write a value or remove the key"
        ),
        .entry(
            "a mapping as hint",
            "hint: x",
            with: "hint: {a: b}",
            "13:9: spec.hint is a mapping, not a text; write a text"
        ),
        .entry(
            "a hint of two lines",
            "hint: x",
            with: "hint: \"x\\ny\"",
            "13:9: spec.hint holds a tab or line end; write it on one line"
        ),
        .entry(
            "an escaped control character",
            "hint: x",
            with: "hint: \"x\\0\"",
            "13:9: spec.hint holds a control character or an invisible line end; remove it"
        ),
        .entry(
            "a hint that is too long",
            "hint: x",
            with: "hint: " + String(repeating: "x", count: 1025),
            "13:9: spec.hint has 1025 bytes, more than the 1024 allowed; shorten it"
        ),
        .entry(
            "a namespace with a dot",
            "namespace: payments",
            with: "namespace: a.b",
            "5:14: metadata.namespace: \"a.b\" is not the name of a namespace; write lower-case "
                + "letters, digits and \"-\", for example team-a"
        ),
        .entry(
            "a label with a space",
            "namespace: payments",
            with: "labels: {app: \"a b\"}",
            "5:17: metadata.labels.app: \"a b\" is not a label value; write letters, digits, "
                + "\".\", \"-\" and \"_\", with a letter or digit at both ends; other text "
                + "belongs in annotations"
        ),
        .entry(
            "a version that is no number",
            "namespace: payments",
            with: "resourceVersion: \"7\"",
            "5:20: metadata.resourceVersion is \"7\", not a whole number; write a whole number"
        ),
        .entry(
            "a day that does not exist",
            "namespace: payments",
            with: "expires: 2027-02-29T00:00:00Z",
            "5:12: metadata.expires is \"2027-02-29T00:00:00Z\", not a time such as "
                + "2027-01-31T00:00:00Z; write a time such as 2027-01-31T00:00:00Z"
        ),
        .init(
            "a namespace in a namespace",
            "apiVersion: core.signet/v1alpha1\nkind: Namespace\nmetadata:\n  name: a\n"
                + "  namespace: b\n",
            "5:14: a Namespace belongs to the whole cluster, not to a namespace; remove "
                + "metadata.namespace"
        ),
        .init(
            "a namespace that expires",
            "apiVersion: core.signet/v1alpha1\nkind: Namespace\nmetadata:\n  name: a\n"
                + "  expires: 2027-01-31T00:00:00Z\n",
            "5:12: a Namespace does not expire; only DelegationPolicy, RegistrationEntry and "
                + "RoleBinding do; remove metadata.expires"
        ),
        .init(
            "a namespace that says something",
            "apiVersion: core.signet/v1alpha1\nkind: Namespace\nmetadata: {name: a}\n"
                + "spec: {a: b}\n",
            "4:8: unknown key \"a\" in spec; remove it; there is nothing to write here"
        ),
        .init(
            "a document twice",
            "\(BadDocument.sampleEntry)---\n\(BadDocument.sampleEntry)",
            "15:1: RegistrationEntry payments/web is already at f.yaml:1; remove one of them or "
                + "change its name"
        ),
    ]

    @Test(arguments: documents)
    func `a wrong document is refused with place and remedy`(bad: BadDocument) {
        expectOnlyProblem(of: bad)
    }

    @Test func `all problems of a file are reported in the order of the text`() {
        let text = """
            apiVersion: core.signet/v1alpha1
            kind: RegistrationEntry
            metadata:
              nam: web
            spec:
              spiffeID: spiffe://example.org/signet/agent/a
              nodeSelectors: []
              x509SVIDTTL: 25h
            ---
            kind: Role
            """
        let error = #expect(throws: DocumentProblems.self) {
            try Document.parse(Array(text.utf8), file: "f.yaml")
        }
        let places = error?.problems.map { "\($0.line):\($0.column)" }
        #expect(places == ["4:3", "4:3", "6:3", "6:13", "7:18", "8:16", "10:1", "10:1"])
    }

    @Test func `at most 50 problems are reported, and that there are more`() {
        let text = (0..<60).map { "k\($0): \"v\"" }.joined(separator: "\n")
        let header = "apiVersion: core.signet/v1alpha1\nkind: Namespace\nmetadata: {name: a}\n"
        let error = #expect(throws: DocumentProblems.self) {
            try Document.parse(Array((header + text).utf8), file: "f.yaml")
        }
        #expect(error?.problems.count == 50)
        #expect(error?.isTruncated == true)
    }

    @Test func `a document with an error is not returned beside good ones`() {
        let text = BadDocument.sampleEntry + "---\nkind: Role\n"
        #expect(throws: DocumentProblems.self) {
            try Document.parse(Array(text.utf8), file: "f.yaml")
        }
    }
}

/// Expects that a text is refused with exactly one problem.
func expectOnlyProblem(of bad: BadDocument, sourceLocation: SourceLocation = #_sourceLocation) {
    let error = #expect(throws: DocumentProblems.self, sourceLocation: sourceLocation) {
        try Document.parse(Array(bad.text.utf8), file: "f.yaml")
    }
    #expect(error?.description == "f.yaml:\(bad.message)", sourceLocation: sourceLocation)
}
