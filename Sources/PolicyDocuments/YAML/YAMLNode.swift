// SPDX-License-Identifier: Apache-2.0

/// A place in a text: line and column, both counted from 1, the column in Unicode scalars.
struct TextPosition: Hashable, Sendable {
    let line: Int
    let column: Int
}

/// What is wrong at one place of a text, and what to do about it.
struct TextProblem: Error, Hashable, Sendable {
    let position: TextPosition
    let what: String
    let remedy: String
}

/// One value of a YAML text, with the place where it starts.
///
/// Scalars are kept as written: what a plain `no` or `1.10` means is decided by the field that
/// reads it, never guessed here.
struct YAMLNode: Sendable {
    enum Content: Sendable {
        case mapping([YAMLPair])
        /// A value without quotes is plain; an absent value is plain and empty.
        case scalar(String, isPlain: Bool)
        case sequence([YAMLNode])
    }

    let position: TextPosition
    let content: Content
}

/// One key of a mapping and its value; keys are unique in their mapping.
struct YAMLPair: Sendable {
    let key: String
    let keyPosition: TextPosition
    let value: YAMLNode
}
