// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import Configuration
internal import Datastore
internal import DurableFiles
internal import FoundationEssentials
internal import GRPCPeer
internal import Issuance
internal import SPIFFE

extension ServerConfiguration {
    /// Longest `authorityTTL` below an upstream: verifiers outside may believe for so long what is
    /// revoked.
    package static let upstreamAuthorityMax: Duration = .seconds(7 * 86_400)
    /// Most roots of `upstreamRoots`: the one of today and those that follow it.
    package static let upstreamRootsMax = 8

    /// Reads the value of `upstream`.
    ///
    /// - Throws: What to write.
    static func upstream(_ text: String) throws(ConfigurationValue.Refusal) -> UpstreamKind? {
        if text == "none" { return nil }
        guard let kind = UpstreamKind(rawValue: text) else {
            throw .init("write none, disk, service or agent")
        }
        return kind
    }

    /// Reads a file's path.
    ///
    /// - Throws: What to write.
    static func upstreamFile(_ text: String) throws(ConfigurationValue.Refusal) -> String? {
        guard text.hasPrefix("/") else { throw .init("write an absolute path") }
        return text
    }

    /// The keys of the configuration about what is above that do not fit each other, and what to
    /// write.
    var upstreamProblems: [(key: ServerConfigurationKey, remedy: String)] {
        var problems: [(key: ServerConfigurationKey, remedy: String)] = []
        let files: [(key: ServerConfigurationKey, isSaid: Bool, what: String)] = [
            (
                .upstreamCertificate, upstreamCertificate != nil,
                "the certificate that the ceremony made (pki/README.md)"
            ),
            (.upstreamRoots, upstreamRoots != nil, "the roots"),
        ]
        for (key, isSaid, what) in files {
            switch (upstream == .disk, isSaid) {
            case (true, false):
                problems.append((key, "is missing: write the path of a PEM file with \(what)"))
            case (false, true):
                problems.append((key, "there is no upstream: disk that would use it"))
            default: break
            }
        }
        switch (upstream == .agent, upstreamSocket) {
        case (true, nil):
            problems.append(
                (.upstreamSocket, "is missing: write the path of the agent's workload socket")
            )
        case (true, let path?):
            if let remedy = Self.socketRemedy(path) { problems.append((.upstreamSocket, remedy)) }
        case (false, _?):
            problems.append((.upstreamSocket, "there is no upstream: agent that would use it"))
        case (false, nil): break
        }
        if upstream != nil, lifetimes.authority > Self.upstreamAuthorityMax {
            problems.append(
                (
                    .authorityTTL,
                    "is longer than \(SVIDLifetimes.text(Self.upstreamAuthorityMax)), for which "
                        + "verifiers outside may believe an authority below an upstream that was "
                        + "revoked"
                )
            )
        }
        if upstream == .disk, keyStorage == .memory {
            problems.append(
                (.keyStorage, "memory keeps no key of an upstream authority; write another one")
            )
        }
        return problems
    }

    /// The health conditions that there are only with an upstream.
    var upstreamConditions: [String] { upstream == nil ? [] : [UpstreamService.condition] }

    /// What certifies authorities; nil: they are self-signed.
    ///
    /// - Parameters:
    ///   - roots: As `readUpstreamRoots` read them.
    ///   - logic: Whose authorities they are.
    ///   - keys: Where the key of one on disk is.
    ///   - clock: The server's.
    /// - Returns: What the server asks.
    func upstream(
        roots: [[UInt8]],
        logic: ServerLogic,
        keys: KeyVault,
        clock: any NodeClock
    ) -> (any UpstreamAuthority)? {
        switch upstream {
        case .disk:
            DiskUpstream(
                certificatePath: upstreamCertificate ?? "",
                roots: roots,
                logic: logic,
                keys: keys,
                clock: clock
            )
        case .agent: process(.agent, at: upstreamSocket, clock)
        case .service: process(.service, at: serviceSocket, clock)
        case nil: nil
        }
    }

    private func process(
        _ kind: UpstreamKind,
        at socket: String?,
        _ clock: any NodeClock
    ) -> ServiceUpstream {
        ServiceUpstream(
            kind,
            socket: socket ?? "",
            owners: SocketOwners(besides: Set(serviceUIDs)),
            clock: clock
        )
    }

    /// What is above before an upstream has said it.
    ///
    /// - Parameters:
    ///   - roots: As `readUpstreamRoots` read them.
    ///   - stored: The roots that the bundle holds, from before the start.
    /// - Returns: What is configured; of a process its last word that was good; nil before the first.
    func firstTrust(_ roots: [[UInt8]], stored: [UpstreamRecord]) -> UpstreamTrust? {
        switch upstream {
        case .disk, nil: UpstreamTrust(roots: roots)
        case .agent, .service:
            stored.isEmpty ? nil : UpstreamTrust(roots: stored.map(\.certificateDER))
        }
    }

    /// Reads the roots of an upstream authority on disk.
    ///
    /// - Parameter now: The wall clock, at which nobody has looked yet.
    /// - Returns: DER of each, in the order of the file, also of those that have ended.
    /// - Throws: `ConfigurationError`, `FileError`: without roots there is no start.
    func readUpstreamRoots(now: Date) throws -> [[UInt8]] {
        guard upstream == .disk, let path = upstreamRoots else { return [] }
        func refusal(_ sentence: String) -> ConfigurationError {
            let key = ServerConfigurationKey.upstreamRoots.rawValue
            return ConfigurationError(problems: ["\(key): \(path): \(sentence)"])
        }
        try DurableFile.requireOwn(file: path)
        let bytes = try DurableFile.read(path, bytesMax: CertificateFile.fileBytesMax)
        let roots: [[UInt8]]
        do throws(CertificateFileError) {
            roots = try CertificateFile.certificates(bytes)
        } catch { throw refusal("\(error)") }
        guard roots.count <= Self.upstreamRootsMax else {
            throw refusal("it has more than \(Self.upstreamRootsMax) roots")
        }
        for (index, der) in roots.enumerated() {
            if let problem = UpstreamChain.problem(ofRoot: der, trustDomain: trustDomain) {
                throw refusal("certificate \(index + 1): \(problem)")
            }
        }
        // One that is beside the next ends no start.
        let isAnyLiving = roots.contains { der in
            (try? LeafCertificate(der: der)).map { now <= $0.notAfter } ?? false
        }
        guard isAnyLiving else { throw refusal("every root in it has ended") }
        return roots
    }
}
