// SPDX-License-Identifier: Apache-2.0

package import Clocks
internal import Datastore
internal import DurableFiles
internal import FoundationEssentials
internal import Issuance
internal import Logging
internal import SPIFFE
internal import Telemetry

/// What a ceremony is given: the request for an upstream authority on disk.
package struct UpstreamKeyRequest: Sendable {
    /// The key ID, by which the ceremony tells the request from an exchanged one.
    package let keyID: String
    /// The file of the request, PEM.
    package let path: String
    /// Whether the key was made by this call.
    package let isNew: Bool
}

extension Server {
    /// Makes the key of an upstream authority on disk and its request; until that is certified, it is
    /// that one again.
    ///
    /// It takes the server's lock, so the server must not run. With a key service it waits for tasks:
    /// none must call it on one of their threads.
    ///
    /// - Parameters:
    ///   - configuration: Checked values, with `upstream: disk`.
    ///   - clock: The system's.
    /// - Returns: Where the request is, and what names its key.
    /// - Throws: An error that says what to mend; a key that was made then is named at the next start.
    package static func requestUpstream(
        _ configuration: ServerConfiguration,
        clock: any NodeClock
    ) throws -> UpstreamKeyRequest {
        guard configuration.upstream == .disk else { throw UpstreamKeyError.notOnDisk }
        try DurableFile.makeDirectory(configuration.dataDirectory, mode: 0o700)
        let owner = try DurableFile.owner(of: configuration.dataDirectory)
        guard owner == DurableFile.ownUID else {
            throw UpstreamKeyError.ofAnotherUser(uid: owner, path: configuration.dataDirectory)
        }
        let lock = try ServerLock(configuration.lockPath)
        let datastore = try openDatastore(configuration.databasePath)
        defer { try? datastore.close() }
        let (stored, _) = try establish(configuration, datastore, now: clock.wallTime)
        // Of a key service: what its calls come to is told by the error, to who has asked.
        let keys = try configuration.openKeys(
            serverID: stored.serverID,
            clock: clock,
            metrics: MetricRegistry(of: .server),
            health: Health(ready: [], noted: configuration.keyConditions)
        )
        let path = configuration.upstreamRequestPath
        return try withExtendedLifetime(lock) { () throws -> UpstreamKeyRequest in
            if let id = try UpstreamKeyRequest.keyID(at: path),
                try !isCertified(id, configuration, datastore, now: clock.wallTime)
            {
                guard try keys.upstreamSigner(id: id) != nil else {
                    throw UpstreamKeyError.keyMissing(id: id, path: path)
                }
                return UpstreamKeyRequest(keyID: id, path: path, isNew: false)
            }
            let signer = try keys.makeUpstreamKey()
            let id = try AuthorityRequest.keyID(of: signer)
            var generator = SystemRandomness()
            let csr = try AuthorityRequest.encoded(
                trustDomain: stored.trustDomain,
                serverID: stored.serverID,
                profile: .intermediate,
                signer: signer,
                using: &generator
            )
            // The key first: a request whose key is lost would cost a ceremony.
            try keys.keepUpstream(signer, id: id)
            try DurableFile.write(
                Array(CertificateFile.text(request: csr).utf8),
                to: path,
                mode: 0o644
            )
            return UpstreamKeyRequest(keyID: id, path: path, isNew: true)
        }
    }

    /// Whether the request of a key was for a ceremony that is over, though no start has seen that.
    ///
    /// The certificate is put in place while the server runs. One below another root, as of another
    /// medium, is no end of it.
    private static func isCertified(
        _ id: String,
        _ configuration: ServerConfiguration,
        _ datastore: ServerStore,
        now: Date
    ) throws -> Bool {
        if let path = configuration.upstreamCertificate, DiskUpstream.keyID(at: path) == id,
            let last = (try? DiskUpstream.chain(at: path))?.last,
            let roots = try? configuration.readUpstreamRoots(now: now),
            UpstreamChain.root(above: last, among: roots) != nil
        {
            return true
        }
        // Whatever became of it: a revoked one is never taken again.
        return try datastore.readNow { try $0.upstream(id: id) } != nil
    }

