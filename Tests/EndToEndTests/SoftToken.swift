// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms

/// A token of SoftHSM beside a machine's data directory, for the keys of its server.
struct SoftToken {
    private static let label = "server"
    private static let pin = "4711"
    /// What server and tools get that are to find the token.
    let environment: [String: String]

    /// Makes the token, and has the machine's server, which was never started, keep its keys there.
    ///
    /// - Throws: `ProgramFailure`.
    init(for machine: Machine) async throws {
        let configuration = "\(machine.path)/softhsm2.conf"
        let secret = "\(machine.path)/pin"
        environment = ["SOFTHSM2_CONF": configuration]
        try FileManager.default.createDirectory(
            atPath: Self.directory(of: machine),
            withIntermediateDirectories: false
        )
        let text = """
            directories.tokendir = \(Self.directory(of: machine))
            objectstore.backend = file
            log.level = ERROR

            """
        try Data(text.utf8).write(to: URL(filePath: configuration))
        let isWritten = FileManager.default.createFile(
            atPath: secret,
            contents: Data(Self.pin.utf8),
            attributes: [.posixPermissions: 0o600]
        )
        guard isWritten else { throw ProgramFailure(secret) }
        let made = try await Installation.run(
            Installation.tool("softhsm2-util"),
            [
                "--init-token", "--free", "--label", Self.label, "--so-pin", "12345678", "--pin",
                Self.pin,
            ],
            environment: environment,
            directory: machine.path
        )
        guard made.isSuccess else { throw ProgramFailure(made.report) }
        machine.change {
            $0.keyStorage = "pkcs11"
            $0.serverLines += [
                "pkcs11Module: /usr/lib/softhsm/libsofthsm2.so", "pkcs11Token: \(Self.label)",
                "pkcs11PIN: file:\(secret)",
            ]
        }
    }

    private static func directory(of machine: Machine) -> String { "\(machine.path)/tokens" }

    /// The authorities whose keys the token holds, once for each key; one that is no authority's yet
    /// has a name that is no authority.
    ///
    /// They are read from the labels of public halves, which lie open in the token's files. Of a key
    /// that is destroyed, the private half goes first.
    static func keyOwners(of machine: Machine) throws -> [String] {
        let top = directory(of: machine)
        return try FileManager.default.subpathsOfDirectory(atPath: top)
            .filter { $0.hasSuffix(".object") }
            .flatMap { file in
                // One may go while it is looked for.
                let content = FileManager.default.contents(atPath: "\(top)/\(file)") ?? Data()
                return String(decoding: content, as: UTF8.self)
                    .matches(of: /signet(?:-jwt)?:[^:]+:([0-9a-z-]+)/)
                    .map { String($0.output.1) }
            }
    }
}
