// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import FoundationEssentials
internal import Issuance
internal import SPIFFE
internal import Synchronization

/// Keys for the next authority, and what the upstream said of them.
///
/// Keys and a good answer stay for the next try: a full disk must not have hundreds certified.
package final class UpstreamDesk: Sendable {
    /// Keys that are kept in the vault and in no bundle yet.
    struct Candidate: Sendable {
        /// The key ID, which becomes the authority's.
        let id: String
        /// The key as it is found in the vault.
        let signer: any Signer
        /// SubjectPublicKeyInfo of the second key.
        let tokenKeySPKI: [UInt8]
        /// DER of the request.
        let csr: [UInt8]
    }

    private struct State {
        var candidate: Candidate?
        var chain: UpstreamChain?
        var isAsked = false
        /// The last asking was in vain.
        var hasFailed = false
        var outcome: Result<Void, UpstreamError>?
    }

    private let state = Mutex(State())
    private let asked = Signal()

    /// The keys that wait; nil if there are none.
    var candidate: Candidate? { state.withLock { $0.candidate } }

    /// Whether the server asks for an authority of its own, or asked for it in vain: nobody else is
    /// served before.
    var isInNeed: Bool {
        state.withLock { $0.candidate != nil && ($0.isAsked || $0.hasFailed) }
    }

    /// Keys were made.
    func keep(_ candidate: Candidate) {
        state.withLock { $0 = State(candidate: candidate) }
    }

    /// The keys are lost, or must not become an authority's: others have to be made.
    ///
    /// Whoever waits for what the upstream says of them is told that nothing will come.
    func drop(_ id: String) {
        state.withLock { state in
            guard state.candidate?.id == id else { return }
            let isAwaited = state.isAsked || state.outcome != nil
            state = State()
            guard isAwaited else { return }
            state.outcome = .failure(
                .unavailable("the keys that it was asked for are of no more use; others are made")
            )
        }
    }

    /// The keys with the chain that was checked for them, if that is of use still.
    ///
    /// - Parameters:
    ///   - now: The wall clock; a chain that begins later was made by one which was ahead.
    ///   - end: When an authority has to end at the earliest.
    /// - Returns: Both, or nil.
    func certified(
        from now: Date,
        until end: Date
    ) -> (candidate: Candidate, chain: UpstreamChain)? {
        state.withLock { state in
            guard let candidate = state.candidate, let chain = state.chain else { return nil }
            guard chain.notBefore <= now, chain.notAfter >= end else {
                state.chain = nil
                return nil
            }
            return (candidate, chain)
        }
    }

    /// Has the upstream asked for the keys that wait, unless it is being asked.
    func ask() {
        let isNew = state.withLock { state in
            guard state.candidate != nil, !state.isAsked else { return false }
            state.isAsked = true
            return true
        }
        if isNew { asked.signal() }
    }

    /// Waits until there are keys to ask for.
    ///
    /// - Parameters:
    ///   - retryAt: When keys that wait are asked for whoever needs them, in time since boot; nil:
    ///     not before somebody does.
    ///   - clock: The server's.
    /// - Returns: The keys; nil if the task was cancelled.
    func order(retryingAt retryAt: Duration?, _ clock: any NodeClock) async -> Candidate? {
        while !Task.isCancelled {
            let isDue = retryAt.map { $0 <= clock.bootTime } ?? false
            let (order, isWaiting) = state.withLock { state -> (Candidate?, Bool) in
                if isDue, state.candidate != nil { state.isAsked = true }
                return (state.isAsked ? state.candidate : nil, state.candidate != nil)
            }
            if let order { return order }
            if let retryAt, isWaiting {
                await asked.wait(until: retryAt, clock)
            } else {
                await asked.wait()
            }
        }
        return nil
    }

    /// What came of asking for the keys of an ID.
    func answer(_ id: String, _ result: Result<UpstreamChain, UpstreamError>) {
        state.withLock { state in
            guard state.candidate?.id == id else { return }
            state.isAsked = false
            switch result {
            case .success(let chain):
                state.hasFailed = false
                state.chain = chain
                state.outcome = .success(())
            case .failure(let error):
                state.hasFailed = true
                state.outcome = .failure(error)
            }
        }
    }

    /// What came of the last asking, told once.
    func takeOutcome() -> Result<Void, UpstreamError>? {
        state.withLock { state in
            defer { state.outcome = nil }
            return state.outcome
        }
    }

    /// The chain is of no use, as what is above is trusted no more: the keys are asked for again.
    func dropChain() {
        state.withLock { ($0.chain, $0.hasFailed) = (nil, false) }
    }

    /// The chain is of no use, as something else would be above it now.
    ///
    /// - Parameter above: DER of what would be.
    func dropChain(unlessBelow above: [[UInt8]]) {
        state.withLock { state in
            if state.chain?.ancestry.chain != above { state.chain = nil }
        }
    }

    /// The keys are an authority's now.
    func published(_ id: String) {
        state.withLock { state in
            if state.candidate?.id == id { state = State() }
        }
    }
}
