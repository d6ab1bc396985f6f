// SPDX-License-Identifier: Apache-2.0

/// One thing that is wrong in a file of documents: where, what, and what to do about it.
package struct DocumentProblem: Hashable, Sendable, CustomStringConvertible {
    /// The name of the file as the caller gave it.
    package let file: String
    /// Counted from 1.
    package let line: Int
    /// Counted from 1, in Unicode scalars.
    package let column: Int
    package let what: String
    package let remedy: String

    package init(file: String, line: Int, column: Int, what: String, remedy: String) {
        self.file = file
        self.line = line
        self.column = column
        self.what = what
        self.remedy = remedy
    }

    /// `file:line:column: what; remedy`.
    package var description: String {
        remedy.isEmpty
            ? "\(file):\(line):\(column): \(what)"
            : "\(file):\(line):\(column): \(what); \(remedy)"
    }
}

/// Why a file was refused: everything that is wrong in it, in the order of the text.
package struct DocumentProblems: Error, Hashable, Sendable, CustomStringConvertible {
    /// Most problems reported of one file; nobody mends more at once.
    package static let problemsMax = 50

    /// Never empty, at most `problemsMax`.
    package let problems: [DocumentProblem]
    /// Whether there were more.
    package let isTruncated: Bool

    init(_ all: [DocumentProblem]) {
        let sorted = all.sorted { ($0.line, $0.column) < ($1.line, $1.column) }
        problems = Array(sorted.prefix(Self.problemsMax))
        isTruncated = all.count > Self.problemsMax
    }

    /// One problem per line.
    package var description: String {
        let lines = problems.map(\.description).joined(separator: "\n")
        return isTruncated ? lines + "\nand more: only \(Self.problemsMax) are shown" : lines
    }
}
