// SPDX-License-Identifier: Apache-2.0

package import Clocks
internal import CLinux
internal import FoundationEssentials
package import GRPCPeer
package import SPIFFE

/// The process to attest.
package struct AttestedProcess: Sendable {
    package let pid: Int32
    /// As they were when it connected, or as they are, for a process that is merely asked about.
    package let uid: UInt32
    package let gid: UInt32
    /// What it ran when its connection was accepted; nil for a process that is merely asked about.
    package let executableAtConnect: ExecutableAtConnect?
    /// Whether the process still runs; read last, because a pid may come to name another one.
    package let isAlive: @Sendable () -> Bool

    package init(
        pid: Int32,
        uid: UInt32,
        gid: UInt32,
        executableAtConnect: ExecutableAtConnect?,
        isAlive: @escaping @Sendable () -> Bool
    ) {
        self.pid = pid
        self.uid = uid
        self.gid = gid
        self.executableAtConnect = executableAtConnect
        self.isAlive = isAlive
    }
}

/// What a process attested to.
package struct WorkloadAttestation: Hashable, Sendable {
    package let selectors: Set<Selector>
    /// Why selectors that others have are missing, one sentence each.
    package let omissions: [String]
    /// The kinds of selectors of which some are missing for that, for example `path`.
    package let omitted: Set<String>
    /// The running executable; nil if it may not be read, or could not be when the process
    /// connected.
    package let executable: FileIdentity?
}

/// Why a process is not attested at all.
package enum WorkloadAttestationError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The process changed while it was looked at.
    case changedMeanwhile
    /// The process has other user or group IDs than when it connected.
    case credentialsChanged
    /// The process runs another program than when it connected.
    case executableReplaced
    case processGone
    /// Nothing has the number that somebody asked about.
    case processUnknown
    /// More groups than are looked at.
    case tooManyGroups
    /// The kernel did not tell.
    case unreadable(String, isTemporary: Bool)

    /// Whether the same process may be attested by another try.
    package var isTemporary: Bool {
        switch self {
        case .changedMeanwhile: true
        case .credentialsChanged, .executableReplaced, .processGone, .processUnknown,
            .tooManyGroups:
            false
        case .unreadable(_, let isTemporary): isTemporary
        }
    }

    package var description: String {
        switch self {
        case .changedMeanwhile: "the process changed while it was looked at; try again"
        case .credentialsChanged:
            "the process has changed its user or groups since it connected; connect again"
        case .executableReplaced:
            "the process runs another program than when it connected; connect again"
        case .processGone: "the process has exited"
        case .processUnknown: "there is no process with this number"
        case .tooManyGroups:
            "the process is in more than \(UnixWorkloadAttestor.groupsMax) groups"
        case .unreadable(let what, _): "the kernel does not tell about the process: \(what)"
        }
    }
}

