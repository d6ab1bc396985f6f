// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
package import ControlAPIProtos
internal import Foundation
internal import SPIFFE
internal import SwiftProtobuf

/// `signet svid revoke`.
struct SVIDRevokeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "revoke",
        abstract: "Refuse every SVID of an identity that was issued so far.",
        discussion: """
            Proxies refuse and close what shows such an SVID at once; agents withdraw those that \
            they hold. The identity itself stays: whoever is entitled to it gets a new SVID, with \
            --for only after that time. Until then the listeners of proxies that speak for it are \
            closed, and who calls them or calls through them is refused. To end it, delete the \
            entries that the command names. JWT-SVIDs of it are refused by agents that are asked to \
            validate them; who verifies them by the keys alone takes them until they end.

            A revocation cannot be taken back, and lasts no longer than what it refuses.

            With --serial one certificate is refused in place of all of an identity: its holder gets \
            another one, whoever has copied its key does not. Its holder's tokens have no serial \
            numbers and stay good. `signet audit query --event \
            svidsIssued` shows serial numbers.

            The command says who has applied it within 2 s, and who has not; with --wait it waits \
            longer, and exit status 3 means that somebody has not. That needs the verb node.list.

            Example: signet svid revoke spiffe://example.org/web --for 1h --reason "key copied"
            """
    )
    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions
    @Argument(
        help: ArgumentHelp("The identity.", valueName: "spiffe-id"),
        transform: TypedSPIFFEID.read
    )
    var spiffeID: TypedSPIFFEID?
    @Option(
        help: ArgumentHelp("One certificate, by its serial number.", valueName: "hex"),
        transform: TypedQuery.serial
    )
    var serial: String?
    @Option(
        name: .customLong("for"),
        help: ArgumentHelp(
            "Sign none for it for so long either (90s, 15m, 1h, 7d; at most 30d).",
            valueName: "time"
        )
    )
    var length: String?
    @Option(help: ArgumentHelp("Why; kept in the audit log.", valueName: "text"))
    var reason = ""
    @OptionGroup var confirmation: ConfirmationOptions

    func validate() throws {
        if let length { _ = try RevocationView.seconds(length) }
        guard (spiffeID == nil) != (serial == nil) else {
            throw ValidationError(
                spiffeID == nil
                    ? "name an identity, or one certificate with --serial"
                    : "name an identity or one certificate with --serial, not both"
            )
        }
        guard serial == nil || length == nil else {
            throw ValidationError(
                "--for keeps an identity from being signed for: leave it out, or leave --serial out"
            )
        }
    }

    func run() async throws {
        if let serial { return try await revoke(certificate: serial) }
        let seconds = try length.map(RevocationView.seconds) ?? 0
        let (id, reason) = (spiffeID?.text ?? "", reason)
        let response = try await server.withClient { client in
            try await Signet_Admin_V1alpha1_Administration.Client(wrapping: client)
                .revokeIdentity(
                    .with {
                        $0.spiffeID = id
                        $0.reason = reason
                        $0.forSeconds = seconds
                    }
                )
        }
        let view = RevocationView(response, of: id)
        try output.print(view) { view.table }
        for line in view.advice(isForLater: seconds > 0) { Terminal.error(line) }
        try await confirmation.confirm(response.revision, server)
    }

    private func revoke(certificate serial: String) async throws {
        let (bytes, reason) = (Hexadecimal.bytes(serial.lowercased()) ?? [], reason)
        let response = try await server.withClient { client in
            try await Signet_Admin_V1alpha1_Administration.Client(wrapping: client)
                .revokeCertificate(
                    .with {
                        $0.serial = Data(bytes)
                        $0.reason = reason
                    }
                )
        }
        let view = RevokedCertificateView(response.certificate)
        try output.print([view]) { RevokedCertificateView.table([view]) }
        try await confirmation.confirm(response.revision, server)
    }
}

/// One certificate that is refused.
package struct RevokedCertificateView: Encodable, Sendable {
    var serial: String
    var spiffeID: String
    var node: String
    var notAfter: String
    var reason: String
    var by: String
    var revokedAt: String

    /// Takes what a server says.
    package init(_ message: Signet_Admin_V1alpha1_CertificateRevocationRecord) {
        serial = Hexadecimal.text(message.serial)
        spiffeID = message.spiffeID
        node = message.node
        notAfter = Terminal.time(unixSeconds: message.notAfterUnixSeconds)
        reason = message.reason
        by = message.actor
        revokedAt = Terminal.time(unixMilliseconds: message.revokedAtUnixMilliseconds)
    }

    static func table(_ views: [Self]) -> Table {
        Table(
            empty: "no certificate is revoked by itself",
            headings: ["SERIAL", "SPIFFE ID", "NODE", "UNTIL", "BY", "REASON"],
            rows: views.map {
                [
                    $0.serial, $0.spiffeID, $0.node.isEmpty ? "-" : $0.node, $0.notAfter, $0.by,
                    $0.reason.isEmpty ? "-" : $0.reason,
                ]
            }
        )
    }
}

