// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import Glibc
internal import MTLSProxy
internal import Synchronization
internal import Telemetry

/// The access log of signet-proxy in a file: its lines are made, and called for, as there.
final class AccessLogFile: Sendable {
    private let engine: ProxyEngine
    private let log: AccessLog
    private let turn = Mutex(())

    init(path: String, engine: ProxyEngine) throws {
        self.engine = engine
        let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw AccessLogError.cannotOpen(path, errno) }
        log = AccessLog(.json) { Self.write($0, to: descriptor) }
    }

    /// Writes what there is once a second, and before when a worker has many records.
    func run() async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { [self] in
                for await _ in engine.recordsWaiting { tell() }
            }
            group.addTask { [self] in
                let clock = SystemClock()
                while (try? await clock.sleep(untilBoot: clock.bootTime + .seconds(1))) != nil {
                    tell()
                }
            }
            await group.waitForAll()
        }
    }

    /// Writes what is left.
    func finish() {
        tell()
        log.finish()
    }

    /// Lines that are dropped are noticed by signet-bench, which counts them.
    private func tell() { _ = turn.withLock { _ in log.tell(engine.takeRecords().records) } }

    private static func write(_ text: [UInt8], to descriptor: Int32) {
        unsafe text.withUnsafeBytes { bytes in
            var done = 0
            while done < bytes.count {
                let rest = unsafe UnsafeRawBufferPointer(rebasing: bytes[done...])
                let written = unsafe Glibc.write(descriptor, rest.baseAddress, rest.count)
                // The lines that are missing then are noticed by signet-bench.
                guard written > 0 else { return }
                done += written
            }
        }
    }
}

/// Why there is no access log.
enum AccessLogError: Error {
    case cannotOpen(String, Int32)
}
