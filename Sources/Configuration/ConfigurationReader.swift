// SPDX-License-Identifier: Apache-2.0

internal import StrictYAML

/// What is wrong with a configuration file: every problem with its place and remedy.
package struct ConfigurationError: Error, CustomStringConvertible {
    package let problems: [String]

    package init(problems: [String]) { self.problems = problems }

    package var description: String { problems.joined(separator: "\n") }
}

/// Reads the one mapping of a configuration file and collects everything that is wrong with it.
///
/// An unknown key, a value that cannot be read and a key given twice refuse the file.
package struct ConfigurationReader<Key: RawRepresentable<String> & CaseIterable & Hashable> {
    private let file: String
    private var values: [Key: YAMLNode] = [:]
    private var problems: [String] = []

    /// Begins with the text of a file.
    package init(_ text: [UInt8], file: String) {
        self.file = file
        let stream = YAMLStream(reading: text, documentsMax: 1)
        for problem in stream.problems {
            report(problem.position, "\(problem.what); \(problem.remedy)")
        }
        guard let root = stream.documents.first else {
            if problems.isEmpty { problems.append("\(file): the file is empty") }
            return
        }
        guard case .mapping(let pairs) = root.content else {
            report(root.position, "expected keys and values, one per line")
            return
        }
        for pair in pairs {
            guard let key = Key(rawValue: pair.key) else {
                let known = Key.allCases.map(\.rawValue).sorted().joined(separator: ", ")
                report(pair.keyPosition, "there is no key \"\(pair.key)\"; there are \(known)")
                continue
            }
            values[key] = pair.value
        }
    }

    /// Everything found so far.
    package var failure: ConfigurationError { ConfigurationError(problems: problems) }

    /// Throws what was collected, if anything was.
    package func finish() throws(ConfigurationError) {
        guard problems.isEmpty else { throw failure }
    }

    /// Refuses a key's value.
    package mutating func refuse(_ key: Key, _ why: String) {
        guard let node = values[key] else {
            problems.append("\(file): \(key.rawValue): \(why)")
            return
        }
        report(node.position, "\(key.rawValue): \(why)")
    }

    /// The value of a key that must be there; nil after reporting why it is not.
    package mutating func required<Value>(
        _ key: Key,
        _ parse: (String) throws -> Value
    ) -> Value? {
        guard let node = values[key] else {
            problems.append("\(file): \(key.rawValue) is missing")
            return nil
        }
        return scalar(key, node, parse)
    }

    /// Sets `target` if the key is there.
    package mutating func set<Value>(
        _ key: Key,
        _ target: inout Value,
        _ parse: (String) throws -> Value
    ) {
        guard let node = values[key], let value = scalar(key, node, parse) else { return }
        target = value
    }

    /// Sets `target` to the items of the key's list, if the key is there.
    package mutating func setList<Value>(
        _ key: Key,
        _ target: inout [Value],
        _ parse: (String) throws -> Value
    ) {
        guard let node = values[key] else { return }
        guard case .sequence(let items) = node.content else {
            refuse(key, "expected a list")
            return
        }
        target = items.compactMap { scalar(key, $0, parse) }
    }

    /// The texts of a key's value, one or a list; nil if the key is not there.
    package mutating func texts(_ key: Key) -> [String]? {
        guard let node = values[key] else { return nil }
        guard case .sequence(let items) = node.content else {
            return scalar(key, node) { $0 }.map { [$0] }
        }
        return items.compactMap { scalar(key, $0) { $0 } }
    }

    private mutating func scalar<Value>(
        _ key: Key,
        _ node: YAMLNode,
        _ parse: (String) throws -> Value
    ) -> Value? {
        guard case .scalar(let text, _) = node.content, !text.isEmpty else {
            report(node.position, "\(key.rawValue): expected a value")
            return nil
        }
        do {
            return try parse(text)
        } catch {
            report(node.position, "\(key.rawValue): \(error)")
            return nil
        }
    }

    private mutating func report(_ position: TextPosition, _ what: String) {
        problems.append("\(file):\(position.line):\(position.column): \(what)")
    }
}

/// Values that configuration files hold.
package enum ConfigurationValue {
    /// What a value should have been.
    package struct Refusal: Error, CustomStringConvertible {
        package let description: String

        /// A refusal that says what to write.
        package init(_ description: String) { self.description = description }
    }

    /// `true` or `false`.
    package static func boolean(_ text: String) throws(Refusal) -> Bool {
        switch text {
        case "true": return true
        case "false": return false
        default: throw Refusal("write true or false")
        }
    }

    /// A TCP port; 0 asks for a free one.
    package static func port(_ text: String) throws(Refusal) -> UInt16 {
        guard let port = UInt16(text) else {
            throw Refusal("a port is a number from 0 (a free one) to 65535")
        }
        return port
    }

    /// A number above 0.
    package static func rate(_ text: String) throws(Refusal) -> Double {
        guard let rate = Double(text), rate > 0, rate <= 1_000_000 else {
            throw Refusal("expected a number above 0, at most 1000000")
        }
        return rate
    }

    /// A time such as `30s`, `15m`, `1h` or `7d`.
    package static func duration(_ text: String) throws(Refusal) -> Duration {
        let units: [Character: Int64] = ["s": 1, "m": 60, "h": 3600, "d": 86_400]
        guard let unit = text.last.flatMap({ units[$0] }),
            let count = Int64(text.dropLast()), count > 0, count <= 10 * 365 * 86_400 / unit
        else { throw Refusal("write a time such as 30s, 15m, 1h or 7d") }
        return .seconds(count * unit)
    }
}
