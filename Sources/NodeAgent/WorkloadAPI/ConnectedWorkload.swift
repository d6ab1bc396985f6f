// SPDX-License-Identifier: Apache-2.0

internal import GRPCPeer

/// The process that opened the connection of a request.
extension LocalPeer {
    /// What to attest: the process, held to what it ran when its connection was accepted.
    var attested: AttestedProcess {
        AttestedProcess(
            pid: pid,
            uid: uid,
            gid: gid,
            executableAtConnect: executable,
            isAlive: { isAlive() }
        )
    }

    /// Whether the process runs what it ran when it was attested; asked again before each message
    /// of a long stream.
    func stillRuns(_ executable: FileIdentity?) -> Bool {
        guard let executable else { return isAlive() }
        return (try? FileIdentity(ofExecutable: pid)) == executable && isAlive()
    }
}
