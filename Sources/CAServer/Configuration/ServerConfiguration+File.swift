// SPDX-License-Identifier: Apache-2.0

internal import Authorization
package import Configuration
internal import DurableFiles
internal import FoundationEssentials
internal import GRPCPeer
internal import Issuance
internal import PublicEndpoint
internal import SPIFFE

/// The keys of the server's configuration file; each is described in docs/operations.md.
package enum ServerConfigurationKey: String, CaseIterable, Sendable {
    case adminSocket
    case admins
    case advertise
    case agentSVIDTTL
    case approvals
    case attestationBurst
    case attestationsPerSecond
    case authorityKeyType
    case authorityTTL
    case backupPassphrase
    case dataDirectory
    case decisionQuotaMiB
    case decisionRetention
    case federationListen
    case federationNetworks
    case federationRoots
    case hostName
    case jwtSVIDTTL
    case keyPassphrase
    case keyStorage
    case listen
    case pkcs11Module
    case pkcs11PIN
    case pkcs11Token
    case profileDirectory
    case publicCertificate
    case publicDocuments
    case publicHold
    case publicKey
    case publicListen
    case publicURL
    case serviceSocket
    case serviceUIDs
    case signingBurst
    case signingPerSecond
    case telemetryPort
    case tokenExchange
    case tokenKeyType
    case trustDomain
    case upstream
    case upstreamCertificate
    case upstreamRoots
    case upstreamSocket
    case workloadSVIDTTL
    case workloadSVIDTTLMax
}

extension ServerConfiguration {
    /// Largest configuration file in bytes: all keys with comments fit many times.
    package static let fileBytesMax = 64 * 1024
    /// Least `decisionQuotaMiB`: a minute of some agents.
    package static let decisionQuotaMiBMin = 64
    /// Most `decisionQuotaMiB`: a terabyte, more than SQLite is at ease with.
    package static let decisionQuotaMiBMax = 1 << 20
    /// Least `decisionRetention`: what is younger was not digested long ago.
    package static let decisionRetentionMin: Duration = .seconds(3_600)

    /// Reads a YAML file; an unknown key, a value that cannot be read or a missing key refuses it.
    ///
    /// - Throws: `ConfigurationError`, `FileError`.
    package init(file path: String) throws {
        try self.init(
            ConfigurationReader<ServerConfigurationKey>(Self.text(of: path), file: path)
        )
    }

    private static func text(of path: String) throws -> [UInt8] {
        do {
            return try DurableFile.read(path, bytesMax: fileBytesMax)
        } catch {
            guard error.isNotFound else { throw error }
            throw ConfigurationError(
                problems: [
                    "\(error): name the configuration file with --config FILE; its keys are in "
                        + "docs/operations.md, an example is deploy/config/server.yaml"
                ]
            )
        }
    }

    /// Reads the values of a configuration file.
    ///
    /// - Throws: `ConfigurationError` with all problems found.
    package init(
        _ file: ConfigurationReader<ServerConfigurationKey>
    ) throws(ConfigurationError) {
        var reader = file
        let domain = reader.required(.trustDomain) { try TrustDomain($0) }
        let directory = reader.required(.dataDirectory) { $0 }
        guard let domain, let directory else { throw reader.failure }
        var result = Self(trustDomain: domain, dataDirectory: directory)
        reader.set(.listen, &result.listen) { try ServerAddress(parsing: $0) }
        reader.setList(.advertise, &result.advertise) {
            try ServerAddress(parsing: $0).description
        }
        reader.setList(.admins, &result.admins) { try ActorPattern($0) }
        reader.set(.approvals, &result.approvals, Self.approvals)
        reader.set(.adminSocket, &result.adminSocket) { $0 }
        reader.set(.hostName, &result.hostName) { $0 }
        reader.set(.telemetryPort, &result.telemetryPort, ConfigurationValue.port)
        reader.set(.pkcs11Module, &result.pkcs11Module) { $0 }
        reader.set(.pkcs11Token, &result.pkcs11Token) { $0 }
        reader.set(.pkcs11PIN, &result.pkcs11PIN) { try SecretSource(parsing: $0) }
        reader.set(.serviceSocket, &result.serviceSocket) { $0 }
        reader.setList(.serviceUIDs, &result.serviceUIDs, Self.uid)
        reader.set(.authorityKeyType, &result.authorityKeyType) {
            try AuthorityKeyType(parsing: $0)
        }
        reader.set(.keyStorage, &result.keyStorage) { try KeyStorage(parsing: $0) }
        reader.set(.keyPassphrase, &result.keyPassphrase) { try SecretSource(parsing: $0) }
        reader.set(.backupPassphrase, &result.backupPassphrase) { try SecretSource(parsing: $0) }
        reader.set(.tokenKeyType, &result.tokenKeyType) { try AuthorityKeyType(parsing: $0) }
        reader.set(.profileDirectory, &result.profileDirectory, Self.absolutePath)
        reader.set(.publicURL, &result.publicURL) { try PublicURL(parsing: $0) }
        reader.set(.publicListen, &result.publicListen) { try PublicAddress(parsing: $0) }
        reader.set(.publicCertificate, &result.publicCertificate) { $0 }
        reader.set(.publicKey, &result.publicKey) { $0 }
        reader.set(.publicHold, &result.publicHold, Self.publicHold)
        reader.setList(.publicDocuments, &result.publicDocuments) {
            try PublicDocumentKind(parsing: $0)
        }
        reader.set(.tokenExchange, &result.exchangesTokens, ConfigurationValue.boolean)
        reader.set(.federationListen, &result.federationListen) {
            try PublicAddress.address(parsing: $0)
        }
        result.federationNetworks = reader.federationNetworks()
        reader.set(.federationRoots, &result.federationRoots, Self.absolutePath)
        reader.set(.upstream, &result.upstream, Self.upstream)
        reader.set(.upstreamCertificate, &result.upstreamCertificate, Self.upstreamFile)
        reader.set(.upstreamRoots, &result.upstreamRoots, Self.upstreamFile)
        reader.set(.upstreamSocket, &result.upstreamSocket, Self.upstreamFile)
        reader.set(.signingPerSecond, &result.signingPerSecond, ConfigurationValue.rate)
        reader.set(.signingBurst, &result.signingBurst, ConfigurationValue.rate)
        reader.set(.attestationsPerSecond, &result.attestationsPerSecond, ConfigurationValue.rate)
        reader.set(.attestationBurst, &result.attestationBurst, ConfigurationValue.rate)
        reader.set(.decisionQuotaMiB, &result.decisionQuotaMiB, Self.quota)
        reader.set(.decisionRetention, &result.decisionRetention, Self.retention)
        (result.lifetimes, result.writtenWorkloadMax) = try reader.lifetimes()
        result.tokenLifetimes = try reader.tokenLifetimes()
        guard result.signingBurst >= Double(IssuanceBatch.certificatesMax) else {
            reader.refuse(.signingBurst, "must be at least \(IssuanceBatch.certificatesMax)")
            throw reader.failure
        }
        try reader.finish()
        let problems =
            result.keyProblems + result.publicProblems + result.exchangeProblems
            + result.federationProblems + result.upstreamProblems
        for problem in problems { reader.refuse(problem.key, problem.remedy) }
        try reader.finish()
        self = result
    }
}

