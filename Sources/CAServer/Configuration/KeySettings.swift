// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import Configuration
internal import ControlAPI
internal import DurableFiles
internal import GRPCPeer
internal import Issuance
internal import Telemetry

/// What `keyStorage` may say; docs/decisions/0013-authority-keys.md compares them.
package enum KeyStorage: String, Hashable, Sendable, CaseIterable {
    /// In files that a passphrase encrypts.
    case encrypted
    /// Nowhere: every start makes new ones.
    case memory
    /// In a token of a PKCS #11 module, which never gives them away.
    case pkcs11
    /// In files of mode 0600.
    case plain
    /// In a process beside the server, which signs with them (docs/key-service.md).
    case service

    /// Reads the value of the configuration.
    ///
    /// - Throws: What to write.
    package init(parsing text: String) throws {
        guard let value = Self(rawValue: text) else {
            let names = Self.allCases.map(\.rawValue).joined(separator: ", ")
            throw ConfigurationValue.Refusal("write one of \(names)")
        }
        self = value
    }
}

extension AuthorityKeyType {
    /// Reads the value of the configuration.
    ///
    /// - Throws: What to write, and why nothing else.
    init(parsing text: String) throws {
        guard let value = Self(rawValue: text) else {
            let names = Self.allCases.map(\.rawValue).joined(separator: ", ")
            throw ConfigurationValue.Refusal(
                "write one of \(names); SPIFFE peers do not all verify what other keys sign"
            )
        }
        self = value
    }
}

extension ServerConfiguration {
    /// Longest path of a Unix socket (`sun_path` of unix(7), without its last byte).
    static let serviceSocketBytesMax = 107

    /// The keys of the configuration about keys that do not fit each other, and what to write.
    var keyProblems: [(key: ServerConfigurationKey, remedy: String)] {
        var problems: [(key: ServerConfigurationKey, remedy: String)] = []
        switch (keyStorage, keyPassphrase) {
        case (.encrypted, nil):
            problems.append(
                (
                    .keyPassphrase,
                    "is missing: write file:/path of a file with a long random passphrase (mode "
                        + "0600), or credential:NAME; or write keyStorage: plain to keep keys "
                        + "unencrypted in files of mode 0600"
                )
            )
        case (.plain, _?):
            problems.append(
                (.keyPassphrase, "keyStorage: plain encrypts nothing; leave one of the two out")
            )
        default: break
        }
        if let backupPassphrase, backupPassphrase == keyPassphrase {
            problems.append(
                (
                    .backupPassphrase,
                    "is keyPassphrase's: write another one, so that who keeps backups has no part of "
                        + "what opens keys"
                )
            )
        }
        return problems + tokenProblems + serviceProblems
    }

    private var serviceProblems: [(key: ServerConfigurationKey, remedy: String)] {
        let isUsed = keyStorage == .service || upstream == .service
        let unused = "write keyStorage: service to use it, or upstream: service"
        var problems: [(key: ServerConfigurationKey, remedy: String)] = []
        switch (isUsed, serviceSocket) {
        case (true, nil):
            let what = keyStorage == .service ? "key service's" : "upstream's"
            problems.append((.serviceSocket, "is missing: write the path of the \(what) socket"))
        case (true, let path?):
            if let remedy = Self.socketRemedy(path) { problems.append((.serviceSocket, remedy)) }
        case (false, _?): problems.append((.serviceSocket, unused))
        case (false, nil): break
        }
        if !isUsed, upstream != .agent, !serviceUIDs.isEmpty {
            problems.append((.serviceUIDs, "\(unused) or agent"))
        }
        return problems
    }

    /// What to write instead of a path that no Unix socket can have; nil if one can.
    static func socketRemedy(_ path: String) -> String? {
        let isPath = path.hasPrefix("/") && path.utf8.count <= serviceSocketBytesMax
        return isPath ? nil : "write an absolute path of at most \(serviceSocketBytesMax) bytes"
    }

    /// What health says besides, of the process that holds the keys.
    var keyConditions: [String] { keyStorage == .service ? [Self.serviceCondition] : [] }

    /// Whether the key service answered when it was asked last.
    static let serviceCondition = "keyService"

    private var tokenProblems: [(key: ServerConfigurationKey, remedy: String)] {
        let token: [(key: ServerConfigurationKey, isSaid: Bool, what: String)] = [
            (.pkcs11Module, pkcs11Module != nil, "the path of the module's .so file"),
            (
                .pkcs11PIN, pkcs11PIN != nil,
                "file:/path of a file that holds it, or credential:NAME"
            ),
            (.pkcs11Token, pkcs11Token != nil, "the label of the token"),
        ]
        return token.compactMap { key, isSaid, what in
            switch (keyStorage == .pkcs11, isSaid) {
            case (true, false): (key, "is missing: write \(what)")
            case (false, true):
                (key, "keyStorage is \(keyStorage.rawValue): write keyStorage: pkcs11 to use it")
            default: nil
            }
        }
    }

