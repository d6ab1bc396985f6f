// SPDX-License-Identifier: Apache-2.0

import TestPrograms
import Testing

/// Programs that use py-spiffe keep a valid identity, whatever rotates below them.
@Suite(.serialized, .timeLimit(.minutes(4)))
struct PySPIFFETests {
    @Test func `an X509Source follows the rotation of its identity`() async throws {
        let machine = try Machine()
        try await machine.startServer()
        try await machine.startAgent()
        let workload = try await machine.makeWorkload("web")
        try await machine.register(workload, as: "web", more: ["x509SVIDTTL: 10s"])
        let result = try await machine.run(workload, "spiffe_source.py", ["3", "1"])
        #expect(result.isSuccess, "\(result.report)")
        #expect(result.output.contains("rotated 3 times by 1 authorities"))
        // A key lives as long as its certificate: each rotation is a record with another key.
        let issued = try await machine.signet(
            ["audit", "query", "--spiffe-id", "spiffe://example.org/web", "-o", "json"]
        )
        #expect(issued.output.ranges(of: "svidsIssued").count >= 4, "\(issued.report)")
        try await machine.stop()
    }

    /// The shortest authority, 60 s and six times the shortest SVID, is replaced after 40 s.
    @Test func `an X509Source follows the rotation of the authority`() async throws {
        let machine = try Machine {
            $0.serverLines = [
                "authorityTTL: 60s", "workloadSVIDTTL: 10s", "workloadSVIDTTLMax: 10s",
                "agentSVIDTTL: 10s",
            ]
        }
        try await machine.startServer()
        try await machine.startAgent()
        let workload = try await machine.makeWorkload("web")
        try await machine.register(workload, as: "web")
        let result = try await machine.run(workload, "spiffe_source.py", ["6", "2"])
        #expect(result.isSuccess, "\(result.report)")
        let activated = try await machine.signet(
            ["audit", "query", "--event", "authorityActivated", "-o", "json"]
        )
        #expect(!activated.output.contains("/signet/agent/"), "\(activated.report)")
        try await machine.stop()
    }

    /// Tokens outlive the activation of the next authority, whose key signs those that follow.
    @Test func `a JwtSource gets good tokens over the rotation of the authority`() async throws {
        let machine = try Machine {
            $0.serverLines = [
                "authorityTTL: 60s", "workloadSVIDTTL: 10s", "workloadSVIDTTLMax: 10s",
                "agentSVIDTTL: 10s",
            ]
        }
        try await machine.startServer()
        try await machine.startAgent()
        let workload = try await machine.makeWorkload("web")
        try await machine.register(workload, as: "web", more: ["jwtSVIDTTL: 30s"])
        let result = try await machine.run(workload, "spiffe_tokens.py", ["4", "2"])
        #expect(result.isSuccess, "\(result.report)")
        #expect(result.output.contains("4 tokens by "), "\(result.report)")
        let signed = try await machine.signet(
            ["audit", "query", "--event", "jwtSVIDsIssued", "-o", "json"]
        )
        #expect(signed.output.ranges(of: "jwtSVIDsIssued").count >= 4, "\(signed.report)")
        try await machine.stop()
    }
}
