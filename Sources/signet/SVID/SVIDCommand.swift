// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Clocks
internal import Foundation
internal import SPIFFE

/// `signet svid`: the identities of the process that asks, and revocation.
struct SVIDCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "svid",
        abstract: "Fetch the identities of this process, keep them fresh, and revoke.",
        discussion: "Example: signet svid fetch",
        subcommands: [
            SVIDFetchCommand.self, SVIDWatchCommand.self, SVIDRevokeCommand.self,
            SVIDRevocationsCommand.self,
        ]
    )
}

/// Which identity, and where its files go; shared by fetch and watch.
struct IdentityOptions: ParsableArguments {
    @Option(
        name: .customLong("spiffe-id"),
        help: ArgumentHelp("Only this identity.", valueName: "spiffe-id"),
        transform: TypedSPIFFEID.read
    )
    var spiffeID: TypedSPIFFEID?
    @Option(help: ArgumentHelp("Only the identity with this hint.", valueName: "text"))
    var hint: String?
    @Option(
        name: .customLong("write-dir"),
        help: ArgumentHelp(
            """
            Write svid.pem (chain), svid_key.pem and bundle.pem of the first identity there, and \
            federated/NAME.pem for each trust domain that it federates with; all change in one \
            step. Name a directory in memory (below /run) if the key is not to reach a disk.
            """,
            valueName: "path"
        ),
        completion: .directory
    )
    var directory: String?
    @Option(help: ArgumentHelp("Permissions of svid.pem and bundles.", valueName: "octal"))
    var mode = "0644"
    @Option(
        name: .customLong("key-mode"),
        help: ArgumentHelp("Permissions of svid_key.pem; none for others.", valueName: "octal")
    )
    var keyMode = "0600"
    @Flag(name: .customLong("include-key"), help: "Put private keys into -o json and yaml.")
    var includeKey = false

    var choice: IdentityChoice { IdentityChoice(spiffeID: spiffeID?.text, hint: hint) }

    var files: IdentityFiles? {
        get throws {
            guard let directory else { return nil }
            return IdentityFiles(
                directory: directory,
                mode: try FileMode.parse(mode),
                keyMode: try FileMode.parseKey(keyMode)
            )
        }
    }

    /// The identity meant, which would be accepted now.
    func choose(
        from identities: [WorkloadIdentity]
    ) async throws(CommandFailure) -> WorkloadIdentity {
        try await choice.verified(
            from: identities,
            now: SystemClock().wallTime,
            remedy: "Leave out --spiffe-id and --hint to take the first one."
        )
    }

    func validate() throws {
        _ = try FileMode.parse(mode)
        _ = try FileMode.parseKey(keyMode)
    }

    /// Refuses to leave out silently what was asked for.
    func checkKeyIsShown(in format: OutputFormat) throws {
        guard !includeKey || format != .table else {
            throw ValidationError("--include-key needs -o json or -o yaml; a table has no keys")
        }
    }
}

/// Permission bits as people write them.
package enum FileMode {
    /// Reads up to four octal digits.
    ///
    /// - Throws: `ValidationError` with the form.
    package static func parse(_ text: String) throws -> UInt32 {
        guard text.count <= 4, let mode = UInt32(text, radix: 8), mode & ~0o777 == 0 else {
            throw ValidationError("\"\(text)\" is no file mode; write it as 0640")
        }
        return mode
    }

    /// Reads the permissions of a private key.
    ///
    /// - Throws: `ValidationError` also when they give others any access.
    package static func parseKey(_ text: String) throws -> UInt32 {
        let mode = try parse(text)
        guard mode & 0o007 == 0 else {
            throw ValidationError(
                "--key-mode \(text) lets every user at the private key; 0640 is for a group"
            )
        }
        return mode
    }
}

/// What programs get of an identity.
struct IdentityView: Encodable {
    var spiffeID: String
    var hint: String
    var serial: String
    var notBefore: String
    var notAfter: String
    var dnsNames: [String]
    var certificateChain: String
    var bundle: String
    /// By name of the trust domain.
    var federatedBundles: [String: String]
    var privateKey: String?

    init(_ identity: WorkloadIdentity, includeKey: Bool) {
        spiffeID = identity.id.description
        hint = identity.hint
        serial = identity.serial
        notBefore = identity.leaf.notBefore.formatted(.iso8601)
        notAfter = identity.leaf.notAfter.formatted(.iso8601)
        dnsNames = identity.leaf.dnsNames
        certificateChain = identity.chainPEM
        bundle = identity.bundlePEM
        federatedBundles = identity.federatedPEM
        privateKey = includeKey ? identity.privateKeyPEM : nil
    }
}

/// `signet svid fetch`.
struct SVIDFetchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fetch",
        abstract: "Ask the agent once for the identities of this process.",
        discussion: """
            Private keys are shown or written only if asked for: --write-dir, --include-key.

            Example: signet svid fetch --write-dir /run/web/tls
            """
    )
    @OptionGroup var agent: AgentOptions
    @OptionGroup var identity: IdentityOptions
    @OptionGroup var output: OutputOptions

    func validate() throws {
        try identity.checkKeyIsShown(in: output.format)
    }

    func run() async throws {
        let identities = try await WorkloadStream(path: try agent.path).once()
        let first = try await identity.choose(from: identities)
        try identity.files?.write(first)
        let shown =
            identity.choice == IdentityChoice() ? identities : [first]
        let views = shown.map { IdentityView($0, includeKey: identity.includeKey) }
        let now = SystemClock().wallTime
        try output.print(views) {
            Table(
                headings: ["SPIFFE ID", "HINT", "SERIAL", "EXPIRES", "IN"],
                rows: shown.map {
                    [
                        $0.id.description, $0.hint.isEmpty ? "-" : $0.hint, $0.serial,
                        $0.leaf.notAfter.formatted(.iso8601),
                        Moment.span(seconds: $0.leaf.notAfter.timeIntervalSince(now)),
                    ]
                }
            )
        }
    }
}
