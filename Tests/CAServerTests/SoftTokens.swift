// SPDX-License-Identifier: Apache-2.0

import CAServer
import Foundation

/// Tokens of SoftHSM in a directory of this process: it reads where they are only once.
struct SoftTokens: Sendable {
    static let modulePath = "/usr/lib/softhsm/libsofthsm2.so"
    static let pin = Secret(bytes: Array("4711".utf8))
    /// One for each test, so that none sees the keys of another.
    static let labels = [
        "away", "keys", "lists", "lost", "pin", "server", "shared", "threads",
    ]
    static let shared = Result { try SoftTokens() }

    /// The directory of each token.
    let directories: [String: String]
    /// What SoftHSM keeps lies in it.
    private let directory: TestDirectory

    private init() throws {
        directory = try TestDirectory()
        let tokens = "\(directory.path)/tokens"
        try FileManager.default.createDirectory(
            atPath: tokens,
            withIntermediateDirectories: false
        )
        let configuration = "\(directory.path)/softhsm2.conf"
        let text = """
            directories.tokendir = \(tokens)
            objectstore.backend = file
            log.level = ERROR

            """
        try Data(text.utf8).write(to: URL(filePath: configuration))
        unsafe setenv("SOFTHSM2_CONF", configuration, 1)
        var directories: [String: String] = [:]
        for label in Self.labels {
            let known = Set(try FileManager.default.contentsOfDirectory(atPath: tokens))
            try Self.make(label, configuration)
            let all = Set(try FileManager.default.contentsOfDirectory(atPath: tokens))
            directories[label] = all.subtracting(known).first.map { "\(tokens)/\($0)" }
        }
        self.directories = directories
    }

    private static func make(_ label: String, _ configuration: String) throws {
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/softhsm2-util")
        process.arguments = [
            "--init-token", "--free", "--label", label, "--so-pin", "12345678", "--pin", "4711",
        ]
        process.environment = ["SOFTHSM2_CONF": configuration]
        process.standardOutput = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw CocoaError(.executableLoad) }
    }

    /// The keys of a server in a token.
    func keys(_ label: String, server: String = "one", pin: Secret = pin) throws -> PKCS11Keys {
        try PKCS11Keys(
            modulePath: Self.modulePath,
            tokenLabel: label,
            pin: pin,
            serverID: server
        )
    }
}
