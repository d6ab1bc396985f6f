// SPDX-License-Identifier: Apache-2.0

internal import CLinux
internal import Clocks
internal import ControlAPI
internal import DurableFiles
internal import GRPCCore
internal import GRPCPeer
internal import Logging
internal import Telemetry

/// The agent's Unix socket for proxies: root's, and its group's where there is that group.
package struct ProxySocket: Sendable {
    /// Most streams of one user: all proxies of a machine may have the same.
    package static let streamsPerUserMax = 64
    /// Most streams on the machine: a proxy has one, of some 30 KiB.
    package static let streamsMax = 256
    /// Largest message of a proxy: the answer to a question about all of its connections.
    package static let messageBytesMax = 1 << 20

    private let core: AgentCore
    private let attestor: UnixWorkloadAttestor
    private let path: String
    private let access: Access
    private let places: WorkloadPlaces

    /// Who may connect.
    package struct Access: Hashable, Sendable {
        /// Permission bits; nil: 0660 with a group, else 0600.
        package var mode: UInt32?
        /// The group's name; without such a group on the machine the socket is its owner's alone.
        package var group: String

        package init(mode: UInt32? = nil, group: String) {
            self.mode = mode
            self.group = group
        }
    }

    /// A socket that does not exist yet.
    ///
    /// - Parameters:
    ///   - core: What is served.
    ///   - attestor: How callers are told apart.
    ///   - path: Absolute; missing directories are made with mode 0755.
    ///   - access: Who may connect.
    ///   - places: How many streams may be open.
    package init(
        core: AgentCore,
        attestor: UnixWorkloadAttestor,
        path: String,
        access: Access,
        places: WorkloadPlaces = WorkloadPlaces(perUser: streamsPerUserMax, all: streamsMax)
    ) {
        self.core = core
        self.attestor = attestor
        self.path = path
        self.access = access
        self.places = places
    }

    private static var limits: ConnectionLimits {
        var limits = ConnectionLimits.local
        limits.connectionsMax = streamsMax
        limits.connectionsPerSourceMax = streamsPerUserMax
        limits.concurrentStreamsMax = 2
        limits.requestBytesMax = messageBytesMax
        // A process that is there and does not answer keeps another one from its place.
        limits.keepaliveTime = .seconds(30)
        limits.keepaliveTimeout = .seconds(10)
        return limits
    }

    /// Serves until cancelled; then open streams end with OK.
    ///
    /// - Parameter ready: Called once proxies can connect.
    /// - Throws: When the socket cannot be made, for example because another agent serves it.
    package func run(ready: @escaping @Sendable () -> Void = {}) async throws {
        if let slash = path.lastIndex(of: "/"), slash > path.startIndex {
            try DurableFile.makeDirectory(String(path[..<slash]), mode: 0o755)
        }
        let (core, clock, metrics) = (core, core.clock, core.metrics)
        let group = ProcessReading.groupID(access.group)
        let transport = PeerServerTransport.unixSocket(
            path: path,
            mode: access.mode ?? (group == nil ? 0o600 : 0o660),
            group: group,
            limits: Self.limits,
            now: { clock.wallTime },
            onEvent: { metrics.observe($0, listener: "proxy") }
        )
        let server = GRPCServer(
            transport: transport,
            services: [ProxyControlService(core: core, attestor: attestor, places: places)],
            interceptors: [
                transport.interceptor(),
                RPCObserver(now: { clock.bootTime }) { method, code, took in
                    metrics.increment(.rpcs, method, code)
                    metrics.observe(.rpcDuration, took, method)
                },
            ]
        )
        try await server.serve(on: transport, ending: { core.proxies.endStreams() }) {
            tellMode()
            ready()
        }
    }

    private func tellMode() {
        guard let status = ProcessReading.status(of: path) else { return }
        core.logger.info(
            "proxies can attach",
            metadata: [
                "socket": "\(path)", "mode": "0\(String(status.mode & 0o777, radix: 8))",
                "group": "\((try? ProcessReading.groupName(status.gid)) ?? "\(status.gid)")",
            ]
        )
    }
}