extension ServerConfiguration {
    private static func approvals(_ text: String) throws(ConfigurationValue.Refusal) -> Int {
        guard let number = Int(text), (0...ApprovalCount.neededMax).contains(number) else {
            throw .init("a number from 0 to \(ApprovalCount.neededMax): so many others approve")
        }
        return number
    }

    private static func quota(_ text: String) throws(ConfigurationValue.Refusal) -> Int {
        guard let number = Int(text), (decisionQuotaMiBMin...decisionQuotaMiBMax).contains(number)
        else {
            throw .init("a number of MiB from \(decisionQuotaMiBMin) to \(decisionQuotaMiBMax)")
        }
        return number
    }

    private static func uid(_ text: String) throws(ConfigurationValue.Refusal) -> UInt32 {
        // The last one is nobody's: it says "no change" to the kernel.
        guard let uid = UInt32(text), uid != .max else {
            throw .init("write a user's number, as \"id -u\" shows it")
        }
        return uid
    }

    private static func retention(
        _ text: String
    ) throws(ConfigurationValue.Refusal) -> Duration {
        let duration = try ConfigurationValue.duration(text)
        guard duration >= decisionRetentionMin else { throw .init("write at least 1h") }
        return duration
    }
}

extension ConfigurationReader<ServerConfigurationKey> {
    /// The lifetimes, and `workloadSVIDTTLMax` if the file has it.
    fileprivate mutating func lifetimes() throws(ConfigurationError) -> (SVIDLifetimes, Duration?) {
        let standard = SVIDLifetimes.standard
        var (workload, agent, authority) = (standard.workload, standard.agent, standard.authority)
        var workloadMax: Duration?
        set(.workloadSVIDTTL, &workload, ConfigurationValue.duration)
        set(.agentSVIDTTL, &agent, ConfigurationValue.duration)
        set(.authorityTTL, &authority, ConfigurationValue.duration)
        set(.workloadSVIDTTLMax, &workloadMax) { try ConfigurationValue.duration($0) }
        do {
            let lifetimes = try SVIDLifetimes(
                workload: workload,
                workloadMax: workloadMax,
                agent: agent,
                server: agent,
                authority: authority
            )
            return (lifetimes, workloadMax)
        } catch {
            let values = Self.values(workload, workloadMax, agent, authority)
            switch error {
            case .authorityTooShort: refuse(.authorityTTL, error.description + values)
            case .workloadExceedsMax: refuse(.workloadSVIDTTL, error.description + values)
            default: refuse(.authorityTTL, error.description)
            }
            throw failure
        }
    }

    fileprivate mutating func tokenLifetimes() throws(ConfigurationError) -> TokenLifetimes {
        var token = TokenLifetimes.standard.token
        set(.jwtSVIDTTL, &token, ConfigurationValue.duration)
        do {
            return try TokenLifetimes(token: token)
        } catch {
            let (least, most) = (TokenLifetimes.tokenMin, TokenLifetimes.tokenMax)
            refuse(
                .jwtSVIDTTL,
                "\(error.description); write \(SVIDLifetimes.text(least)) to "
                    + SVIDLifetimes.text(most)
            )
            throw failure
        }
    }

    /// The lifetimes that were compared, by the keys that change them.
    private static func values(
        _ workload: Duration,
        _ workloadMax: Duration?,
        _ agent: Duration,
        _ authority: Duration
    ) -> String {
        let ceiling = authority / SVIDLifetimes.authorityPerSVIDMin
        let longest = SVIDLifetimes.text(workloadMax ?? ceiling)
        return " (authorityTTL \(SVIDLifetimes.text(authority)), workloadSVIDTTL "
            + "\(SVIDLifetimes.text(workload)), workloadSVIDTTLMax \(longest), agentSVIDTTL "
            + "\(SVIDLifetimes.text(agent))); raise authorityTTL, or lower the others to at most "
            + SVIDLifetimes.text(ceiling)
    }
}
