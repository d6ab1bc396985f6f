// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Clocks
internal import ControlAPIProtos
internal import Foundation
internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
internal import SwiftProtobuf

typealias AuthorityAct = Signet_Admin_V1alpha1_AuthorityActionRequest
typealias AuthorityActOutcome = Signet_Admin_V1alpha1_AuthorityActionResponse
typealias AdministrationClient =
    Signet_Admin_V1alpha1_Administration.Client<HTTP2ClientTransport.Posix>

/// What every act on an authority takes.
struct AuthorityActOptions: ParsableArguments {
    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions
    @OptionGroup var rehearsal: RehearsalOptions

    /// Performs an act on an authority that the user names.
    ///
    /// - Parameters:
    ///   - id: Its ID, or how that begins.
    ///   - reason: Why.
    ///   - confirmation: How it is asked who has applied it; nil of an act that agents do not apply.
    ///   - act: The act.
    /// - Throws: `CommandFailure`, also for what was proposed and not done.
    func perform(
        _ id: String,
        reason: String = "",
        _ confirmation: ConfirmationOptions? = nil,
        _ act:
            @Sendable @escaping (AdministrationClient, AuthorityAct) async throws ->
            AuthorityActOutcome
    ) async throws {
        let whole = try await AuthorityName.whole(id, server)
        func ask(rehearse: Bool) async throws -> AuthorityActOutcome {
            let now = rehearsal.now
            return try await server.withClient { client in
                try await act(
                    AdministrationClient(wrapping: client),
                    .with {
                        $0.id = whole
                        $0.reason = reason
                        $0.now = now
                        $0.rehearse = rehearse
                        $0.takesProposal = true
                    }
                )
            }
        }
        if rehearsal.now {
            let outlook = AuthorityActView(try await ask(rehearse: true))
            try rehearsal.confirm(outlook.objections, saying: outlook.consequences)
        }
        let outcome = try await ask(rehearse: rehearsal.rehearse)
        let view = AuthorityActView(outcome)
        try output.print(view) { view.table }
        for line in view.advice { Terminal.error(line) }
        guard rehearsal.rehearse else {
            try view.proposal?.tell(dryRun: false)
            try await confirmation?.confirm(outcome.revision, server)
            return
        }
        for line in view.consequences { Terminal.error(line) }
        try view.proposal?.tell(dryRun: true)
        rehearsal.conclude(view.objections)
    }
}

/// How users name authorities.
enum AuthorityName {
    /// A whole ID has so many digits; less is looked up.
    static let digits = 40
    /// Fewer would be a guess.
    static let digitsMin = 4

    /// The whole ID that begins so.
    ///
    /// - Throws: `CommandFailure` when none does, or several do.
    static func whole(_ text: String, _ server: ServerOptions) async throws -> String {
        guard text.count < digits else { return text }
        let response = try await server.withClient { client in
            try await AdministrationClient(wrapping: client).listAuthorities(.init())
        }
        let known = (response.authorities + response.above + response.downstream).map(\.id)
        let found = known.filter { $0.hasPrefix(text.lowercased()) }
        guard found.count == 1, text.count >= digitsMin else {
            throw CommandFailure(
                found.count < 2 && text.count >= digitsMin
                    ? "there is no authority whose ID begins with \(Terminal.printable(text))"
                    : "\(Terminal.printable(text)) names no single authority",
                remedy: "`signet authority show` lists them; \(digitsMin) digits are enough if no "
                    + "other ID begins so."
            )
        }
        return found[0]
    }
}

/// `signet authority prepare`.
struct AuthorityPrepareCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "prepare",
        abstract: "Make and publish the next authority now.",
        discussion: """
            It begins to sign by itself: when it is published for 30 s (with publicURL or \
            federationListen for publicHold) and every live agent has it, at the latest while the \
            active one still has time for two SVIDs.

            Example: signet authority prepare
            """
    )
    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
        let view = AuthorityActView(
            try await server.withClient { client in
                try await AdministrationClient(wrapping: client).prepareAuthority(.init())
            }
        )
        try output.print(view) { view.table }
    }
}

/// `signet authority activate`.
struct AuthorityActivateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "activate",
        abstract: "Let the prepared authority sign now.",
        discussion: """
            Without --now only if it is published for 30 s (with publicURL or federationListen for \
            publicHold) and every live agent has it, when it is about to do so by itself.

            Example: signet authority activate 3f2a91c07bd4e815
            """
    )
    @OptionGroup var options: AuthorityActOptions
    @Argument(help: "The authority's ID, or how it begins.") var id: String

    func run() async throws {
        try await options.perform(id) { try await $0.activateAuthority($1) }
    }
}

/// `signet authority taint`.
struct AuthorityTaintCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "taint",
        abstract: "Have everything replaced that an authority signed.",
        discussion: """
            What it signed goes on to count. Agents renew it at random moments of the next five \
            minutes; `signet authority show` says how much is left. Join tokens that nobody has used \
            are deleted, because they pin it. The authority that signs cannot be tainted: rotate \
            first. It cannot be taken back. The ID may be that of a root or an upstream authority: \
            then it is done to the authorities below, none of which may sign.

            The command says who has applied it within 2 s, and who has not; with --wait it waits \
            longer, and exit status 3 means that somebody has not. That needs the verb node.list.

            Example: signet authority taint 3f2a91c07bd4e815 --reason "backup lost"
            """
    )
    @OptionGroup var options: AuthorityActOptions
    @Argument(help: "The authority's ID, or how it begins.") var id: String
    @Option(help: ArgumentHelp("Why; kept in the audit log.", valueName: "text"))
    var reason = ""
    @OptionGroup var confirmation: ConfirmationOptions

    func validate() throws { try confirmation.validate(options.rehearsal) }

    func run() async throws {
        try await options.perform(id, reason: reason, confirmation) {
            try await $0.taintAuthority($1)
        }
    }
}

/// `signet authority revoke`.
struct AuthorityRevokeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "revoke",
        abstract: "End an authority: what it signed counts no more.",
        discussion: """
            It leaves the bundle, proxies end every connection that was verified by it, and agents \
            withdraw its SVIDs. Taint it first: then nobody is without an SVID. The authority that \
            signs cannot be revoked: rotate first. It cannot be taken back. The ID may be that of a \
            root or an upstream authority: the authorities below are revoked, none of which may sign, \
            its key is destroyed if the server has it, and a root leaves the bundle. Or that of the \
            authority of a server below: with --now, as what it signed is on no record here; its entry \
            gets no other one certified until the entry is changed.

            The command says who has applied it within 2 s, and who has not; with --wait it waits \
            longer, and exit status 3 means that somebody has not. That needs the verb node.list.

            With publicURL: Vault and Kubernetes API servers believe its tokens until they meet a key \
            that they do not know. Rotate once more with --now, and have each of them verify a new \
            token, or restart it.

            Example: signet authority revoke 3f2a91c07bd4e815 --reason "backup lost"
            """
    )
    @OptionGroup var options: AuthorityActOptions
    @Argument(help: "The authority's ID, or how it begins.") var id: String
    @Option(help: ArgumentHelp("Why; kept in the audit log.", valueName: "text"))
    var reason = ""
    @OptionGroup var confirmation: ConfirmationOptions

    func validate() throws { try confirmation.validate(options.rehearsal) }

    func run() async throws {
        try await options.perform(id, reason: reason, confirmation) {
            try await $0.revokeAuthority($1)
        }
    }
}
