// SPDX-License-Identifier: Apache-2.0

internal import Clocks

/// How far the rotation to an authority has come, in one sentence.
package enum RotationProgress: Equatable, Sendable {
    /// It does not sign yet: what or whom it waits for.
    case waiting(String)
    /// It signs, or has signed and another one does now.
    case done(String)
    /// It will not sign, or is not to be believed any more: what became of it.
    case ended(String)

    package var text: String {
        switch self {
        case .waiting(let text), .done(let text), .ended(let text): text
        }
    }

    /// Why a command ends without an authority that signs; nil unless it has ended.
    package var failure: CommandFailure? {
        guard case .ended(let text) = self else { return nil }
        return CommandFailure(
            text,
            remedy: "`signet authority show` lists what there is; "
                + "`signet authority rotate --wait` begins the next rotation."
        )
    }
}

extension AuthorityListView {
    /// How far the rotation has come to an authority that the server has told of before.
    package func progress(of id: String) -> RotationProgress {
        let name = "authority \(id.prefix(16))"
        guard let authority = authorities.first(where: { $0.id == id }) else {
            return .ended("\(name) is not there any more\(signing)")
        }
        let reason = authority.distrustReason.isEmpty ? "" : " (\(authority.distrustReason))"
        let hasSigned = authority.activatedAt != "-"
        switch authority.state {
        case "active": return .done("\(name) signs")
        case "old": return .done("\(name) has signed\(signing)")
        case "prepared": return .waiting(name + outlook)
        case let state where hasSigned:
            return .ended("\(name) has signed, and is \(state) since\(reason)\(signing)")
        case let state:
            return .ended("\(name) was \(state) before it signed\(reason)\(signing)")
        }
    }

    /// What a prepared one waits for.
    private var outlook: String {
        let latest = latestActivation == "-" ? "" : ", at the latest at \(latestActivation)"
        guard waitingAgentCount > 0 else {
            let at = nextStepAt == "-" ? "" : " at \(nextStepAt)"
            return " is published and begins to sign\(at)\(latest)"
        }
        return " waits for \(Self.named(waitingAgents, waitingAgentCount))\(latest)"
    }

    /// Which one signs in its place.
    private var signing: String {
        guard let active = authorities.first(where: { $0.state == "active" }) else { return "" }
        return "; authority \(active.id.prefix(16)) signs"
    }
}

/// What is waited for, for programs.
package struct RotationWaitView: Encodable, Sendable {
    var authority: String
    /// In one sentence.
    var waiting: String
    /// Of a server that does not answer nobody knows.
    var waitingAgents: [String]?
    var waitingAgentCount: UInt64?
    var latestActivation: String?

    /// - Parameters:
    ///   - id: The authority that is to sign.
    ///   - text: What is waited for.
    ///   - list: What the server has said; nil if it does not answer.
    package init(_ id: String, _ text: String, _ list: AuthorityListView?) {
        authority = id
        waiting = text
        waitingAgents = list?.waitingAgents
        waitingAgentCount = list?.waitingAgentCount
        latestActivation = list?.latestActivation
    }
}

/// How often a log is told how far something is that may take hours: when that has changed.
package struct ProgressPace: Sendable {
    /// Least time between two lines.
    package static let interval: Duration = .seconds(10)

    private var last: (text: String, at: Duration)?

    package init() {}

    /// Whether `text` is to be said at `now`, on CLOCK_BOOTTIME; then it counts as said.
    package mutating func isDue(_ text: String, at now: Duration) -> Bool {
        if let last, last.text == text || now - last.at < Self.interval { return false }
        last = (text, now)
        return true
    }
}
