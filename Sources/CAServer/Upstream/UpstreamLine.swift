// SPDX-License-Identifier: Apache-2.0

package import Clocks
internal import Synchronization

/// Asks an upstream for a certificate, and waits no longer than `UpstreamLimits.answerDuration`.
///
/// A key in a module may keep its caller for ever, and nothing ends that: the wait ends without it,
/// and until it has come back nothing else is asked.
package final class UpstreamLine: Sendable {
    private typealias Answer = Result<[[UInt8]], UpstreamError>

    private let isBusy = Mutex(false)

    package init() {}

    /// Has a key certified.
    ///
    /// - Parameters:
    ///   - request: The key, and what its certificate shall be.
    ///   - upstream: Who is asked.
    ///   - clock: The server's.
    /// - Returns: What the upstream answers, which nothing has checked.
    /// - Throws: `UpstreamError`: the upstream's, or that there is no answer.
    package func certify(
        _ request: UpstreamRequest,
        with upstream: any UpstreamAuthority,
        _ clock: any NodeClock
    ) async throws(UpstreamError) -> [[UInt8]] {
        let isFree = isBusy.withLock { isBusy in
            defer { isBusy = true }
            return !isBusy
        }
        guard isFree else {
            throw .unavailable(
                "what it was asked before has not come back; if its key is in a module, see to "
                    + "that, and restart the server"
            )
        }
        let deadline = clock.bootTime + UpstreamLimits.answerDuration
        let (answers, announce) = AsyncStream.makeStream(of: Answer.self)
        let asking = Task {
            let answer: Answer
            do throws(UpstreamError) {
                answer = .success(try await upstream.certify(request))
            } catch { answer = .failure(error) }
            isBusy.withLock { $0 = false }
            announce.yield(answer)
            announce.finish()
        }
        defer { asking.cancel() }
        let answer = await withTaskGroup(of: Answer?.self) { group in
            group.addTask { await answers.first { _ in true } }
            group.addTask {
                try? await clock.sleep(untilBoot: deadline)
                return nil
            }
            let first = await group.next()
            group.cancelAll()
            return first ?? nil
        }
        guard let answer else {
            throw .unavailable("no answer in \(UpstreamLimits.answerDuration.components.seconds) s")
        }
        return try answer.get()
    }
}
