// SPDX-License-Identifier: Apache-2.0

internal import Foundation

/// One row of bench-results.json.
struct ResultRow: Codable, Sendable {
    /// What was measured.
    let `case`: String
    /// The median; nil when it could not be measured.
    let ours: Double?
    /// Lowest and highest of the runs.
    let spread: [Double]?
    let runs: Int
    let unit: String
    /// What it is compared with.
    let peer: String?
    /// The median of the peer, measured beside ours.
    let peerValue: Double?
    /// Ours divided by the peer's.
    let ratio: Double?
    let target: String?
    /// Nil without a target or a value, and when sizes were tiny.
    let met: Bool?
    /// What a reader should know beside the numbers.
    let note: String?
    /// In which functions the time was spent, when the target was missed.
    let profile: String?
    /// Why there is no value.
    let why: String?

    enum CodingKeys: String, CodingKey {
        case `case`, met, note, ours, peer, profile, ratio, runs, spread, target, unit, why
        case peerValue = "peer_value"
    }

    init(_ row: RowDefinition, _ readings: [Reading], isQuick: Bool, why: String?) {
        let values = readings.compactMap(\.value).sorted()
        let ours = Figure.median(values)
        let peerValue = Figure.median(readings.compactMap(\.peer).sorted())
        self.case = row.id
        self.ours = ours.map(Figure.rounded)
        spread = values.isEmpty ? nil : [values[0], values[values.count - 1]].map(Figure.rounded)
        runs = values.count
        unit = row.unit
        peer = row.peer
        self.peerValue = peerValue.map(Figure.rounded)
        ratio = Self.ratio(ours, peerValue)
        target = row.goal.text(unit: row.unit)
        met = isQuick ? nil : ours.flatMap { row.goal.isMet(by: $0, peer: peerValue) }
        note =
            isQuick
            ? "tiny sizes: nothing was measured" : readings.compactMap(\.note).last
        profile = met == false ? readings.compactMap(\.profile).last : nil
        self.why = why
    }

    /// Every row has every column, so that a missing value is seen to be missing.
    func encode(to encoder: any Encoder) throws {
        var row = encoder.container(keyedBy: CodingKeys.self)
        try row.encode(self.case, forKey: .case)
        try row.encode(ours, forKey: .ours)
        try row.encode(spread, forKey: .spread)
        try row.encode(runs, forKey: .runs)
        try row.encode(unit, forKey: .unit)
        try row.encode(peer, forKey: .peer)
        try row.encode(peerValue, forKey: .peerValue)
        try row.encode(ratio, forKey: .ratio)
        try row.encode(target, forKey: .target)
        try row.encode(met, forKey: .met)
        try row.encodeIfPresent(note, forKey: .note)
        try row.encodeIfPresent(profile, forKey: .profile)
        try row.encodeIfPresent(why, forKey: .why)
    }

    private static func ratio(_ ours: Double?, _ peer: Double?) -> Double? {
        guard let ours, let peer, peer > 0 else { return nil }
        return (ours / peer * 1000).rounded() / 1000
    }

    /// One line for the person who waits.
    var summary: String {
        guard let ours, let spread, spread.count == 2 else {
            return "\(`case`): not measured: \(why ?? "")"
        }
        var text = "\(`case`): \(Figure.text(ours)) \(unit)"
        text += " (\(Figure.text(spread[0])) to \(Figure.text(spread[1])), \(runs) runs)"
        if let peer, let peerValue, let ratio {
            text += "; \(peer): \(Figure.text(peerValue)), ratio \(ratio)"
        }
        if let target, let met { text += "; \(target): \(met ? "met" : "MISSED")" }
        return text
    }

    /// All rows as a JSON array.
    static func json(_ rows: [Self]) throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return try encoder.encode(rows) + Data("\n".utf8)
    }
}

/// Numbers as people read them.
enum Figure {
    /// The middle value of sorted ones; the mean of the two in the middle.
    static func median(_ sorted: [Double]) -> Double? {
        guard !sorted.isEmpty else { return nil }
        let middle = sorted.count / 2
        return sorted.count % 2 == 1
            ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
    }

    /// The smallest value that at least that part of all does not exceed (nearest rank).
    static func percentile(_ part: Double, of values: [Double]) -> Double? {
        guard !values.isEmpty else { return nil }
        let rank = Int((part * Double(values.count)).rounded(.up))
        return values.sorted()[min(max(rank, 1), values.count) - 1]
    }

    /// Three figures, more when they are whole.
    static func rounded(_ value: Double) -> Double {
        guard value != 0 else { return 0 }
        let size = log10(abs(value)).rounded(.down)
        let factor = pow(10, max(0, 2 - size))
        return (value * factor).rounded() / factor
    }

    static func text(_ value: Double) -> String {
        let value = rounded(value)
        return value == value.rounded() ? String(Int(value)) : String(value)
    }
}
