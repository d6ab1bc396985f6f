// SPDX-License-Identifier: Apache-2.0

/// Builds a page in the Prometheus text exposition format, version 0.0.4.
struct PrometheusText {
    static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    private(set) var text = ""

    /// Adds one metric with all its series; a metric without series leaves no trace.
    mutating func append(_ metric: Metric, _ series: [[String]: MetricRegistry.Series]) {
        guard !series.isEmpty else { return }
        text += "# HELP \(metric.name) \(Self.escaped(help: metric.help))\n"
        text += "# TYPE \(metric.name) \(metric.kind.rawValue)\n"
        for (values, series) in series.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
            let labels = zip(metric.labels, values).map { "\($0)=\"\(Self.escaped(label: $1))\"" }
            switch series {
            case .number(let value):
                appendSample(metric.name, labels, value)
            case .histogram(let histogram):
                append(metric, labels, histogram)
            }
        }
    }

    private mutating func append(
        _ metric: Metric,
        _ labels: [String],
        _ histogram: MetricRegistry.Histogram
    ) {
        let name = metric.name
        var total: UInt64 = 0
        let bounds = metric.buckets + [.infinity]
        for (bound, count) in zip(bounds, histogram.counts) {
            total += count
            appendSample(
                name + "_bucket",
                labels + ["le=\"\(Self.number(bound))\""],
                Double(total)
            )
        }
        appendSample(name + "_sum", labels, histogram.sum)
        appendSample(name + "_count", labels, Double(total))
    }

    private mutating func appendSample(_ name: String, _ labels: [String], _ value: Double) {
        text += name
        if !labels.isEmpty { text += "{" + labels.joined(separator: ",") + "}" }
        text += " \(Self.number(value))\n"
    }

    static func number(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value > 0 ? "+Inf" : "-Inf" }
        // Whole numbers without a fraction, as long as a Double counts them exactly.
        if value.magnitude < 9_007_199_254_740_992, value == value.rounded() {
            return String(Int64(value))
        }
        return value.description
    }

    static func escaped(label: String) -> String {
        var text = ""
        for scalar in label.unicodeScalars {
            switch scalar {
            case "\\": text += "\\\\"
            case "\"": text += "\\\""
            case "\n": text += "\\n"
            default: text.unicodeScalars.append(scalar)
            }
        }
        return text
    }

    static func escaped(help: String) -> String {
        var text = ""
        for scalar in help.unicodeScalars {
            switch scalar {
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            default: text.unicodeScalars.append(scalar)
            }
        }
        return text
    }
}
