// SPDX-License-Identifier: Apache-2.0

internal import Foundation

/// What a signet-proxy weighs that is attached to its agent, has a listener and carries nothing.
enum ProxyProcessMemory {
    private static let row = "signet-proxy: memory, attached and idle"

    static let benchmark = Benchmark(
        name: "signet-proxy-memory",
        rows: [RowDefinition(id: row, unit: "KB", goal: .none)],
        readings: { settings in
            try await ServerHost(settings).run { server in
                let listener = "\(server.folder)/out.sock"
                try await server.apply(documents(listener))
                let place = try await AgentHost.Place(
                    "agent",
                    selectors: ["bench:node"],
                    at: server,
                    settings
                )
                let agent = try place.start()
                try await agent.listens()
                var readings: [Reading] = []
                for _ in 0..<settings.runs {
                    readings.append(try await measure(place, listener, settings))
                }
                try await agent.child.end()
                return readings
            }
        }
    )

    private static func measure(
        _ place: AgentHost.Place,
        _ listener: String,
        _ settings: BenchmarkSettings
    ) async throws -> Reading {
        let proxy = try ChildProcess(
            settings.executable("signet-proxy"),
            ["--agent-socket", "\(place.folder)/proxy.sock", "--telemetry-port", "0"]
        )
        try await Waiting.until("the proxy's listener") {
            guard proxy.isRunning else {
                throw BenchmarkError("the proxy has ended: \(proxy.output)")
            }
            return FileManager.default.fileExists(atPath: listener)
        }
        try await Waiting.pause(settings.size(.seconds(3), quick: .milliseconds(200)))
        let resident = try proxy.residentKilobytes()
        let anonymous = try proxy.anonymousKilobytes()
        try await proxy.end()
        try? FileManager.default.removeItem(atPath: listener)
        return Reading(
            row: row,
            value: resident,
            note: "heap and stacks \(Figure.text(anonymous)) KB, pages of files "
                + "\(Figure.text(resident - anonymous)) KB"
        )
    }

    private static func documents(_ listener: String) -> String {
        let identity = "spiffe://\(ServerHost.trustDomain)/frontend"
        return ServerHost.entry(
            "frontend",
            path: "frontend",
            node: "bench:node",
            workload: "unix:uid:\(getuid())"
        ) + """
            ---
            apiVersion: core.signet/v1alpha1
            kind: Service
            metadata: {name: backend}
            spec:
              ports: [{name: http, number: 80, protocol: http}]
              identities: ["spiffe://\(ServerHost.trustDomain)/backend"]
              endpoints: [{address: "127.0.0.1:9"}]
            ---
            apiVersion: core.signet/v1alpha1
            kind: Proxy
            metadata: {name: frontend}
            spec:
              mode: sidecar
              nodeSelectors: ["bench:node"]
              selectors: ["unix:uid:\(getuid())"]
              identities: ["\(identity)"]
              outbound:
                - {name: out, identity: "\(identity)", service: backend, port: http,
                   unix: \(listener), allow: {uids: [\(getuid())]}}

            """
    }
}