    /// Reads the passphrase for which backups are encrypted.
    ///
    /// - Throws: `APIError` (`backupPassphrase`) when there is none, or it is that of the keys; what
    ///   opens one must not open the other.
    func readBackupPassphrase() throws -> Secret {
        func refusal(_ sentence: String) -> APIError {
            APIError(.failedPrecondition, "backupPassphrase", sentence)
        }
        guard let backupPassphrase else {
            throw refusal(
                "backups are encrypted, and the server's configuration names no passphrase: write "
                    + "backupPassphrase: file:/path or credential:NAME, and restart the server"
            )
        }
        let secret: Secret
        do {
            secret = try backupPassphrase.secret()
        } catch {
            throw refusal("the passphrase of backups cannot be read: \(error)")
        }
        // One that cannot be read opens nothing.
        if let keys = try? keyPassphrase?.secret(), keys.bytes == secret.bytes {
            throw refusal(
                "backupPassphrase and keyPassphrase hold the same secret: write another one into "
                    + "\(backupPassphrase)"
            )
        }
        return secret
    }

    /// Opens the vault that the configuration describes.
    ///
    /// - Parameters:
    ///   - serverID: Whose keys they are.
    ///   - clock: By which calls of a key service are measured.
    ///   - metrics: What becomes of them is counted there.
    ///   - health: It has `keyConditions`.
    /// - Returns: The vault, with nothing opened that is not in this process.
    /// - Throws: `ConfigurationError` when its keys do not fit each other, `SecretError` or
    ///   `FileError` when a secret cannot be read, and what `KeyVault` throws.
    func openKeys(
        serverID: String,
        clock: any NodeClock,
        metrics: MetricRegistry,
        health: Health
    ) throws -> KeyVault {
        let problems = keyProblems
        guard problems.isEmpty else {
            throw ConfigurationError(problems: problems.map { "\($0.key.rawValue): \($0.remedy)" })
        }
        let place = try keyPlace(serverID: serverID, clock: clock) { report in
            metrics.increment(.keyServiceCalls, report.call.rawValue, report.result)
            metrics.observe(.keyServiceCallDuration, report.duration, report.call.rawValue)
            if let error = report.error, error.isAbsence {
                health.unmet(Self.serviceCondition, reason: "\(error)")
            } else {
                health.met(Self.serviceCondition)
            }
        }
        return try KeyVault(
            directory: keyDirectory,
            form: keyFileForm(),
            place: place,
            keyType: authorityKeyType,
            tokenKeyType: tokenKeyType
        )
    }

    /// How key files are written.
    ///
    /// - Throws: `SecretError` or `FileError` when the passphrase cannot be read.
    func keyFileForm() throws -> KeyFileForm {
        let form = try keyPassphrase.map {
            KeyFileForm.encrypted(try passphrase(from: $0), cost: keyFileCost)
        }
        return form ?? .plain
    }

    /// Says what to do about a file that is not there: another passphrase opens no key that is.
    private func passphrase(from source: SecretSource) throws -> Secret {
        do {
            return try source.secret()
        } catch let error as FileError where error.isNotFound {
            guard case .file = source else { throw error }
            let isNeeded = KeyFiles.holdsSealed(in: keyDirectory)
            throw SecretError(source: source, problem: isNeeded ? .lost : .missing)
        }
    }

    private func keyPlace(
        serverID: String,
        clock: any NodeClock,
        report: @escaping @Sendable (KeyServiceReport) -> Void
    ) throws -> AuthorityKeyPlace {
        switch keyStorage {
        case .encrypted, .plain: return .files
        case .memory: return .memory
        case .service:
            return .service(
                KeyServiceKeys(
                    socket: serviceSocket ?? "",
                    owners: SocketOwners(besides: Set(serviceUIDs)),
                    serverID: serverID,
                    clock: clock,
                    report: report
                )
            )
        case .pkcs11:
            let module = pkcs11Module ?? ""
            // Who can write it is the server.
            try DurableFile.requireOwn(file: module)
            let keys = try PKCS11Keys(
                modulePath: module,
                tokenLabel: pkcs11Token ?? "",
                pin: try pkcs11PIN.map { try $0.secret() } ?? Secret(bytes: []),
                serverID: serverID
            )
            return .token(keys)
        }
    }
}

extension KeyFileForm {
    /// Reads how files were written before, for `--reseal-keys-from`: `plain`, or where their
    /// passphrase is.
    ///
    /// - Throws: What to write, or why the passphrase cannot be read.
    package init(reading text: String) throws {
        if text == "plain" {
            self = .plain
        } else {
            self = .encrypted(try SecretSource(parsing: text).secret())
        }
    }
}
