// SPDX-License-Identifier: Apache-2.0

internal import GRDB

/// The conditions of one query: only those given are in its text, so that SQLite finds the index
/// that serves them.
struct Conditions {
    private var terms: [String] = []
    private(set) var arguments = StatementArguments()

    var sql: String { terms.isEmpty ? "TRUE" : terms.joined(separator: " AND ") }

    /// Adds a term of one placeholder, unless there is nothing to compare with.
    mutating func add(_ term: String, _ value: (some DatabaseValueConvertible)?) {
        guard let value else { return }
        add(term, [value])
    }

    /// Adds a term of as many placeholders as there are values.
    mutating func add(_ term: String, _ values: StatementArguments) {
        terms.append(term)
        arguments += values
    }
}
