// SPDX-License-Identifier: Apache-2.0

package import DurableFiles

/// The agent's data directory, held by one process at a time.
package final class AgentDirectory: Sendable {
    package let path: String
    private let lock: FileLock

    /// Makes the directory if it is missing and takes hold of it.
    ///
    /// - Throws: `AgentFileError`, also when another agent uses the directory.
    package init(_ path: String) throws(AgentFileError) {
        self.path = path
        do {
            try DurableFile.makeDirectory(path, mode: 0o700)
            try DurableFile.requireOwn(directory: path)
        } catch {
            throw AgentFileError(
                path: path,
                problem: "\(error)",
                remedy: "name a directory that this user may write with --data-dir"
            )
        }
        do {
            lock = try FileLock("\(path)/lock")
        } catch {
            throw AgentFileError(
                path: "\(path)/lock",
                problem: "\(error)",
                remedy: error.isLocked
                    ? "end the other agent, or give this one a directory of its own"
                    : "let this user write there; the disk may be full or read-only"
            )
        }
        do {
            try DurableFile.removeUnfinished(in: path)
        } catch {
            throw AgentFileError(
                path: path,
                problem: "\(error)",
                remedy: "let this user write there; the disk may be full or read-only"
            )
        }
    }

    /// Where a file of the agent lies.
    package func path(of file: AgentFile) -> String { "\(path)/\(file.rawValue)" }

    /// Where segments of the decision log wait for the server.
    package var decisionsPath: String { "\(path)/decisions" }

    /// Reads a file's content; nil if there is no such file.
    ///
    /// - Throws: `AgentFileError` for a file that is not whole, or not ours alone.
    package func read(_ file: AgentFile) throws(AgentFileError) -> [UInt8]? {
        let path = path(of: file)
        let bytes: [UInt8]
        do {
            // Only the key is secret, but what others may write must not be believed either.
            bytes = try DurableFile.readSecret(path, bytesMax: file.bytesMax)
        } catch {
            if error.isNotFound { return nil }
            throw file.damaged(path, "\(error)")
        }
        return try file.decoded(bytes, path: path)
    }

    /// Removes a file, if it is there.
    package func remove(_ file: AgentFile) throws(FileError) {
        try DurableFile.remove(path(of: file))
    }

    /// Writes a file's content, durably, readable by this user alone.
    ///
    /// It blocks for as long as the disk takes to confirm.
    package func write(_ content: [UInt8], to file: AgentFile) throws(FileError) {
        try DurableFile.write(file.encoded(content), to: path(of: file), mode: 0o600)
    }
}
