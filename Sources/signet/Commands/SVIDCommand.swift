// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser

/// `signet svid`: the identities of the process that asks.
struct SVIDCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "svid",
        abstract: "Fetch and keep identities of this process."
    )
}
