// SPDX-License-Identifier: Apache-2.0

internal import Dispatch
internal import Glibc

/// Signals of this process as events.
final class SignalEvents: Sendable {
    /// Each signal received; ends never.
    let received: AsyncStream<Int32>
    // SAFETY: never touched after init; only kept alive.
    nonisolated(unsafe) private let sources: [any DispatchSourceSignal]

    /// From now on these signals do nothing but appear in `received`.
    init(_ signals: [Int32] = [SIGINT, SIGTERM]) {
        let (stream, continuation) = AsyncStream.makeStream(
            of: Int32.self,
            bufferingPolicy: .bufferingNewest(8)
        )
        received = stream
        unsafe sources = signals.map { number in
            _ = signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number)
            source.setEventHandler { continuation.yield(number) }
            source.resume()
            return source
        }
    }
}

/// Signals by name.
package enum SignalName {
    private static let numbers: [(String, Int32)] = [
        ("HUP", SIGHUP), ("INT", SIGINT), ("QUIT", SIGQUIT), ("USR1", SIGUSR1),
        ("USR2", SIGUSR2), ("TERM", SIGTERM), ("CONT", SIGCONT), ("WINCH", SIGWINCH),
    ]

    /// The names that `number(of:)` knows.
    package static let all = numbers.map(\.0)

    /// The number of a signal written `HUP`, `SIGHUP` or `hup`; nil for one that is not offered.
    package static func number(of name: String) -> Int32? {
        let upper = name.uppercased()
        let bare = upper.hasPrefix("SIG") ? String(upper.dropFirst(3)) : upper
        return numbers.first { $0.0 == bare }?.1
    }

    /// Sends a signal to a process that is no child of ours.
    ///
    /// - Returns: 0, or errno.
    static func send(_ signal: Int32, to pid: Int32) -> Int32 {
        kill(pid, signal) == 0 ? 0 : errno
    }
}
