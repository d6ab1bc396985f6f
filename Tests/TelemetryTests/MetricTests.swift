// SPDX-License-Identifier: Apache-2.0

import Telemetry
import Testing

struct MetricTests {
    @Test(arguments: Metric.allCases)
    func `every metric is named by the conventions of Prometheus`(_ metric: Metric) {
        // What Istio has a name for has that name, so that its dashboards show it.
        #expect(metric.name.hasPrefix("signet_") || metric.name.hasPrefix("istio_"))
        let allowed = Set("abcdefghijklmnopqrstuvwxyz_")
        #expect(metric.name.allSatisfy(allowed.contains))
        #expect(metric.labels.allSatisfy { $0.allSatisfy(allowed.contains) && !$0.isEmpty })
        #expect(!metric.labels.contains("le"))
        #expect(metric.help.hasSuffix(".") && metric.help.count > 10)
        switch metric.kind {
        case .counter: #expect(metric.name.hasSuffix("_total"))
        case .gauge: #expect(!metric.name.hasSuffix("_total"))
        // Istio's duration is in milliseconds.
        case .histogram where metric == .requestDuration: #expect(metric.buckets.contains(60_000))
        case .histogram where metric.name.hasSuffix("_bytes"):
            #expect(metric.buckets.contains(1_000_000))
        case .histogram: #expect(metric.name.hasSuffix("_seconds"))
        }
    }

    @Test func `the text has one block for each metric in use`() {
        let registry = MetricRegistry()
        registry.increment(.svidsIssued, by: 3, "workload")
        registry.increment(.svidsIssued, by: 2, "agent")
        registry.increment(.svidsIssued, "agent")
        registry.set(.revision, to: 42)
        registry.adjust(.workloadStreams, by: 2)
        registry.adjust(.workloadStreams, by: -1)
        registry.set(.clockSkew, to: -0.25)
        let text = registry.exposition()
        #expect(
            text.contains(
                """
                # HELP signet_server_svids_issued_total \(Metric.svidsIssued.help)
                # TYPE signet_server_svids_issued_total counter
                signet_server_svids_issued_total{kind="agent"} 3
                signet_server_svids_issued_total{kind="workload"} 3

                """
            )
        )
        #expect(text.contains("\nsignet_server_revision 42\n"))
        #expect(text.contains("\nsignet_agent_workload_streams 1\n"))
        #expect(text.contains("\nsignet_agent_clock_skew_seconds -0.25\n"))
        // A counter without labels exists from the start, a gauge only with a value.
        #expect(text.contains("\nsignet_clock_steps_total 0\n"))
        #expect(!text.contains("signet_server_entries"))
    }

    @Test func `a histogram counts cumulatively`() throws {
        let registry = MetricRegistry()
        registry.observe(.rpcDuration, .milliseconds(1), "A")
        registry.observe(.rpcDuration, .milliseconds(2), "A")
        registry.observe(.rpcDuration, .seconds(60), "A")
        let lines = registry.exposition().split(separator: "\n").map(String.init)
            .filter { $0.hasPrefix("signet_rpc_duration_seconds") }
        #expect(lines.contains(#"signet_rpc_duration_seconds_bucket{method="A",le="0.0005"} 0"#))
        #expect(lines.contains(#"signet_rpc_duration_seconds_bucket{method="A",le="0.001"} 1"#))
        #expect(lines.contains(#"signet_rpc_duration_seconds_bucket{method="A",le="0.0025"} 2"#))
        #expect(lines.contains(#"signet_rpc_duration_seconds_bucket{method="A",le="30"} 2"#))
        #expect(lines.contains(#"signet_rpc_duration_seconds_bucket{method="A",le="+Inf"} 3"#))
        #expect(lines.contains(#"signet_rpc_duration_seconds_sum{method="A"} 60.003"#))
        #expect(lines.contains(#"signet_rpc_duration_seconds_count{method="A"} 3"#))
        #expect(lines.count == MetricRegistry.bucketsSeconds.count + 3)
    }

    @Test func `a label value cannot break out of its line`() {
        let registry = MetricRegistry()
        registry.increment(.svidsIssued, "a\"} 1\nevil{x=\"\\")
        #expect(
            registry.exposition().contains(
                #"signet_server_svids_issued_total{kind="a\"} 1\nevil{x=\"\\"} 1"# + "\n"
            )
        )
    }

    @Test func `label values beyond the limit are counted together`() {
        let registry = MetricRegistry()
        for number in 0..<(MetricRegistry.seriesMax + 5) {
            registry.increment(.svidsIssued, "\(number)")
        }
        registry.increment(.svidsIssued, "0")
        let lines = registry.exposition().split(separator: "\n")
        let series = lines.filter { $0.hasPrefix("signet_server_svids_issued_total{") }
        #expect(series.count == MetricRegistry.seriesMax + 1)
        #expect(lines.contains(#"signet_server_svids_issued_total{kind="other"} 5"#))
        #expect(lines.contains(#"signet_server_svids_issued_total{kind="0"} 2"#))
        let metric = "signet_server_svids_issued_total"
        #expect(lines.contains("signet_metric_series_dropped_total{metric=\"\(metric)\"} 5"))
    }

    @Test func `a gauge whose subject is gone disappears`() {
        let registry = MetricRegistry()
        registry.set(.authorityNotAfter, to: 1, "aa", "active")
        registry.set(.authorityNotAfter, to: 2, "bb", "prepared")
        registry.remove(.authorityNotAfter, "aa", "active")
        let text = registry.exposition()
        #expect(!text.contains("aa"))
        #expect(text.contains("bb"))
    }

    @Test func `a counter never falls and a gauge is never counted`() async {
        await #expect(processExitsWith: .failure) {
            MetricRegistry().increment(.svidsIssued, by: -1, "agent")
        }
        await #expect(processExitsWith: .failure) { MetricRegistry().increment(.revision) }
        await #expect(processExitsWith: .failure) { MetricRegistry().increment(.svidsIssued) }
    }
}
