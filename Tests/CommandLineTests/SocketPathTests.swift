// SPDX-License-Identifier: Apache-2.0

import Testing
import signet

@Suite struct SocketPathTests {
    @Test(arguments: [
        "unix:///run/signet/agent/workload.sock", "unix:/run/signet/agent/workload.sock",
    ])
    func `E-4 a Unix socket is named by scheme and absolute path`(endpoint: String) throws {
        #expect(try SocketPath.parse(endpoint: endpoint) == "/run/signet/agent/workload.sock")
    }

    @Test(arguments: [
        "", "/run/a.sock", "unix:", "unix://", "unix://host/p", "unix:rel", "unix:///p?q",
        "unix:///p#f", "tcp://127.0.0.1:1", "tcp://host:1", "http://localhost", "UNIX:///p",
    ])
    func `E-4 any other endpoint is refused`(endpoint: String) {
        #expect(throws: CommandFailure.self) { try SocketPath.parse(endpoint: endpoint) }
    }
}
