// SPDX-License-Identifier: Apache-2.0

internal import struct FoundationEssentials.Date
package import Logging

/// Log lines of one kind, many at a time, in the form that `LineLogHandler` gives to one.
///
/// For logs of thousands of lines a second: nothing is made for a line but its bytes.
package struct LogLines: Sendable {
    /// Whole lines, each with its end of line.
    package private(set) var bytes: [UInt8] = []

    private let format: LogFormat
    /// What comes after the time.
    private let head: [UInt8]
    /// The second that was written last, and its text without a fraction.
    private var second = Int64.min
    private var date: [UInt8] = []
    private var hasField = false

    /// No lines yet.
    ///
    /// - Parameters:
    ///   - format: How lines look.
    ///   - level: That of all of them.
    ///   - label: The logger's name.
    ///   - message: What all of them say; plain text of ours.
    package init(_ format: LogFormat, level: Logger.Level, label: String, message: String) {
        self.format = format
        head =
            switch format {
            case .json:
                Array(
                    """
                    ","level":\(JSONString(level.rawValue)),"logger":\(JSONString(label)),\
                    "message":\(JSONString(message))
                    """.utf8
                )
            case .text: Array(" \(level.rawValue.uppercased()) \(label): \(message)".utf8)
            }
    }

    /// Hands the lines over and begins anew.
    package mutating func take() -> [UInt8] {
        let taken = bytes
        bytes = []
        bytes.reserveCapacity(taken.count)
        return taken
    }

    /// Begins a line.
    ///
    /// - Parameter time: Seconds since 1970.
    package mutating func begin(at time: Double) {
        if format == .json { bytes += "{\"time\":\"".utf8 }
        appendTime(time)
        bytes += head
        hasField = false
    }

    /// Adds a value; names are plain text of ours, in the order of the alphabet.
    package mutating func field(_ name: StaticString, _ value: String) {
        beginField(name)
        let start = bytes.count
        let value = LineLogHandler.cut(value)
        if !appendPlain(value) {
            bytes.removeSubrange(start...)
            bytes += JSONString(value).description.utf8
        }
    }

    /// Adds a number; without one there is null in JSON, and an empty value in text.
    package mutating func field(_ name: StaticString, _ value: (some BinaryInteger)?) {
        beginField(name)
        switch (value, format) {
        case (let number?, _): bytes += String(number).utf8
        case (nil, .json): bytes += "null".utf8
        case (nil, .text): bytes += "\"\"".utf8
        }
    }

    /// Ends the line.
    package mutating func end() {
        if format == .json { bytes += hasField ? "}}".utf8 : "}".utf8 }
        bytes.append(UInt8(ascii: "\n"))
    }

    private mutating func beginField(_ name: StaticString) {
        switch format {
        case .json:
            bytes += hasField ? ",\"".utf8 : ",\"metadata\":{\"".utf8
            bytes += name.description.utf8
            bytes += "\":".utf8
        case .text:
            bytes.append(UInt8(ascii: " "))
            bytes += name.description.utf8
            bytes.append(UInt8(ascii: "="))
        }
        hasField = true
    }

    /// Adds a value that looks like itself.
    ///
    /// - Returns: Whether it does; else some of it was added.
    private mutating func appendPlain(_ value: String) -> Bool {
        let isJSON = format == .json
        guard isJSON || !value.isEmpty else { return false }
        if isJSON { bytes.append(UInt8(ascii: "\"")) }
        for byte in value.utf8 {
            guard (0x20...0x7e).contains(byte), byte != UInt8(ascii: "\""),
                byte != UInt8(ascii: "\\")
            else { return false }
            // They would end the value in a line of text.
            guard isJSON || (byte != UInt8(ascii: "=") && byte != UInt8(ascii: " ")) else {
                return false
            }
            bytes.append(byte)
        }
        if isJSON { bytes.append(UInt8(ascii: "\"")) }
        return true
    }

    private mutating func appendTime(_ time: Double) {
        // To the end of the year 9999; what is no number is 0.
        let milliseconds = Int64(min(max(0, time * 1_000), 253_402_300_799_999))
        let (whole, fraction) = milliseconds.quotientAndRemainder(dividingBy: 1_000)
        if whole != second {
            second = whole
            date = Array(Date(timeIntervalSince1970: Double(whole)).formatted(.iso8601).utf8)
            // Without its Z.
            date.removeLast()
        }
        bytes += date
        bytes.append(UInt8(ascii: "."))
        bytes.append(UInt8(ascii: "0") + UInt8(fraction / 100))
        bytes.append(UInt8(ascii: "0") + UInt8(fraction / 10 % 10))
        bytes.append(UInt8(ascii: "0") + UInt8(fraction % 10))
        bytes.append(UInt8(ascii: "Z"))
    }
}
