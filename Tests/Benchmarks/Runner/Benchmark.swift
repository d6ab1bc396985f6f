// SPDX-License-Identifier: Apache-2.0

/// One thing to measure; it fills one or more rows of the table.
struct Benchmark: Sendable {
    let name: String
    let rows: [RowDefinition]
    /// Measures each row `runs` times.
    let readings: @Sendable (BenchmarkSettings) async throws -> [Reading]
}

/// How much is measured, and with which programs.
struct BenchmarkSettings: Sendable {
    /// Folder of the built executables.
    let binaries: String
    let runs: Int
    /// Whether sizes are tiny.
    let isQuick: Bool
    /// The Python environment that peers are installed in.
    let python: String

    /// The full size, or the tiny one.
    func size<Value>(_ full: Value, quick: Value) -> Value { isQuick ? quick : full }

    func executable(_ name: String) -> String { "\(binaries)/\(name)" }
}

/// One value of one row.
struct Reading: Sendable {
    let row: String
    /// Nil when only the peer could be measured.
    let value: Double?
    /// The peer's value, measured in the same run.
    var peer: Double?
    /// What a reader should know about this value.
    var note: String?
    /// In which functions the time was spent.
    var profile: String?
    /// Why there is no value.
    var why: String?
}

/// What a row is about and what it should reach.
struct RowDefinition: Sendable {
    let id: String
    let unit: String
    /// What it is compared with, when it is.
    var peer: String?
    let goal: Goal

    /// What was promised.
    enum Goal: Sendable {
        case atLeast(Double)
        case atMost(Double)
        /// Told, not promised.
        case none
        /// At most that much above the peer.
        case peerPlus(Double)
        /// That part of the peer, or more.
        case ratioAtLeast(Double)
        /// That part of the peer, or less.
        case ratioAtMost(Double)

        var isPromise: Bool {
            if case .none = self { false } else { true }
        }

        func isMet(by value: Double, peer: Double?) -> Bool? {
            switch self {
            case .atLeast(let least): value >= least
            case .atMost(let most): value <= most
            case .none: nil
            case .peerPlus(let more): peer.map { value <= $0 + more }
            case .ratioAtLeast(let ratio): peer.map { value >= $0 * ratio }
            case .ratioAtMost(let ratio): peer.map { value <= $0 * ratio }
            }
        }

        func text(unit: String) -> String? {
            switch self {
            case .atLeast(let least): ">= \(Figure.text(least)) \(unit)"
            case .atMost(let most): "<= \(Figure.text(most)) \(unit)"
            case .none: nil
            case .peerPlus(let more): "<= peer + \(Figure.text(more)) \(unit)"
            case .ratioAtLeast(let ratio): ">= \(Figure.text(ratio * 100)) % of peer"
            case .ratioAtMost(let ratio): "<= \(Figure.text(ratio * 100)) % of peer"
            }
        }
    }
}

/// Why nothing could be measured.
struct BenchmarkError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}
