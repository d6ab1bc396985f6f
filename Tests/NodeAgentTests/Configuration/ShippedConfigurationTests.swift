// SPDX-License-Identifier: Apache-2.0

import Foundation
import GRPCPeer
import NodeAgent
import SPIFFE
import Testing

/// The configuration in deploy/config, through the reader of the agent.
@Suite struct ShippedConfigurationTests {
    private static let path = URL(filePath: #filePath).deletingLastPathComponent()
        .appending(path: "../../../deploy/config/agent.yaml").standardizedFileURL.path

    @Test func `the shipped configuration is read and says what the defaults say`() throws {
        var shipped = AgentConfiguration()
        try shipped.read(file: Self.path)
        let plain = AgentConfiguration()
        #expect(shipped.dataDirectory == plain.dataDirectory)
        #expect(shipped.socket == plain.socket)
        #expect(shipped.socketMode == plain.socketMode)
        #expect(shipped.absoluteProxySocket == plain.absoluteProxySocket)
        #expect(shipped.proxySocketGroup == plain.proxySocketGroup)
        #expect(shipped.proxySocketMode == 0o660)
        #expect(shipped.telemetryPort == plain.telemetryPort)
        #expect(shipped.logLevel == plain.logLevel)
        #expect(shipped.serverAddresses.map(\.description) == ["ca.example.org:8081"])
        #expect(shipped.trustDomain?.name == "example.org")
        #expect(shipped.tokenSocket == nil)
    }

    @Test func `the shipped configuration has every key`() throws {
        let text = try String(contentsOfFile: Self.path, encoding: .utf8)
        // What is off stands behind a "#".
        let keys = text.split(separator: "\n").compactMap { line -> String? in
            let key = String(line.drop { "# ".contains($0) }.prefix { $0 != ":" })
            return line.first?.isLetter == true || key == "tokenSocket" ? key : nil
        }
        #expect(Set(keys) == Set(AgentConfigurationKey.allCases.map(\.rawValue)))
        #expect(keys.count == Set(keys).count)
    }
}
