// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
package import ControlAPIProtos
internal import Foundation
internal import GRPCCore
internal import SwiftProtobuf

/// `signet server accept-clock`.
struct ServerAcceptClockCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "accept-clock",
        abstract: "Say that the server's clock is right now, although it is not believed.",
        discussion: """
            Set the clock first. After a jump ahead, nothing is signed until the clock was steady for \
            ten minutes: this ends the wait. If the clock is behind the last signature, it was wrong \
            before: another authority signs at once if the present one begins later, every authority \
            that begins later is revoked, revocations that the wrong clock took for ended are made \
            again, and unused join tokens are deleted with the authorities that they name.

            Without --now only if no authority is revoked: of a clock that is itself wrong, as after a \
            power cut without a battery, every authority begins later.

            It works through the server's admin socket alone. With --rehearse it says what would \
            happen: the certificates that are dated ahead, and the agents that will need a new join \
            token.

            Example: signet server accept-clock --rehearse
            """
    )
    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions
    @OptionGroup var rehearsal: RehearsalOptions

    func run() async throws {
        if rehearsal.now {
            let outlook = try await ask(rehearse: true)
            try rehearsal.confirm(
                outlook.objections,
                saying: outlook.objections + outlook.consequences
            )
        }
        let view = try await ask(rehearse: rehearsal.rehearse)
        try output.print(view) { view.table }
        for line in view.consequences { Terminal.error(line) }
        guard rehearsal.rehearse else { return }
        rehearsal.conclude(view.objections)
    }

    private func ask(rehearse: Bool) async throws -> AcceptedClockView {
        let now = rehearsal.now
        return AcceptedClockView(
            try await server.withClient { client in
                try await AdministrationClient(wrapping: client).acceptClock(
                    .with {
                        $0.rehearse = rehearse
                        $0.now = now
                    }
                )
            }
        )
    }
}

/// What the acceptance of a clock does, for programs and people.
package struct AcceptedClockView: Encodable, Sendable {
    let rehearsed: Bool
    let time: Date
    /// By a clock that was ahead; nil if this one is not behind it.
    let lastSignature: Date?
    /// What an even clock would have shown; nil if this one did not jump.
    let expected: Date?
    let authoritiesRevoked: [String]
    let signerReplaced: Bool
    let certificatesDatedAhead: UInt64
    let agentsNeedingTokens: [String]
    let agentCount: UInt64
    let identitiesRefusedUntilLater: UInt64
    let revocationsMadeAgain: UInt64
    let revocationsLeft: UInt64
    /// Why it is not done without --now.
    package let objections: [String]

    /// Takes the server's answer.
    package init(_ answer: Signet_Admin_V1alpha1_AcceptClockResponse) {
        func date(_ milliseconds: Int64) -> Date? {
            guard milliseconds != 0 else { return nil }
            return Date(timeIntervalSince1970: Double(milliseconds) / 1000)
        }
        rehearsed = answer.rehearsed
        time = Date(timeIntervalSince1970: Double(answer.timeUnixMilliseconds) / 1000)
        lastSignature = date(answer.lastSignatureUnixMilliseconds)
        expected = date(answer.expectedUnixMilliseconds)
        authoritiesRevoked = answer.authorities
        signerReplaced = answer.signerReplaced
        certificatesDatedAhead = answer.certificates
        agentsNeedingTokens = answer.agents
        agentCount = answer.agentCount
        identitiesRefusedUntilLater = answer.identitiesRefusedUntilLater
        revocationsMadeAgain = answer.revocationsMadeAgain
        revocationsLeft = answer.revocationsLeft
        objections = answer.objections
    }

    var table: Table {
        Table(
            headings: ["CLOCK", "LAST SIGNATURE", "EVEN CLOCK", "AUTHORITIES", "AGENTS"],
            rows: [
                [
                    time.formatted(.iso8601),
                    lastSignature?.formatted(.iso8601) ?? "-",
                    expected?.formatted(.iso8601) ?? "-",
                    "\(authoritiesRevoked.count)",
                    "\(agentCount)",
                ]
            ]
        )
    }

    /// One line for each thing to know, in the words of what has happened, or would.
    package var consequences: [String] {
        let (are, is_) = rehearsed ? ("would be", "would be") : ("are", "is")
        var lines: [String] = []
        if signerReplaced {
            lines.append(
                "the authority that signs begins later: another one \(is_) made, and signs"
            )
        }
        if !authoritiesRevoked.isEmpty {
            lines.append(
                "revoked \(are), since they begin later: authorities "
                    + authoritiesRevoked.map { String($0.prefix(16)) }.joined(separator: ", ")
            )
        }
        if certificatesDatedAhead > 0 {
            lines.append("\(certificatesDatedAhead) certificate(s) on record are dated ahead")
        }
        if agentCount > 0 {
            let more = agentCount > UInt64(agentsNeedingTokens.count) ? ", ..." : ""
            lines.append(
                "\(agentCount) agent(s) need `signet agent evict` and a new join token: "
                    + agentsNeedingTokens.joined(separator: ", ") + more
            )
        }
        if identitiesRefusedUntilLater > 0 {
            lines.append(
                "\(identitiesRefusedUntilLater) identit(ies) stay refused until a later time; "
                    + "`signet svid revocations` says which, and another ID in the entry ends it"
            )
        }
        if revocationsMadeAgain > 0 {
            lines.append("\(revocationsMadeAgain) revocation(s) \(are) made again")
        }
        if revocationsLeft > 0 {
            lines.append("\(revocationsLeft) revocation(s) found no room; revoke the identities")
        }
        return lines
    }
}