/// Attests a process on this machine by what the kernel says about it; docs/attestation.md tells
/// for each selector who could forge it.
package final class UnixWorkloadAttestor: Sendable {
    /// Most supplementary groups of a process; each costs two selectors and a look-up of its name.
    package static let groupsMax = 256

    private let hashes = ExecutableHashes()
    private let clock: any NodeClock

    package init(clock: any NodeClock) {
        self.clock = clock
    }

    /// Attests a process.
    ///
    /// What may change is read before and after the time-consuming part, and whether the process
    /// still is the same one is read last of all.
    ///
    /// - Throws: `WorkloadAttestationError`; then nothing that was read counts.
    package func attest(
        _ process: AttestedProcess
    ) async throws(WorkloadAttestationError) -> WorkloadAttestation {
        let before = try Facts(process)
        guard before.credentials.groups.count <= Self.groupsMax else { throw .tooManyGroups }
        var omissions: [String] = []
        var selectors = credentialSelectors(before.credentials, &omissions)
        var omitted: Set<String> = omissions.isEmpty ? [] : Self.nameKinds
        let named = omissions.count
        var identity: FileIdentity?
        switch process.executableAtConnect {
        case .file(let file) where file != before.executable: throw .executableReplaced
        case .unreadable(let errno):
            // Whatever can be read now may be a program that was started later.
            let failure = ReadingFailure(what: "/proc/\(process.pid)/exe", errno: errno)
            omissions.append("\(Self.bothOmitted): unreadable when it connected: \(failure)")
        case .file, nil:
            identity = try await describe(process, before, &selectors, &omissions)
        }
        guard try before == Facts(process) else { throw .changedMeanwhile }
        guard process.isAlive() else { throw .processGone }
        if omissions.count > named { omitted.formUnion(["path", "sha256"]) }
        return WorkloadAttestation(
            selectors: selectors,
            omissions: omissions,
            omitted: omitted,
            executable: identity
        )
    }

    private static let bothOmitted = "unix:path and unix:sha256 are left out"

    /// Everything of a process that must be the same before and after.
    private struct Facts: Equatable {
        let credentials: ProcessCredentials
        let executable: FileIdentity?
        let path: String?
        let sharesNamespaces: Bool?

        init(_ process: AttestedProcess) throws(WorkloadAttestationError) {
            do throws(ReadingFailure) {
                credentials = try ProcessReading.credentials(of: process.pid)
            } catch {
                guard process.isAlive() else { throw .processGone }
                throw .unreadable("\(error)", isTemporary: error.isTemporary)
            }
            guard credentials.uid == process.uid, credentials.gid == process.gid else {
                throw process.isAlive() ? .credentialsChanged : .processGone
            }
            // These need the rights of ptrace; without them the selectors are left out.
            executable = try? FileIdentity(ofExecutable: process.pid)
            path = try? ProcessReading.executablePath(of: process.pid)
            sharesNamespaces = try? ProcessReading.sharesNamespaces(process.pid)
        }
    }

    private static let nameKinds: Set = ["user", "group", "supplementary_group"]

    private func credentialSelectors(
        _ credentials: ProcessCredentials,
        _ omissions: inout [String]
    ) -> Set<Selector> {
        var selectors: Set<Selector> = []
        func add(_ value: String) {
            if let selector = try? Selector(type: "unix", value: value) {
                selectors.insert(selector)
            }
        }
        add("uid:\(credentials.uid)")
        add("gid:\(credentials.gid)")
        for group in credentials.groups { add("supplementary_gid:\(group)") }
        do throws(ReadingFailure) {
            if let name = try ProcessReading.userName(credentials.uid) { add("user:\(name)") }
            if let name = try ProcessReading.groupName(credentials.gid) { add("group:\(name)") }
            for group in credentials.groups {
                if let name = try ProcessReading.groupName(group) {
                    add("supplementary_group:\(name)")
                }
            }
        } catch {
            // Not that there is no name: the name service is away.
            omissions.append("names of users and groups are left out: \(error)")
        }
        return selectors
    }

    /// Adds what the program of the process says.
    ///
    /// - Returns: The program; nil if it may not be looked at.
    private func describe(
        _ process: AttestedProcess,
        _ facts: Facts,
        _ selectors: inout Set<Selector>,
        _ omissions: inout [String]
    ) async throws(WorkloadAttestationError) -> FileIdentity? {
        var identity: FileIdentity?
        do throws(ReadingFailure) {
            let file = try ExecutableFile(of: process.pid)
            identity = file.identity
            // Else what was found out about its path is another file's.
            if identity == facts.executable {
                try await describe(file, facts, &selectors, &omissions)
            }
        } catch {
            if error.isTemporary { throw .unreadable("\(error)", isTemporary: true) }
            omissions.append("\(Self.bothOmitted): \(error)")
        }
        guard identity == facts.executable else { throw .changedMeanwhile }
        return identity
    }

    private func describe(
        _ file: borrowing ExecutableFile,
        _ facts: Facts,
        _ selectors: inout Set<Selector>,
        _ omissions: inout [String]
    ) async throws(ReadingFailure) {
        let mounts = try ProcessReading.mounts()
        if let reason = PathRule.objection(
            mountID: file.mountID,
            device: file.identity.device,
            sharesNamespaces: facts.sharesNamespaces,
            mounts: mounts
        ) {
            omissions.append("\(Self.bothOmitted): \(reason)")
            return
        }
        let content = try file.opened()
        if let reason = PathRule.objection(
            path: facts.path,
            sharesNamespaces: facts.sharesNamespaces,
            executable: content.status,
            caller: facts.credentials,
            mounts: mounts
        ) {
            omissions.append("unix:path is left out: \(reason)")
        } else if let path = facts.path,
            let selector = try? Selector(type: "unix", value: "path:\(path)")
        {
            selectors.insert(selector)
        }
        guard content.status.size <= Int64(ExecutableHashes.fileBytesMax) else {
            omissions.append(
                "unix:sha256 is left out: the executable is larger than "
                    + "\(ExecutableHashes.fileBytesMax) bytes"
            )
            return
        }
        let hash = try await hash(content, uid: facts.credentials.uid)
        if let selector = try? Selector(type: "unix", value: "sha256:\(Hexadecimal.text(hash))") {
            selectors.insert(selector)
        }
    }

    private func hash(
        _ file: borrowing ExecutableContent,
        uid: UInt32
    ) async throws(ReadingFailure) -> [UInt8] {
        let version = ExecutableHashes.Version(file.status)
        if let known = hashes[version] { return known }
        guard hashes.begin(uid: uid) else { throw ReadingFailure.tooManyFiles }
        defer { hashes.end(uid: uid) }
        let wallSeconds = Int64(clock.wallTime.timeIntervalSince1970)
        let hash = try await file.sha256()
        guard ExecutableHashes.Version(file.currentStatus) == version else {
            throw ReadingFailure.fileChanged
        }
        hashes.remember(hash, of: version, wallSeconds: wallSeconds)
        return hash
    }
}

extension ExecutableHashes.Version {
    init(_ status: clinux_file_status) {
        self.init(
            file: FileIdentity(device: status.device, inode: status.inode),
            size: status.size,
            modifiedSeconds: status.modified.seconds,
            modifiedNanoseconds: status.modified.nanoseconds,
            changedSeconds: status.changed.seconds,
            changedNanoseconds: status.changed.nanoseconds
        )
    }
}
