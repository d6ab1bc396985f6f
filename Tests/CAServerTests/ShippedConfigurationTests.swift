// SPDX-License-Identifier: Apache-2.0

import Authorization
import CAServer
import Foundation
import Testing

/// The configuration in deploy/config, through the reader of the server.
@Suite struct ShippedConfigurationTests {
    private static let path = URL(filePath: #filePath).deletingLastPathComponent()
        .appending(path: "../../deploy/config/server.yaml").standardizedFileURL.path

    @Test func `the shipped configuration is read and says what the defaults say`() throws {
        let shipped = try ServerConfiguration(file: Self.path)
        let plain = ServerConfiguration(
            trustDomain: shipped.trustDomain,
            dataDirectory: shipped.dataDirectory
        )
        #expect(shipped.lifetimes == plain.lifetimes)
        #expect(shipped.listen == plain.listen)
        #expect(shipped.adminSocket == plain.adminSocket)
        #expect(shipped.telemetryPort == plain.telemetryPort)
        #expect(shipped.keysInMemory == plain.keysInMemory)
        #expect(shipped.signingPerSecond == plain.signingPerSecond)
        #expect(shipped.signingBurst == plain.signingBurst)
        #expect(shipped.attestationsPerSecond == plain.attestationsPerSecond)
        #expect(shipped.attestationBurst == plain.attestationBurst)
        #expect(shipped.admins == [.localUser(uid: 0, host: nil)])
    }

    @Test func `the shipped configuration has every key`() throws {
        let text = try String(contentsOfFile: Self.path, encoding: .utf8)
        let keys = text.split(separator: "\n").compactMap { line in
            line.first?.isLetter == true ? line.split(separator: ":").first.map(String.init) : nil
        }
        #expect(Set(keys) == Set(ServerConfigurationKey.allCases.map(\.rawValue)))
        #expect(keys.count == Set(keys).count)
    }
}
