// SPDX-License-Identifier: Apache-2.0

import Clocks
import Foundation
import Logging
import NodeAgent
import Testing

/// Sockets that would be in each other's way.
@Suite struct SocketPathTests {
    private func refusal(
        _ change: (inout AgentConfiguration) throws -> Void
    ) throws -> AgentStartError? {
        let directory = "/tmp/signet-paths-\(UInt32.random(in: 0 ... .max))"
        defer { try? FileManager.default.removeItem(atPath: directory) }
        var configuration = AgentConfiguration()
        configuration.dataDirectory = directory
        configuration.socket = "/run/a/workload.sock"
        try change(&configuration)
        do {
            _ = try Agent(
                configuration,
                clock: SystemClock(),
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            )
            return nil
        } catch let error as AgentStartError {
            return error
        }
    }

    @Test func `two sockets at one path are refused at the start, by their keys`() throws {
        #expect(try refusal { try $0.set(.tokenSocket, ["/run/a/token.sock"]) } == nil)
        let same = try refusal { try $0.set(.tokenSocket, ["/run/a/workload.sock"]) }
        #expect(
            same == .socketsCoincide(.socket, .tokenSocket, path: "/run/a/workload.sock")
        )
        #expect(
            same?.description
                == "socket and tokenSocket are both /run/a/workload.sock; give one of "
                + "them another path"
        )
        // Where proxies attach if nobody says it.
        let proxies = try refusal { try $0.set(.tokenSocket, ["/run/a/proxy.sock"]) }
        #expect(
            proxies == .socketsCoincide(.proxySocket, .tokenSocket, path: "/run/a/proxy.sock")
        )
        let both = try refusal { try $0.set(.proxySocket, ["/run/a/workload.sock"]) }
        #expect(
            both == .socketsCoincide(.socket, .proxySocket, path: "/run/a/workload.sock")
        )
    }

    @Test func `a path is compared as it is made absolute`() throws {
        let path = FileManager.default.currentDirectoryPath + "/token.sock"
        let refusal = try refusal {
            $0.socket = path
            $0.tokenSocket = "token.sock"
        }
        #expect(refusal == .socketsCoincide(.socket, .tokenSocket, path: path))
    }
}
