// SPDX-License-Identifier: Apache-2.0

internal import Synchronization

/// The current values of all metrics of this process.
///
/// Every method takes one label value for each of `metric.labels`, in that order.
///
/// A label value that a peer can choose must not be able to fill memory: beyond `seriesMax` label
/// combinations of one metric, further ones are counted together under `other`.
package final class MetricRegistry: Sendable {
    /// Most label combinations of one metric.
    package static let seriesMax = 200
    /// Upper bounds of the histogram buckets: from one cached answer to one long timeout.
    package static let bucketsSeconds: [Double] = [
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
    ]
    static let overflowLabel = "other"

    struct Histogram {
        /// How many observations fell into each bucket alone; the last one has no upper bound.
        var counts: [UInt64]
        var sum = 0.0

        init(_ metric: Metric) {
            counts = [UInt64](repeating: 0, count: metric.buckets.count + 1)
        }
    }

    enum Series {
        case histogram(Histogram)
        case number(Double)
    }

    private let series = Mutex<[Metric: [[String]: Series]]>([:])

    private let daemon: Metric.Daemon?

    /// The metrics of one daemon, or of none in particular.
    package init(of daemon: Metric.Daemon? = nil) {
        self.daemon = daemon
    }

    /// Adds to a counter.
    package func increment(_ metric: Metric, by amount: Int = 1, _ labels: String...) {
        increment(metric, by: amount, labels: labels)
    }

    /// The same with labels that several metrics share.
    package func increment(_ metric: Metric, by amount: Int, labels: [String]) {
        precondition(metric.kind == .counter && amount >= 0, "\(metric) only grows")
        update(metric, labels) { Self.add(Double(amount), to: &$0) }
    }

    /// Sets a gauge.
    package func set(_ metric: Metric, to value: Double, _ labels: String...) {
        precondition(metric.kind == .gauge, "\(metric) is no gauge")
        update(metric, labels) { $0 = .number(value) }
    }

    /// Adds to a gauge, or takes from it when the amount is negative.
    package func adjust(_ metric: Metric, by amount: Int, _ labels: String...) {
        precondition(metric.kind == .gauge, "\(metric) is no gauge")
        update(metric, labels) { Self.add(Double(amount), to: &$0) }
    }

    /// Counts a duration in a histogram.
    package func observe(_ metric: Metric, _ duration: Duration, _ labels: String...) {
        precondition(metric.kind == .histogram, "\(metric) is no histogram")
        let seconds = duration / .seconds(1)
        let buckets = metric.buckets
        update(metric, labels) { series in
            var histogram =
                if case .histogram(let value) = series { value } else { Histogram(metric) }
            let bucket = buckets.firstIndex { seconds <= $0 } ?? buckets.count
            histogram.counts[bucket] += 1
            histogram.sum += seconds
            series = .histogram(histogram)
        }
    }

    /// Adds to a histogram what was counted elsewhere.
    ///
    /// - Parameters:
    ///   - metric: The histogram.
    ///   - counts: One for each of `metric.buckets`, and one for what is above them.
    ///   - sum: Of all values, in the unit of the metric's name.
    ///   - labels: As for every method.
    package func merge(_ metric: Metric, _ counts: [UInt64], sum: Double, labels: [String]) {
        precondition(metric.kind == .histogram, "\(metric) is no histogram")
        precondition(counts.count == metric.buckets.count + 1, "\(metric) has other buckets")
        update(metric, labels) { series in
            var histogram =
                if case .histogram(let value) = series { value } else { Histogram(metric) }
            for (bucket, count) in counts.enumerated() { histogram.counts[bucket] += count }
            histogram.sum += sum
            series = .histogram(histogram)
        }
    }

    /// Forgets one gauge whose subject is gone, for example a removed authority.
    package func remove(_ metric: Metric, _ labels: String...) {
        precondition(metric.kind == .gauge, "\(metric) is no gauge")
        series.withLock { _ = $0[metric]?.removeValue(forKey: labels) }
    }

    /// Everything in the Prometheus text format, version 0.0.4.
    package func exposition() -> String {
        let series = series.withLock { $0 }
        var text = PrometheusText()
        for metric in Metric.allCases {
            var values = series[metric] ?? [:]
            // A counter that exists from the start shows its first increase as an increase.
            if values.isEmpty, metric.kind == .counter, metric.labels.isEmpty, isOurs(metric) {
                values[[]] = .number(0)
            }
            text.append(metric, values)
        }
        return text.text
    }

    private func isOurs(_ metric: Metric) -> Bool {
        guard let owner = metric.daemon, let daemon else { return true }
        return owner == daemon
    }

    private static func add(_ amount: Double, to series: inout Series) {
        guard case .number(let value) = series else { return }
        series = .number(value + amount)
    }

    private func update(
        _ metric: Metric,
        _ labels: [String],
        _ change: (inout Series) -> Void
    ) {
        precondition(labels.count == metric.labels.count, "\(metric) has other labels")
        series.withLock { series in
            var key = labels
            let known = series[metric, default: [:]]
            if known[key] == nil, known.count >= Self.seriesMax {
                key = labels.map { _ in Self.overflowLabel }
                let dropped = [metric.name]
                Self.add(1, to: &series[.metricSeriesDropped, default: [:]][dropped, default: zero])
            }
            change(&series[metric, default: [:]][key, default: zero])
        }
    }

    private var zero: Series { .number(0) }
}
