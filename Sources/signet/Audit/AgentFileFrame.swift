// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials

/// Files of an agent's data directory: their content stands below a header line.
package enum AgentFileFrame {
    /// Longest header line: format, kind, length and hash have about a hundred bytes.
    package static let headerBytesMax = 256
    /// Most bytes of an agent's `identity` that are read, as many as the agent itself reads.
    package static let identityBytesMax = 4 * 1024 * 1024

    private struct Identity: Decodable {
        var auditKey: String
    }

    /// What stands below the header line; a file without one is its own content.
    ///
    /// The hash in the header is not compared: what is read here is signed, or it is a key that
    /// somebody chose to believe.
    ///
    /// - Throws: `CommandFailure` when the file is not as long as its header says.
    package static func content(
        _ file: [UInt8],
        path: String
    ) throws(CommandFailure) -> [UInt8] {
        guard hasHeader(file) else { return file }
        let end = file.prefix(headerBytesMax).firstIndex(of: 0x0A) ?? file.startIndex
        let words = String(decoding: file[..<end], as: UTF8.self).split(separator: " ")
        let content = Array(file[end...].dropFirst())
        guard words.count == 5, words[1] == "1", Int(words[3]) == content.count else {
            throw CommandFailure(
                "\(path) begins as an agent's file and is not as long as its first line says",
                remedy: "Copy it again from the agent's data directory."
            )
        }
        return content
    }

    /// The verifier key that a file holds: alone, or within an agent's `identity`.
    ///
    /// - Throws: `CommandFailure` when it is another file of an agent.
    package static func key(
        _ file: [UInt8],
        path: String
    ) throws(CommandFailure) -> String {
        let below = try Self.content(file, path: path)
        guard hasHeader(file) else { return String(decoding: below, as: UTF8.self) }
        guard let identity = try? JSONDecoder().decode(Identity.self, from: Data(below)) else {
            throw CommandFailure(
                "\(path) is an agent's file and holds no verifier key",
                remedy: "The key is in the agent's file `identity`."
            )
        }
        return identity.auditKey
    }

    private static func hasHeader(_ file: [UInt8]) -> Bool {
        file.starts(with: "signet-agent ".utf8)
    }
}
