// SPDX-License-Identifier: Apache-2.0

import Crypto
import Foundation
import TestPKI
import TestPrograms

/// An identity and its authority as files, for programs of other people.
struct PeerFiles {
    let directory: TestDirectory
    var certificate: String { "\(directory.path)/web.pem" }
    var key: String { "\(directory.path)/web.key" }
    var root: String { "\(directory.path)/root.pem" }

    init(_ leaf: TestLeaf, _ authority: TestAuthority) throws {
        directory = try TestDirectory()
        try Self.pem("CERTIFICATE", leaf.der).write(
            toFile: certificate,
            atomically: true,
            encoding: .utf8
        )
        try Self.pem("CERTIFICATE", authority.der).write(
            toFile: root,
            atomically: true,
            encoding: .utf8
        )
        try leaf.key.pemRepresentation.write(toFile: key, atomically: true, encoding: .utf8)
    }

    private static func pem(_ label: String, _ der: [UInt8]) -> String {
        let text = Data(der).base64EncodedString(options: .lineLength64Characters)
        return "-----BEGIN \(label)-----\n\(text)\n-----END \(label)-----\n"
    }
}
