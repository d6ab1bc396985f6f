// SPDX-License-Identifier: Apache-2.0

package import Logging
internal import Synchronization

/// What was logged: level, message, and metadata sorted by key.
package final class LoggedLines: Sendable {
    private let level: Logger.Level
    private let state = Mutex<[String]>([])

    /// Nothing was logged yet; what is below `level` never is.
    package init(from level: Logger.Level = .info) { self.level = level }

    package var lines: [String] { state.withLock { $0 } }

    /// A logger that writes here.
    package var logger: Logger {
        Logger(label: "test") { _ in Handler(lines: self, logLevel: level) }
    }

    private struct Handler: LogHandler {
        let lines: LoggedLines
        var metadata: Logger.Metadata = [:]
        var logLevel: Logger.Level

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let fields = (event.metadata ?? [:]).sorted { $0.key < $1.key }
                .map { " \($0.key)=\($0.value)" }
            let line = "\(event.level) \(event.message)\(fields.joined())"
            lines.state.withLock { $0.append(line) }
        }
    }
}
