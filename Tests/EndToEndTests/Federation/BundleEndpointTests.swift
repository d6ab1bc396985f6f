// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms
import Testing

/// The server's own bundle endpoint, asked by programs that know nothing of SPIFFE
/// (docs/decisions/0021-federation.md).
@Suite(.serialized, .timeLimit(.minutes(2)))
struct BundleEndpointTests {
    @Test func `F-7 openssl verifies the endpoint and is asked for no certificate, curl reads it`()
        async throws
    {
        let machine = try Machine()
        let port = try FreePort.take()
        machine.change { $0.serverLines = ["federationListen: 127.0.0.1:\(port)"] }
        try await machine.startServer()
        let shown = try await machine.signet(["bundle", "show"])
        #expect(shown.isSuccess, "\(shown.report)")
        let bundle = "\(machine.path)/bundle.pem"
        try shown.output.write(toFile: bundle, atomically: true, encoding: .utf8)
        let document = try await curl(["--retry", "10", "--retry-all-errors"], port, machine)
        #expect(document.output.contains("\"x509-svid\""), "\(document.report)")
        #expect(document.output.contains("spiffe_sequence"), "\(document.report)")
        let head = try await curl(["--head"], port, machine)
        #expect(head.output.contains("content-type: application/json"), "\(head.report)")
        let keys = try await curl([], port, machine, path: "/keys")
        #expect(!keys.isSuccess && keys.report.contains("404"), "\(keys.report)")
        let posted = try await curl(["--data", "a"], port, machine)
        #expect(!posted.isSuccess, "\(posted.report)")
        let handshake = try await Installation.run(
            Installation.tool("openssl"),
            [
                "s_client", "-connect", "127.0.0.1:\(port)", "-msg", "-no-CApath", "-CAfile",
                bundle, "-verify_return_error",
            ],
            directory: machine.path
        )
        #expect(handshake.output.contains("Verify return code: 0 (ok)"), "\(handshake.report)")
        #expect(handshake.output.contains("CertificateVerify"), "\(handshake.report)")
        #expect(!handshake.output.contains("CertificateRequest"), "\(handshake.report)")
        try await machine.stop()
    }

    private func curl(
        _ options: [String],
        _ port: UInt16,
        _ machine: Machine,
        path: String = "/bundle"
    ) async throws -> ProgramResult {
        try await Installation.run(
            Installation.tool("curl"),
            ["--silent", "--show-error", "--fail", "--insecure"] + options
                + ["https://127.0.0.1:\(port)\(path)"],
            directory: machine.path
        )
    }
}
