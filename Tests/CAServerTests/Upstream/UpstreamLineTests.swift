// SPDX-License-Identifier: Apache-2.0

import CAServer
import Clocks
import FoundationEssentials
import Synchronization
import Testing

/// An upstream that keeps its first caller until it is told to answer, whoever cancels.
private final class SilentUpstream: UpstreamAuthority {
    private struct State {
        var isAnswering = false
        var caller: CheckedContinuation<Void, Never>?
    }

    let kind = UpstreamKind.service
    /// Somebody asks.
    let asked = Signal()
    private let state = Mutex(State())

    var above: [[UInt8]]? { nil }

    func certify(_ request: UpstreamRequest) async throws(UpstreamError) -> [[UInt8]] {
        await withCheckedContinuation { (caller: CheckedContinuation<Void, Never>) in
            let isAnswering = state.withLock { state in
                if !state.isAnswering { state.caller = caller }
                return state.isAnswering
            }
            if isAnswering { caller.resume() } else { asked.signal() }
        }
        return [request.csr]
    }

    func watch(_ tell: @Sendable (UpstreamTrust) async -> Void) async throws(UpstreamError) {}

    func answer() {
        let caller = state.withLock { state in
            defer { state = State(isAnswering: true) }
            return state.caller
        }
        caller?.resume()
    }
}

/// How long an upstream is waited for.
@Suite(.timeLimit(.minutes(1)))
struct UpstreamLineTests {
    private static let request = UpstreamRequest(csr: [7], lifetimeSeconds: 60)

    private let clock = ShiftedClock()
    private let upstream = SilentUpstream()
    private let line = UpstreamLine()

    private func ask() async -> Result<[[UInt8]], UpstreamError> {
        do throws(UpstreamError) {
            return .success(try await line.certify(Self.request, with: upstream, clock))
        } catch {
            return .failure(error)
        }
    }

    @Test func `one that does not come back is not waited for, and is asked for nothing else`()
        async throws
    {
        async let first = ask()
        await upstream.asked.wait()
        clock.pass(UpstreamLimits.answerDuration)
        #expect(await first == .failure(.unavailable("no answer in 30 s")))
        guard case .failure(.unavailable(let sentence)) = await ask() else {
            Issue.record("it was asked again")
            return
        }
        #expect(sentence.contains("has not come back"))
        upstream.answer()
        try await eventually("it is asked again once it has come back") {
            await ask() == .success([[7]])
        }
    }

    @Test func `whoever is cancelled does not wait`() async throws {
        let asking = Task { await ask() }
        await upstream.asked.wait()
        asking.cancel()
        guard case .failure = await asking.value else {
            Issue.record("it has answered")
            return
        }
        upstream.answer()
    }
}
