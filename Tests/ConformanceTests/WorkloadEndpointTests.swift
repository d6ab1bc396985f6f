// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms
import Testing

/// SPIFFE Workload Endpoint, asked by another gRPC library (grpcio).
@Suite(.sharedMachine, .timeLimit(.minutes(3)))
struct WorkloadEndpointTests {
    @Test func `E-1 the endpoint is a Unix socket, and nothing is open to the network`()
        async throws
    {
        let machine = try SharedMachine.machine
        #expect(FileManager.default.fileExists(atPath: machine.workloadSocket))
        let listening = try Self.listeningAddresses(of: try machine.agent.pid)
        // Health and metrics, on the loopback interface.
        #expect(listening.count == 1)
        #expect(listening.allSatisfy { $0.hasPrefix("0100007F:") }, "\(listening)")
    }

    /// The local addresses, as the kernel writes them, on which a process listens.
    private static func listeningAddresses(of pid: Int32) throws -> [String] {
        let folder = "/proc/\(pid)/fd"
        let sockets = try FileManager.default.contentsOfDirectory(atPath: folder).compactMap {
            try? FileManager.default.destinationOfSymbolicLink(atPath: "\(folder)/\($0)")
        }
        var addresses: [String] = []
        for table in ["tcp", "tcp6", "udp", "udp6"] {
            let lines = try String(contentsOfFile: "/proc/\(pid)/net/\(table)", encoding: .utf8)
            for line in lines.split(separator: "\n").dropFirst() {
                let fields = line.split(separator: " ")
                let isOpen = fields[3] == "0A" || table.hasPrefix("udp")
                guard isOpen, sockets.contains("socket:[\(fields[9])]") else { continue }
                addresses.append(String(fields[1]))
            }
        }
        return addresses
    }

    @Test func `E-2 every method wants the header once and exactly`() async throws {
        let machine = try SharedMachine.machine
        try await machine.check("header", as: try await machine.registered("e2"))
    }

    @Test func `E-3 neither TLS nor a word of the caller decides who it is`() async throws {
        let machine = try SharedMachine.machine
        try await machine.check("no_credentials", as: try await machine.registered("e3"))
    }

    @Test(arguments: [
        ("unix:///run/none.sock", true), ("unix:/run/none.sock", true),
        ("unix://host/run/none.sock", false), ("unix:none.sock", false), ("unix://", false),
        ("unix:///run/none.sock?x=1", false), ("unix:///run/none.sock#x", false),
        ("tcp://host:1", false), ("tcp://127.0.0.1:1/x", false), ("tcp://127.0.0.1", false),
        ("http://127.0.0.1:1", false), ("/run/none.sock", false),
    ])
    func `E-4 the client reads its endpoint strictly`(
        address: String,
        isAccepted: Bool
    ) async throws {
        let machine = try SharedMachine.machine
        let result = try await Installation.run(
            Installation.binary("signet"),
            ["svid", "fetch"],
            environment: ["SPIFFE_ENDPOINT_SOCKET": address],
            directory: machine.path
        )
        #expect(!result.isSuccess)
        #expect(
            result.errors.contains("(SPIFFE_ENDPOINT_SOCKET)") == !isAccepted,
            "\(result.report)"
        )
        // An explicit address counts before the environment.
        let program = try Installation.binary("signet")
        let selector = try await machine.selector(ofProgram: program)
        try await machine.apply(Machine.entry("e4", workload: selector))
        let explicit = try await Installation.run(
            Installation.binary("signet"),
            ["svid", "fetch", "--agent-socket", machine.workloadSocket],
            environment: ["SPIFFE_ENDPOINT_SOCKET": address],
            directory: machine.path
        )
        #expect(explicit.isSuccess, "\(explicit.report)")
    }

    @Test func `E-5 each cause has its code`() async throws {
        let machine = try SharedMachine.machine
        try await machine.check("codes", as: try await machine.makeWorkload("e5"))
    }

    @Test func `E-6 the service is the standard's, and our own is beside it`() async throws {
        let machine = try SharedMachine.machine
        let result = try await machine.runPeer("rows.py", ["not_extended"])
        #expect(result.isSuccess, "\(result.report)")
    }
}
