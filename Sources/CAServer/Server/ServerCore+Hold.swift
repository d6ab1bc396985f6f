// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import Clocks
internal import ControlAPI
internal import Datastore
internal import Synchronization

/// Whether a restored server waits until somebody has looked at what may be missing
/// (docs/decisions/0022-backup-and-restore.md, "Held").
final class HoldGate: Sendable {
    private let state = Mutex(false)
    private let ended = Signal()

    /// Whether nothing is signed.
    var isHeld: Bool { state.withLock { $0 } }

    func begin() { state.withLock { $0 = true } }

    func end() {
        state.withLock { $0 = false }
        ended.signal()
    }

    /// Returns when it has ended, or the task is cancelled.
    func wait() async {
        while isHeld, !Task.isCancelled { await ended.wait() }
    }
}

extension ServerCore {
    /// What health says while the server is held.
    static let heldCondition = "held"

    /// What is not done while the server is held: what signs, what makes tokens, and what would copy
    /// a database that nobody has looked at.
    private static let heldVerbs: Set<AdminVerb> = [
        .authorityActivate, .authorityPrepare, .serverAcceptClock, .serverBackup, .tokenCreate,
    ]

    /// The same of acts that others have to approve.
    private static let heldActs: Set<String> = [
        AdminVerb.authorityActivate.rawValue, ProposedAct.tokenName,
    ]

    /// Refuses an act that a held server does not do, also when it was proposed before.
    ///
    /// - Throws: `APIError` (`held`).
    func requireNotHeld(forProposed act: String) throws(APIError) {
        if Self.heldActs.contains(act) { try requireNotHeld() }
    }

    /// Refuses an act that a held server does not do.
    ///
    /// - Throws: `APIError` (`held`).
    func requireNotHeld(for verb: AdminVerb) throws(APIError) {
        if Self.heldVerbs.contains(verb) { try requireNotHeld() }
    }

    /// Refuses what a held server does not do.
    ///
    /// - Throws: `APIError` (`held`).
    func requireNotHeld() throws(APIError) {
        guard holdGate.isHeld else { return }
        throw APIError(
            .failedPrecondition,
            "held",
            "this server was restored and signs nothing yet: signet server recover --rehearse says "
                + "what may be missing, and signet server recover lets it go on"
        )
    }
}