/// What a revocation did.
package struct RevocationView: Encodable, Sendable {
    /// As the server has it: for longer, an entry is deleted.
    static let secondsMax: Int64 = 30 * 86_400

    var spiffeID: String
    var issuedBefore: String
    var revision: UInt64
    var entries: [String]
    /// Whose ID has variables and may become the identity.
    var templateEntries: [String]
    /// That the caller may not get.
    var hiddenEntries: UInt32
    /// Whether there are more than the server has looked at, or names.
    var entriesCut: Bool

    /// Joins the server's answer and what was asked.
    package init(_ response: Signet_Admin_V1alpha1_RevokeIdentityResponse, of id: String) {
        spiffeID = id
        issuedBefore = Terminal.time(unixSeconds: response.issuedBeforeUnixSeconds)
        revision = response.revision.number
        entries = response.entries
        templateEntries = response.templateEntries
        hiddenEntries = response.hiddenEntries
        entriesCut = response.entriesCut
    }

    /// Reads how long nothing is to be signed.
    ///
    /// - Throws: `ValidationError` with the forms.
    package static func seconds(_ text: String) throws -> UInt32 {
        guard let seconds = Moment.seconds(text), (1...secondsMax).contains(seconds) else {
            throw ValidationError("--for takes 1s to 30d, written 90s, 15m, 1h or 7d")
        }
        return UInt32(seconds)
    }

    var table: Table {
        Table(
            headings: ["SPIFFE ID", "REFUSED IF ISSUED BEFORE", "REVISION"],
            rows: [[spiffeID, issuedBefore, String(revision)]]
        )
    }

    /// What the revocation did not do, and the commands that do it.
    package func advice(isForLater: Bool) -> [String] {
        var lines: [String] = []
        let when = isForLater ? "from \(issuedBefore) on" : "at once"
        if !entries.isEmpty {
            let what =
                entries.count == 1 ? "an entry still gives" : "\(entries.count) entries still give"
            lines.append("warning: \(what) it, with a new SVID \(when), to what attests to it")
        }
        if !templateEntries.isEmpty {
            lines.append(
                "warning: \(templateEntries.count) with variables may give it, with a new SVID "
                    + when
            )
        }
        let named = entries + templateEntries
        if !named.isEmpty {
            lines.append("  To end that:")
            lines += named.map { "  signet delete RegistrationEntry/\($0)" }
        }
        if hiddenEntries > 0 {
            lines.append("warning: \(hiddenEntries) that you may not see give it, or may do so")
        }
        if entriesCut { lines.append("warning: there are more entries than are named here") }
        return lines.isEmpty ? ["no entry gives \(spiffeID) to anybody any more"] : lines
    }
}

/// `signet svid revocations`.
struct SVIDRevocationsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "revocations",
        abstract: "List the identities whose older SVIDs are refused.",
        discussion: """
            With --certificates the certificates that are refused one by one, as by svid revoke \
            --serial and by agent ban.

            Example: signet svid revocations
            """
    )
    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions
    @Flag(help: "List single certificates in place of identities.")
    var certificates = false

    struct View: Encodable {
        var spiffeID: String
        var issuedBefore: String
        var reason: String
        var by: String
        var revokedAt: String
        /// When nothing is left that it refuses.
        var ends: String
    }

    func run() async throws {
        let response = try await server.withClient { client in
            try await Signet_Admin_V1alpha1_Administration.Client(wrapping: client)
                .listRevocations(.init())
        }
        if certificates {
            let views = response.certificates.map { RevokedCertificateView($0) }
            return try output.print(views) { RevokedCertificateView.table(views) }
        }
        let views = response.revocations.map {
            View(
                spiffeID: $0.spiffeID,
                issuedBefore: Terminal.time(unixSeconds: $0.issuedBeforeUnixSeconds),
                reason: $0.reason,
                by: $0.actor,
                revokedAt: Terminal.time(unixMilliseconds: $0.revokedAtUnixMilliseconds),
                ends: Terminal.time(unixSeconds: $0.endsUnixSeconds)
            )
        }
        try output.print(views) {
            Table(
                empty: "no identity is revoked",
                headings: ["SPIFFE ID", "REFUSED IF ISSUED BEFORE", "UNTIL", "BY", "REASON"],
                rows: views.map {
                    [
                        $0.spiffeID, $0.issuedBefore, $0.ends, $0.by,
                        $0.reason.isEmpty ? "-" : $0.reason,
                    ]
                }
            )
        }
    }
}
