// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import Synchronization

/// What is wrong with an upstream, by what it is asked for.
final class UpstreamTrouble: Sendable {
    enum Subject: Hashable, Sendable, CaseIterable {
        case certificates
        case trust
        /// The certificate that a ceremony made, though nobody asks for an authority.
        case above
    }

    private let problems = Mutex<[Subject: String]>([:])

    /// Notes what is wrong, nil for nothing; whether that is another thing than before.
    func isNews(_ problem: String?, of subject: Subject) -> Bool {
        problems.withLock { problems in
            defer { problems[subject] = problem }
            return problems[subject] != problem
        }
    }

    /// What is wrong; nil if nothing is.
    var problem: String? {
        let problems = problems.withLock { $0 }
        return Subject.allCases.compactMap { problems[$0] }.first
    }
}

/// Whether an upstream has said since the start what is above: no chain is judged before.
final class FirstWord: Sendable {
    private enum State {
        case awaited
        case failed(UpstreamError)
        case said
    }

    /// Who waits for it, each in one task.
    enum Waiter {
        case own
        case below
    }

    private let state = Mutex(State.awaited)
    private let (changedForOwn, changedForBelow) = (Signal(), Signal())

    /// It is asked.
    func asked() {
        state.withLock { state in
            if case .failed = state { state = .awaited }
        }
    }

    /// It has said something, be it something that is not taken.
    func said() {
        state.withLock { $0 = .said }
        wake()
    }

    /// It could not be asked; it will be once more.
    func failed(_ error: UpstreamError) {
        state.withLock { state in
            if case .said = state { return }
            state = .failed(error)
        }
        wake()
    }

    private func wake() {
        changedForOwn.signal()
        changedForBelow.signal()
    }

    /// Waits for the word, no longer than for a certificate.
    ///
    /// - Throws: `UpstreamError`: why there is none.
    func wait(
        for waiter: Waiter,
        _ clock: any NodeClock
    ) async throws(UpstreamError) {
        let changed = waiter == .own ? changedForOwn : changedForBelow
        let deadline = clock.bootTime + UpstreamLimits.answerDuration
        while !Task.isCancelled, clock.bootTime < deadline {
            switch state.withLock({ $0 }) {
            case .awaited: await changed.wait(until: deadline, clock)
            case .failed(let error): throw error
            case .said: return
            }
        }
        throw .unavailable("the upstream has not said what is above")
    }
}
