// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Configuration
internal import Crypto
internal import DurableFiles
internal import FoundationEssentials
internal import Issuance
internal import SPIFFE

/// The profiles of one start, and of which files they are.
struct ServerProfiles: Sendable {
    let profiles: CertificateProfiles
    /// Each file that was read, in the order of their names.
    let digests: [ServerStart.Profile]
}

extension ServerConfiguration {
    /// Reads the path of a directory or file.
    static func absolutePath(_ text: String) throws(ConfigurationValue.Refusal) -> String {
        guard text.hasPrefix("/") else { throw .init("write an absolute path") }
        return text
    }

    /// Reads the files of `profileDirectory`: `workload.json`, `agent.json`, `server.json`,
    /// `root.json`, `authority.json`; what is missing is built in.
    ///
    /// A file of another name is refused: one that is misspelt would narrow nothing, and nobody
    /// would know.
    ///
    /// - Throws: `ConfigurationError` with all problems of profiles, `FileError`.
    func readProfiles() throws -> ServerProfiles {
        guard let directory = profileDirectory else {
            return ServerProfiles(profiles: .standard, digests: [])
        }
        try DurableFile.requireOwn(directory: directory)
        var problems: [String] = []
        var (narrowed, digests) = ([ProfileKind: CertificateProfile](), [ServerStart.Profile]())
        let suffix = ".json"
        for name in try FileManager.default.contentsOfDirectory(atPath: directory).sorted()
        where name.hasSuffix(suffix) {
            let path = "\(directory)/\(name)"
            guard let kind = ProfileKind(rawValue: String(name.dropLast(suffix.count))),
                kind.isOfServer
            else {
                problems.append("\(path): no profile has this name; \(Self.profileNames)")
                continue
            }
            try DurableFile.requireOwn(file: path)
            let bytes = try DurableFile.read(path, bytesMax: CertificateProfile.fileBytesMax)
            do {
                let profile = try CertificateProfile(parsing: bytes, kind: kind)
                problems += profileProblems(profile.limits, kind).map { "\(path): \($0)" }
                narrowed[kind] = profile
                digests.append(
                    ServerStart.Profile(
                        name: kind.rawValue,
                        sha256: Array(SHA256.hash(data: bytes))
                    )
                )
            } catch {
                problems.append("\(path): \(error)")
            }
        }
        if narrowed.isEmpty, problems.isEmpty {
            problems.append("\(directory): there is no profile; \(Self.profileNames)")
        }
        guard problems.isEmpty else {
            throw ConfigurationError(
                problems: problems.map {
                    "\(ServerConfigurationKey.profileDirectory.rawValue): \($0)"
                }
            )
        }
        return ServerProfiles(profiles: CertificateProfiles(narrowed), digests: digests)
    }

    private static var profileNames: String {
        "write " + ProfileKind.ofServer.map { "\($0.rawValue).json" }.joined(separator: ", ")
    }

    /// What else the configuration says that the file does not allow.
    private func profileProblems(_ limits: ProfileLimits, _ kind: ProfileKind) -> [String] {
        var written: [(key: ServerConfigurationKey, lifetime: Duration)] =
            switch kind {
            case .agent: [(.agentSVIDTTL, lifetimes.agent)]
            case .authority, .root: [(.authorityTTL, lifetimes.authority)]
            case .intermediate, .upstreamRoot: []
            case .server: [(.agentSVIDTTL, lifetimes.server)]
            case .workload: [(.workloadSVIDTTL, lifetimes.workload)]
            }
        if kind == .workload, let writtenWorkloadMax {
            written.append((.workloadSVIDTTLMax, writtenWorkloadMax))
        }
        var problems: [String] = []
        for (key, lifetime) in written {
            guard !limits.allows(lifetime: lifetime), let max = limits.lifetimeMax else { continue }
            problems.append(
                "lifetimeSecondsMax is \(SVIDLifetimes.text(max)), and \(key.rawValue) is "
                    + "\(SVIDLifetimes.text(lifetime)); lower \(key.rawValue)"
            )
        }
        let keys = limits.keys ?? []
        let isAuthority = kind.builtIn.isAuthority
        if isAuthority, !keys.isEmpty, !keys.contains(where: { $0.contains(authorityKeyType) }) {
            problems.append(
                "subjectKeys has no authorityKeyType \(authorityKeyType.rawValue); change "
                    + "authorityKeyType"
            )
        }
        if limits.constrainsNames {
            if upstream != .disk {
                problems.append("nameConstraints needs upstream: disk")
            }
            if !trustDomain.fitsNameConstraints {
                problems.append(
                    "nameConstraints: no constraint can stand for \(trustDomain), which has to be a "
                        + "DNS name with a dot, of at most 121 bytes, and no address"
                )
            }
        }
        // What server and agents make, for themselves and for workloads.
        if !isAuthority, !limits.allows(.p256) {
            problems.append("subjectKeys has no P-256, and agents and server make no other keys")
        }
        return problems
    }
}
