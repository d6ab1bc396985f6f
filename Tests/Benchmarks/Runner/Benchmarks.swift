// SPDX-License-Identifier: Apache-2.0

/// Every benchmark, in the order of the table.
enum Benchmarks {
    static let all = control + ProxyBenchmarks.all

    private static let control: [Benchmark] = [
        IssuanceCore.benchmark, IssuanceService.benchmark, IssuanceKeys.benchmark,
        IssuanceLatency.benchmark, TokenDelivery.benchmark, ChainVerification.benchmark,
        FirstIdentity.benchmark,
        EntryChange.benchmark, RevocationFanout.benchmark, ServerRestart.benchmark,
        IdleFleet.benchmark, AgentMemory.benchmark, ProxyProcessMemory.benchmark,
        ServerStart.benchmark, ServerStartLog.benchmark, PolicyDecision.benchmark,
    ]
}
