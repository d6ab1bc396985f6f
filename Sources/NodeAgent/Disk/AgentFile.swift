// SPDX-License-Identifier: Apache-2.0

internal import Crypto
internal import SPIFFE

/// The files of an agent; the raw value is the file's name.
package enum AgentFile: String, CaseIterable, Sendable {
    /// A checkpoint of the server's audit log that contradicts what was remembered.
    case alarm
    /// The newest checkpoint of the server's audit log.
    case checkpoint
    /// The agent's SVID, the trust domain's bundle and where the server is.
    case identity
    /// The key that the agent is about to join with, and the token it is for.
    case joiningKey = "joining-key"
    /// The agent's own private key.
    case key
    /// The newest checkpoint of a former audit log that is not proved to be in it as it ended.
    case lostCheckpoint = "lost-checkpoint"
    /// Everything synchronised.
    case sync

    /// Largest content of each file that is read back.
    package var bytesMax: Int {
        switch self {
        case .alarm, .checkpoint, .lostCheckpoint: 256 * 1024
        case .identity: 4 * 1024 * 1024
        case .joiningKey, .key: 16 * 1024
        // What a subscriber may hold, with its framing.
        case .sync: 320 * 1024 * 1024
        }
    }

    /// What to do about a file that must not be used.
    fileprivate var remedy: String {
        switch self {
        case .alarm, .checkpoint, .lostCheckpoint:
            "check the server's audit log (signet audit verify), then remove the file"
        case .identity, .key:
            "restore it from a backup, or empty the directory and join again with a new token"
        case .joiningKey:
            "remove the file; if the agent's join token is refused after that, make a new one"
        case .sync: "remove the file; the agent then fetches everything from the server again"
        }
    }

    /// What stands before the content: format, kind, length and SHA-256.
    ///
    /// The hash tells a torn or rotten file from a whole one. It is no signature: whoever may
    /// write the file may write another header too.
    private func header(_ content: [UInt8]) -> [UInt8] {
        let hash = Hexadecimal.text(SHA256.hash(data: content))
        return Array("signet-agent 1 \(rawValue) \(content.count) \(hash)\n".utf8)
    }

    /// The whole file that holds `content`.
    package func encoded(_ content: [UInt8]) -> [UInt8] { header(content) + content }

    /// The content of a whole file.
    ///
    /// - Throws: `AgentFileError` unless every byte is as `encoded` wrote it.
    package func decoded(_ file: [UInt8], path: String) throws(AgentFileError) -> [UInt8] {
        guard let end = file.firstIndex(of: 0x0A) else { throw damaged(path, "it has no header") }
        let content = Array(file[(end + 1)...])
        guard file[...end].elementsEqual(header(content)) else {
            throw damaged(path, "length or SHA-256 differ from its header")
        }
        return content
    }

    /// An error about this file, with its remedy.
    package func damaged(_ path: String, _ problem: String) -> AgentFileError {
        AgentFileError(path: path, problem: problem, remedy: remedy)
    }
}

/// A file of the agent that cannot be used; the agent does not start with it.
package struct AgentFileError: Error, Hashable, Sendable, CustomStringConvertible {
    package let path: String
    package let problem: String
    package let remedy: String

    package var description: String { "\(path): \(problem); \(remedy)" }
}
