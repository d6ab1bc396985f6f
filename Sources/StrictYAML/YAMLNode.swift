// SPDX-License-Identifier: Apache-2.0

/// The documents of a YAML or JSON text as nodes, and everything that is wrong with the text.
///
/// The language is described at `YAMLReader`.
package struct YAMLStream: Sendable {
    /// In the order of the text; empty documents are left out, and so are those with a problem
    /// that ends them.
    package let documents: [YAMLNode]
    /// In the order of the text; at most 50.
    package let problems: [TextProblem]

    /// Reads a text of at most 1 MiB of UTF-8 with at most `documentsMax` documents.
    package init(reading text: [UInt8], documentsMax: Int) {
        do throws(TextProblem) {
            var reader = YAMLReader(try SourceText(text))
            documents = reader.documents(limit: documentsMax)
            problems = reader.problems
        } catch {
            documents = []
            problems = [error]
        }
    }
}

/// A place in a text: line and column, both counted from 1, the column in Unicode scalars.
package struct TextPosition: Hashable, Sendable, Comparable {
    package let line: Int
    package let column: Int

    package init(line: Int, column: Int) {
        self.line = line
        self.column = column
    }

    package static func < (lhs: Self, rhs: Self) -> Bool {
        (lhs.line, lhs.column) < (rhs.line, rhs.column)
    }
}

/// What is wrong at one place of a text, and what to do about it.
package struct TextProblem: Error, Hashable, Sendable {
    package let position: TextPosition
    package let what: String
    package let remedy: String
}

/// One value of a YAML text, with the place where it starts.
///
/// Scalars are kept as written: what a plain `no` or `1.10` means is decided by the field that
/// reads it, never guessed here.
package struct YAMLNode: Sendable {
    /// What a value is.
    package enum Content: Sendable {
        case mapping([YAMLPair])
        /// A value without quotes is plain; an absent value is plain and empty.
        case scalar(String, isPlain: Bool)
        case sequence([YAMLNode])
    }

    package let position: TextPosition
    package let content: Content
}

/// One key of a mapping and its value; keys are unique in their mapping.
package struct YAMLPair: Sendable {
    package let key: String
    package let keyPosition: TextPosition
    package let value: YAMLNode
}
