// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import ControlAPI
internal import DurableFiles
internal import GRPCCore
internal import GRPCPeer
internal import Telemetry

/// The agent's Unix socket: the Workload API for every process of the machine, what certifies the
/// authorities of servers below, and the agent's own questions for root and its own user.
package struct WorkloadSocket: Sendable {
    private let core: AgentCore
    private let attestor: UnixWorkloadAttestor
    private let path: String
    private let mode: UInt32
    private let places: WorkloadPlaces

    /// A socket that does not exist yet.
    ///
    /// - Parameters:
    ///   - core: What is served.
    ///   - attestor: How callers are told apart.
    ///   - path: Absolute; missing directories are made with mode 0755.
    ///   - mode: Permission bits of the socket.
    ///   - places: How many requests may be open.
    package init(
        core: AgentCore,
        attestor: UnixWorkloadAttestor,
        path: String,
        mode: UInt32,
        places: WorkloadPlaces = WorkloadPlaces()
    ) {
        self.core = core
        self.attestor = attestor
        self.path = path
        self.mode = mode
        self.places = places
    }

    /// Serves until cancelled; then open streams end with OK.
    ///
    /// - Parameter ready: Called once callers can connect.
    /// - Throws: When the socket cannot be made, for example because another agent serves it.
    package func run(ready: @escaping @Sendable () -> Void) async throws {
        if let slash = path.lastIndex(of: "/"), slash > path.startIndex {
            try DurableFile.makeDirectory(String(path[..<slash]), mode: 0o755)
        }
        let (core, clock, metrics) = (core, core.clock, core.metrics)
        let transport = PeerServerTransport.unixSocket(
            path: path,
            mode: mode,
            now: { clock.wallTime },
            onEvent: { metrics.observe($0, listener: "workload") }
        )
        let queries = ServerQueries(core: core, attestor: attestor)
        let callers = WorkloadCallers(core: core, attestor: attestor, places: places)
        let server = GRPCServer(
            transport: transport,
            services: [
                WorkloadAPIService(core: core, callers: callers),
                DownstreamService(core: core, callers: callers),
                AgentLocalService(queries: queries, uid: ProcessReading.ownUID),
            ],
            interceptors: [
                transport.interceptor(requiring: [.workloadAPI, .upstream]),
                RPCObserver(now: { clock.bootTime }) { method, code, took in
                    metrics.increment(.rpcs, method, code)
                    metrics.observe(.rpcDuration, took, method)
                },
            ]
        )
        try await server.serve(on: transport, ending: { core.endStreams() }, ready: ready)
    }
}
