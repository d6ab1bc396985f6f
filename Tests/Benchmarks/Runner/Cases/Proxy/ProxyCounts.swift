// SPDX-License-Identifier: Apache-2.0

/// What the code of the server's side does for one allowed request, counted by callgrind in the
/// program that is measured, without a change to it.
///
/// Two runs differ only in how many requests they carry, on connections that are open: the
/// difference is what the requests have cost, and start, handshakes and end drop out.
enum ProxyCounts {
    private static let allocations = "proxy: allocations for an allowed request"
    private static let retains = "proxy: retains and releases for an allowed request"
    private static let instructions = "proxy: instructions outside the kernel for a request"
    /// A thousandth: what a timer does once a second is not the request's.
    private static let none = 0.001
    private static let connections = 4

    static let benchmark = Benchmark(
        name: "proxy-counts",
        rows: [
            RowDefinition(id: allocations, unit: "per request", goal: .atMost(none)),
            RowDefinition(id: retains, unit: "per request", goal: .atMost(none)),
            RowDefinition(id: instructions, unit: "per request", goal: .none),
        ],
        readings: { settings in
            // With policy and metrics; a line of an access log is text, which needs memory.
            let setup = ProxySetup(traffic: .http, rules: ProxyRule.policy)
            let built = SignetProxy(executable: settings.executable("signet-bench-proxy"))
            if let obstacle = built.obstacle(to: setup) { throw BenchmarkError(obstacle) }
            return try await ProxyStand.run(settings) { stand in
                let product = try await Callgrind.proxy(stand)
                // The same requests give the same counts: one pair of runs is enough.
                let few = settings.size(2000, quick: 200)
                let load = ["--connections", "\(connections)"]
                let less = try await Callgrind.profile(few, load, product, setup, stand)
                let more = try await Callgrind.profile(few * 3, load, product, setup, stand)
                let added = Double(few * 2)
                func reading(
                    _ row: String,
                    _ count: (Callgrind.Profile) -> Double,
                    _ most: [(name: String, count: Double)]
                ) -> Reading {
                    let note = most.map { "\($0.name) \(Figure.text($0.count / added))" }
                        .joined(separator: ", ")
                    return Reading(
                        row: row,
                        value: (count(more) - count(less)) / added,
                        note: note.isEmpty ? nil : note
                    )
                }
                func calls(_ row: String, _ isOne: @escaping (String) -> Bool) -> Reading {
                    reading(
                        row,
                        { $0.calls(where: isOne) },
                        more.mostCalled(beyond: less, where: isOne)
                    )
                }
                return [
                    calls(allocations, Callgrind.isAllocation),
                    calls(retains, Callgrind.isReferenceCounting),
                    reading(instructions, \.instructions, more.costliest(beyond: less)),
                ]
            }
        }
    )
}

extension Callgrind {
    /// The proxy as it can be watched, a file of the stand.
    ///
    /// - Throws: `BenchmarkError` when valgrind is not installed.
    static func proxy(_ stand: ProxyStand) async throws -> SignetProxy {
        guard isInstalled else {
            throw BenchmarkError("valgrind is not installed (.ci/setup bench)")
        }
        // Valgrind cannot read the debugging information of Swift; names are beside it.
        let program = "\(stand.folder)/signet-bench-proxy"
        _ = try await Tool.output(
            "/usr/bin/strip",
            ["--strip-debug", "-o", program, stand.settings.executable("signet-bench-proxy")]
        )
        return SignetProxy(executable: program)
    }

    /// What the server's side does from its start to its end, for so many requests.
    static func profile(
        _ requests: Int,
        _ load: [String],
        _ product: any ProxyProduct,
        _ setup: ProxySetup,
        _ stand: ProxyStand
    ) async throws -> Profile {
        let file = "\(stand.folder)/callgrind.\(setup.revoked).\(requests)"
        try await ProxyChain.run(
            product,
            setup,
            stand,
            wrapper: command(output: file)
        ) { chain in
            _ = try await stand.load.load(
                [
                    "--port", "\(chain.serverPort)", "--requests", "\(requests)", "--seconds",
                    "300",
                ] + load + stand.credentials(.client).arguments,
                watching: [chain.server, stand.backend]
            )
        }
        return try Profile(contentsOf: file)
    }
}