    /// Names the keys of upstream authorities that no certificate or request has, and takes a request
    /// away whose certificate is there.
    ///
    /// None of these is destroyed: a wrong path must not cost a ceremony, nor a certificate that is
    /// of no use the request. Those of revoked ones are, which were revoked during a hold, or came
    /// back from copies, or a crash has left.
    ///
    /// - Returns: Why they cannot be looked at, for the log of a start that comes about: what else
    ///   needs the keys says it first; nil if they can.
    func reportUpstreamKeys() async -> String? {
        let (configuration, logger) = (core.configuration, core.logger)
        let path = configuration.upstreamRequestPath
        let certificate = configuration.upstreamCertificate
        let certified = certificate.flatMap { DiskUpstream.keyID(at: $0) }
        let now = core.clock.wallTime
        do {
            let requested = try UpstreamKeyRequest.keyID(at: path)
            if let requested, requested == certified, await core.problemAbove() == nil {
                try DurableFile.remove(path)
            }
            // Those above authorities are of use whatever is configured at the moment.
            let recorded = try await core.read { try $0.upstreams() }
            let living = recorded.filter { !$0.isRevoked && now < $0.notAfter }.map(\.id)
            let revoked = Set(recorded.filter(\.isRevoked).map(\.id))
            let here = try await core.keys.apart { try $0.upstreamIDs() }
            for id in here where revoked.contains(id) { await core.destroyUpstreamKey(id) }
            let used = revoked.union([certified, requested].compactMap(\.self) + living)
            let unused = here.filter { !used.contains($0) }
            guard certificate == nil || certified != nil || unused.isEmpty else {
                logger.warning(
                    """
                    upstreamCertificate cannot be read, so nobody can tell which keys of upstream \
                    authorities are of use
                    """,
                    metadata: ["file": "\(certificate ?? "")", "keys": "\(unused)"]
                )
                return nil
            }
            for id in unused {
                logger.warning(
                    """
                    the key of an upstream authority is in no certificate or request; if it is of no \
                    more use, destroy it
                    """,
                    metadata: ["key": "\(id)"]
                )
            }
            return nil
        } catch {
            return "\(error)"
        }
    }

    /// Says why keys of upstream authorities could not be looked at.
    func tellUpstreamKeys(_ problem: String) {
        core.logger.error(
            "keys of upstream authorities cannot be looked at",
            metadata: ["error": "\(problem)"]
        )
    }
}

extension UpstreamKeyRequest {
    /// The key ID of the request in a file; nil if there is no file.
    ///
    /// - Throws: `FileError`, `UpstreamKeyError` if it is there and cannot be read.
    static func keyID(at path: String) throws -> String? {
        let file: [UInt8]
        do throws(FileError) {
            file = try DurableFile.read(path, bytesMax: CertificateFile.fileBytesMax)
        } catch {
            guard error.isNotFound else { throw error }
            return nil
        }
        do {
            let request = try CertificateRequest(der: try CertificateFile.request(file))
            return request.publicKey.keyID
        } catch { throw UpstreamKeyError.requestUnreadable(path: path, "\(error)") }
    }
}

/// Why there is no request for an upstream authority.
package enum UpstreamKeyError: Error, Hashable, Sendable, CustomStringConvertible {
    case keyMissing(id: String, path: String)
    case notOnDisk
    /// The data directory is another user's, who could not open what is made.
    case ofAnotherUser(uid: UInt32, path: String)
    case requestUnreadable(path: String, String)

    package var description: String {
        switch self {
        case .keyMissing(let id, let path):
            "the key \(id) of \(path) is not here: bring it back, or remove \(path) to make a new one"
        case .notOnDisk:
            "the configuration has no upstream: disk, with upstreamCertificate and upstreamRoots"
        case .ofAnotherUser(let uid, let path):
            "\(path) belongs to the user with ID \(uid), as whom the server runs: run this as that user "
                + "(docs/operations.md, \"Below an offline root\")"
        case .requestUnreadable(let path, let reason):
            "\(path) is no request: \(reason); remove it to make a new one"
        }
    }
}
