// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser

/// `signet completion`.
struct CompletionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "completion",
        abstract: "Print a completion script for a shell.",
        discussion: """
            Where shells look for it:

              signet completion bash > /etc/bash_completion.d/signet
              signet completion zsh > "${fpath[1]}/_signet"
              signet completion fish > ~/.config/fish/completions/signet.fish

            Example: source <(signet completion bash)
            """
    )
    @Argument(help: "bash, zsh or fish.") var shell: Shell

    enum Shell: String, ExpressibleByArgument, CaseIterable {
        case bash
        case zsh
        case fish
    }

    func run() {
        let shell: CompletionShell =
            switch shell {
            case .bash: .bash
            case .fish: .fish
            case .zsh: .zsh
            }
        Terminal.out(Signet.completionScript(for: shell))
    }
}
