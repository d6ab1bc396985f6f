// SPDX-License-Identifier: Apache-2.0

/// The key of a first contact that is not over yet.
///
/// It is on disk before anything is sent: a key that is lost after the token was spent is an agent
/// lost. It is for one token only. Another token may be there because somebody else knows the key:
/// the server takes the key of an evicted agent never again.
package struct JoiningKey: Sendable {
    package let key: NodeKey
    package let tokenHash: [UInt8]

    private static let tokenHashBytes = 32

    /// The key for a token, made if there is none yet.
    ///
    /// - Parameters:
    ///   - tokenHash: SHA-256 of the token's secret, 32 bytes.
    ///   - directory: Where it is kept until the agent has joined.
    ///   - makeKey: Makes the key.
    /// - Returns: The key to join with, which is on disk.
    /// - Throws: `AgentFileError`, `FileError`, what `makeKey` throws.
    package static func key(
        for tokenHash: [UInt8],
        in directory: AgentDirectory,
        makeKey: () throws -> NodeKey = { NodeKey() }
    ) throws -> NodeKey {
        if let made = try read(from: directory), made.tokenHash == tokenHash { return made.key }
        let key = try makeKey()
        try directory.write(tokenHash + key.pkcs8, to: .joiningKey)
        return key
    }

    /// Reads it; nil if no first contact is under way.
    package static func read(
        from directory: AgentDirectory
    ) throws(AgentFileError) -> JoiningKey? {
        guard let content = try directory.read(.joiningKey) else { return nil }
        guard content.count > tokenHashBytes,
            let key = NodeKey(pkcs8: Array(content[tokenHashBytes...]))
        else {
            throw AgentFile.joiningKey.damaged(
                directory.path(of: .joiningKey),
                "it holds no P-256 key"
            )
        }
        return JoiningKey(key: key, tokenHash: Array(content[..<tokenHashBytes]))
    }
}
