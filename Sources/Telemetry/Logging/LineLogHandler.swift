// SPDX-License-Identifier: Apache-2.0

internal import CLinux
internal import struct FoundationEssentials.Date
package import Logging

/// Writes each log event as one line, whatever the event holds: no value can start a second line or
/// move the cursor of a terminal.
package struct LineLogHandler: LogHandler {
    /// Longest message or value in bytes; the rest is cut off, so that no caller of ours can fill
    /// the log with one request.
    package static let valueBytesMax = 8192

    package var logLevel: Logger.Level
    package var metadata: Logger.Metadata = [:]
    package var metadataProvider: Logger.MetadataProvider?

    private let label: String
    private let format: LogFormat
    private let write: @Sendable (String) -> Void

    /// Makes a handler that gives each line, with its end of line, to a closure.
    package init(
        label: String,
        format: LogFormat,
        level: Logger.Level,
        write: @escaping @Sendable (String) -> Void
    ) {
        self.label = label
        self.format = format
        self.logLevel = level
        self.write = write
    }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    package func log(event: LogEvent) {
        var values = metadata
        if let provided = metadataProvider?.get() { values.merge(provided) { $1 } }
        if let own = event.metadata { values.merge(own) { $1 } }
        let line =
            switch format {
            case .json: json(event, values)
            case .text: text(event, values)
            }
        write(line + "\n")
    }

    private func json(_ event: LogEvent, _ values: Logger.Metadata) -> String {
        var members = [
            "\"time\":\(JSONString(Self.timestamp()))",
            "\"level\":\(JSONString(event.level.rawValue))",
            "\"logger\":\(JSONString(label))",
            "\"message\":\(JSONString(Self.cut(event.message.description)))",
        ]
        if let error = event.error {
            members.append("\"error\":\(JSONString(Self.cut("\(error)")))")
        }
        if !values.isEmpty {
            members.append("\"metadata\":\(Self.json(.dictionary(values)))")
        }
        return "{" + members.joined(separator: ",") + "}"
    }

    private static func json(_ value: Logger.MetadataValue) -> String {
        switch value {
        case .array(let values):
            "[" + values.map(json).joined(separator: ",") + "]"
        case .dictionary(let values):
            "{"
                + values.sorted { $0.key < $1.key }
                .map { "\(JSONString(cut($0.key))):\(json($0.value))" }
                .joined(separator: ",") + "}"
        case .string(let text):
            JSONString(cut(text)).description
        case .stringConvertible(let value):
            JSONString(cut(value.description)).description
        }
    }

    private func text(_ event: LogEvent, _ values: Logger.Metadata) -> String {
        let head = "\(Self.timestamp()) \(event.level.rawValue.uppercased()) \(label): "
        var line = head + Self.oneLine(Self.cut(event.message.description))
        for (key, value) in values.sorted(by: { $0.key < $1.key }) {
            line += " \(Self.quoted(Self.cut(key)))=\(Self.quoted(Self.cut(value.description)))"
        }
        if let error = event.error { line += " error=\(Self.quoted(Self.cut("\(error)")))" }
        return line
    }

    /// The text with control characters escaped, without quotes.
    private static func oneLine(_ text: String) -> String {
        let escaped = text.unicodeScalars.contains { scalar in
            scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value)
                || scalar == "\u{2028}" || scalar == "\u{2029}"
        }
        return escaped ? String(JSONString(text).description.dropFirst().dropLast()) : text
    }

    /// The text in quotes, unless it could not be mistaken for anything else.
    private static func quoted(_ text: String) -> String {
        let plain = text.utf8.allSatisfy { byte in
            (0x21...0x7e).contains(byte) && byte != UInt8(ascii: "\"")
                && byte != UInt8(ascii: "\\") && byte != UInt8(ascii: "=")
        }
        return plain && !text.isEmpty ? text : JSONString(text).description
    }

    static func cut(_ text: String) -> String {
        guard text.utf8.count > valueBytesMax else { return text }
        return String(decoding: text.utf8.prefix(valueBytesMax), as: UTF8.self) + "..."
    }

    private static func timestamp() -> String {
        let time = clinux_wall_time()
        let date = Date(
            timeIntervalSince1970: Double(time.seconds) + Double(time.nanoseconds) / 1e9
        )
        return date.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
    }
}
