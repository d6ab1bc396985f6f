// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms
import Testing

/// Entries whose ID depends on the node.
@Suite(.serialized, .timeLimit(.minutes(2)))
struct TemplateTests {
    @Test func `a template takes node selectors that its entry does not name`() async throws {
        let machine = try Machine()
        try await machine.startServer()
        try await machine.startAgent(selectors: ["role:test", "zone:north"])
        let workload = try await machine.makeWorkload("web")
        try await machine.apply(
            """
            apiVersion: core.signet/v1alpha1
            kind: RegistrationEntry
            metadata: {name: web}
            spec:
              spiffeID: spiffe://example.org/{node.zone}/web
              nodeSelectors: ["agent:machine"]
              workloadSelectors: ["\(workload.selector)"]

            """
        )
        let result = try await machine.run(workload, "spiffe_source.py", ["0", "1"])
        #expect(result.isSuccess, "\(result.report)")
        let issued = try await machine.signet(
            ["audit", "query", "--spiffe-id", "spiffe://example.org/north/web", "-o", "json"]
        )
        #expect(issued.output.contains("svidsIssued"), "\(issued.report)")
        try await machine.stop()
    }

    @Test func `an explanation says why a selector was left out`() async throws {
        let machine = try Machine()
        try await machine.startServer()
        try await machine.startAgent()
        let sleeper = try Program("/bin/cat", [], directory: machine.path, readsInput: true)
        let pid = "\(sleeper.pid)"
        let local = try await machine.signet(["explain", "workload", "--pid", pid])
        let asked = try await machine.signet(
            ["explain", "workload", "--pid", pid, "--agent", "machine", "-o", "json"]
        )
        for answer in [local, asked] {
            // A program that runs as its owner, or as root, may replace itself.
            #expect(answer.output.contains("unix:path is left out: "), "\(answer.report)")
        }
        sleeper.closeInput()
        try await machine.stop()
    }
}
