// SPDX-License-Identifier: Apache-2.0

internal import CLinux
package import Logging

/// How log lines look.
package enum LogFormat: String, CaseIterable, Sendable {
    /// One JSON object on each line: time, level, logger, message, metadata, error.
    case json
    /// `2026-01-31T12:00:00.000Z INFO logger: message key=value`.
    case text
}

/// Directs every logger of this process to standard error.
///
/// To be called once, before the first logger is made.
///
/// - Parameters:
///   - format: How lines look.
///   - level: Lines below it are not written.
/// - Returns: Where they go, for lines that no logger makes.
@discardableResult
package func bootstrapLogging(format: LogFormat, level: Logger.Level) -> StandardError {
    let sink = StandardError()
    LoggingSystem.bootstrap { label in
        LineLogHandler(label: label, format: format, level: level, write: { sink.write($0) })
    }
    return sink
}
