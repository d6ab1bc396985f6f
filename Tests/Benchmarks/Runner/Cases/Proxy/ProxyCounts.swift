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
            guard Callgrind.isInstalled else {
                throw BenchmarkError("valgrind is not installed (.ci/setup bench)")
            }
            return try await ProxyStand.run(settings) { stand in
                // Valgrind cannot read the debugging information of Swift; names are beside it.
                let program = "\(stand.folder)/signet-bench-proxy"
                _ = try await Tool.output(
                    "/usr/bin/strip",
                    ["--strip-debug", "-o", program, settings.executable("signet-bench-proxy")]
                )
                let product = SignetProxy(executable: program)
                // The same requests give the same counts: one pair of runs is enough.
                let few = settings.size(2000, quick: 200)
                let less = try await counts(few, product, setup, stand)
                let more = try await counts(few * 3, product, setup, stand)
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

    private static func counts(
        _ requests: Int,
        _ product: any ProxyProduct,
        _ setup: ProxySetup,
        _ stand: ProxyStand
    ) async throws -> Callgrind.Profile {
        let file = "\(stand.folder)/callgrind.\(requests)"
        try await ProxyChain.run(
            product,
            setup,
            stand,
            wrapper: Callgrind.command(output: file)
        ) { chain in
            _ = try await stand.load.load(
                [
                    "--port", "\(chain.serverPort)", "--requests", "\(requests)",
                    "--connections", "\(connections)", "--seconds", "120",
                ] + stand.credentials(.client).arguments,
                watching: [chain.server, stand.backend]
            )
        }
        return try Callgrind.Profile(contentsOf: file)
    }
}
