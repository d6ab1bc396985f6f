// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms

/// What the proxies of a data path say of themselves.
extension DataPath {
    private struct LogLine: Decodable {
        var message: String
        var metadata: [String: Field]?
    }

    /// A field of an access log's line: text, a number, or null.
    private struct Field: Decodable {
        var text: String

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if container.decodeNil() {
                text = ""
            } else if let number = try? container.decode(UInt64.self) {
                text = "\(number)"
            } else {
                text = try container.decode(String.self)
            }
        }
    }

    /// The access log of a proxy that writes JSON, oldest first.
    func accessLog(of name: String) throws -> [[String: String]] {
        try proxy(name).errors.split(separator: "\n").compactMap { line in
            guard let line = try? JSONDecoder().decode(LogLine.self, from: Data(line.utf8)),
                line.message == "access"
            else { return nil }
            return line.metadata?.mapValues(\.text)
        }
    }

    /// Waits until a proxy has written of a request.
    ///
    /// - Parameters:
    ///   - name: The proxy.
    ///   - path: What was asked for; empty for a request whose head was refused.
    ///   - status: What was answered.
    /// - Returns: The line; they are written in the order in which requests end.
    /// - Throws: `ProgramFailure` when it does not in time.
    func accessLine(of name: String, path: String, status: Int) async throws -> [String: String] {
        var found: [String: String]?
        try await eventually("\(name) to write of \"\(path)\" and \(status)") {
            found = try accessLog(of: name).last {
                $0["path"] == path && $0["response_code"] == "\(status)"
            }
            return found != nil
        }
        guard let found else { throw ProgramFailure("no such line") }
        return found
    }

    /// Asks a proxy for health or metrics.
    func telemetry(_ page: String, of name: String) async throws -> Answer {
        try await proxy(name).waitFor("telemetryPort")
        let log = try proxy(name).errors
        let digits = log.split(separator: "telemetryPort").last?
            .drop { !$0.isNumber }.prefix { $0.isNumber }
        guard let digits, let port = UInt16(digits) else {
            throw ProgramFailure("no telemetry port in: \(log)")
        }
        return try await ask(at: "127.0.0.1:\(port)", path: page)
    }

    /// What `/metrics` of a proxy shows, by name with labels as written.
    func metrics(of name: String) async throws -> [String: Double] {
        let page = try await telemetry("/metrics", of: name)
        guard page.status == 200 else { throw ProgramFailure("/metrics: \(page)") }
        let samples = page.body.split(separator: "\n").filter { !$0.hasPrefix("#") }
            .compactMap { line -> (String, Double)? in
                guard let space = line.lastIndex(of: " "),
                    let value = Double(line[line.index(after: space)...])
                else { return nil }
                return (String(line[..<space]), value)
            }
        return Dictionary(samples) { first, _ in first }
    }
}
