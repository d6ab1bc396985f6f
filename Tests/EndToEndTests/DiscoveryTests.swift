// SPDX-License-Identifier: Apache-2.0

import Clocks
import Foundation
import TestPKI
import TestPrograms
import Testing

/// Who knows an issuer's URL only verifies what a workload was given.
@Suite(.serialized, .timeLimit(.minutes(4)))
struct DiscoveryTests {
    /// A machine whose server is found at `https://localhost:PORT/td`.
    static func machine(_ url: (UInt16) -> String, _ more: [String]) throws -> Machine {
        let machine = try Machine()
        let port = try FreePort.take()
        let web = try WebCertificate(["localhost"], now: SystemClock().wallTime)
        func write(_ text: String, _ name: String) throws {
            let file = "\(machine.path)/\(name)"
            try Data(text.utf8).write(to: URL(fileURLWithPath: file))
            try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: file)
        }
        try write(web.root, "root.pem")
        try write(web.leaf + "\n" + web.intermediate, "public.pem")
        try write(web.key, "public.key")
        machine.change {
            $0.serverLines =
                [
                    "publicURL: \(url(port))",
                    "publicListen: 127.0.0.1:\(port)",
                    "publicCertificate: \(machine.path)/public.pem",
                    "publicKey: \(machine.path)/public.key",
                ] + more
        }
        return machine
    }

    @Test(arguments: ["ec-p256", "ec-p384", "rsa-2048"])
    func `two JOSE libraries verify a token by discovery over TLS`(type: String) async throws {
        var url = ""
        let machine = try Self.machine(
            { port in
                url = "https://localhost:\(port)/td"
                return url
            },
            ["tokenKeyType: \(type)"]
        )
        try await machine.startServer()
        try await machine.startAgent()
        try await machine.register("web")
        let fetched = try await machine.signet(
            ["jwt", "fetch", "--audience", "sts.amazonaws.com", "--raw"]
        )
        #expect(fetched.isSuccess, "\(fetched.report)")
        let file = "\(machine.path)/token"
        try Data(fetched.output.utf8).write(to: URL(fileURLWithPath: file))
        let verified = try await machine.runPeer(
            "discovery.py",
            [
                url, "\(machine.path)/root.pem", "spiffe://example.org/web", "sts.amazonaws.com",
                file,
            ]
        )
        #expect(verified.isSuccess, "\(verified.report)")
        #expect(verified.output.contains("verified by PyJWT and joserfc"))
        try await machine.stop()
    }

    @Test func `curl takes the documents from a Unix socket`() async throws {
        let machine = try Machine()
        let socket = "\(machine.path)/public.sock"
        machine.change {
            $0.serverLines = [
                "publicURL: https://id.example.org", "publicListen: unix:\(socket)",
            ]
        }
        try await machine.startServer()
        let answer = try await Installation.run(
            Installation.tool("curl"),
            [
                "--silent", "--show-error", "--fail", "--retry", "10", "--retry-all-errors",
                "--unix-socket", socket, "http://localhost/keys",
            ],
            directory: machine.path
        )
        #expect(answer.isSuccess && answer.output.contains("\"sig\""), "\(answer.report)")
        try await machine.stop()
    }
}
