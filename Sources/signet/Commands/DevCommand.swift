// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser

/// `signet dev`.
struct DevCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "dev")
}
