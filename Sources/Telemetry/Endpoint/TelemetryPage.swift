// SPDX-License-Identifier: Apache-2.0

internal import NIOHTTP1

/// The answer to one request of the telemetry endpoint.
struct TelemetryPage: Sendable {
    let status: HTTPResponseStatus
    let contentType: String
    let body: String

    init(answering request: HTTPRequestHead, metrics: MetricRegistry, health: Health) {
        guard request.method == .GET else {
            self.init(.methodNotAllowed, "only GET is answered\n")
            return
        }
        let hasBody =
            request.headers.contains(name: "transfer-encoding")
            || request.headers[canonicalForm: "content-length"].contains { $0 != "0" }
        guard !hasBody else {
            self.init(.payloadTooLarge, "a request body is not accepted\n")
            return
        }
        switch request.uri {
        case "/metrics":
            self.init(.ok, metrics.exposition(), contentType: PrometheusText.contentType)
        case "/live": self.init(health.report(.live))
        case "/ready": self.init(health.report(.ready))
        default: self.init(.notFound, "try /metrics, /live or /ready\n")
        }
    }

    private init(_ report: HealthReport) {
        self.init(
            report.isHealthy ? .ok : .serviceUnavailable,
            report.json,
            contentType: "application/json"
        )
    }

    private init(
        _ status: HTTPResponseStatus,
        _ body: String,
        contentType: String = "text/plain; charset=utf-8"
    ) {
        self.status = status
        self.contentType = contentType
        self.body = body
    }

    var headers: HTTPHeaders {
        var headers: HTTPHeaders = [
            "content-type": contentType,
            "content-length": String(body.utf8.count),
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
            "connection": "close",
        ]
        if status == .methodNotAllowed { headers.add(name: "allow", value: "GET") }
        return headers
    }
}
