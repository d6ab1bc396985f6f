// SPDX-License-Identifier: Apache-2.0

internal import Foundation

/// A Python with a SHA-256 of its own, so that an entry can mean this one program.
package struct Workload: Sendable {
    /// Its executable.
    package let executable: String
    /// The selector that only it shows.
    package let selector: String
    fileprivate let environment: [String: String]
}

extension Installation {
    /// The programs in Python that are the tests' peers.
    package static let peers = "\(repository.path)/Tests/EndToEndTests/Peers"
}

extension Machine {
    /// What a Python that is started by another path has to be told.
    private struct PythonHome: Decodable {
        var executable: String
        var prefix: String
        var packages: String
    }

    /// Makes a workload.
    ///
    /// - Parameter name: Unique on this machine.
    /// - Returns: A program that nothing is registered for.
    /// - Throws: `ProgramFailure` when the Python of the tests cannot be copied.
    package func makeWorkload(_ name: String) async throws -> Workload {
        let question = """
            import json, os, sys, sysconfig
            print(json.dumps({"executable": os.path.realpath(sys.executable),
                              "prefix": sys.base_prefix,
                              "packages": sysconfig.get_paths()["purelib"]}))
            """
        let answer = try await Installation.run(
            Installation.python(),
            ["-c", question],
            directory: path
        )
        guard answer.isSuccess else { throw ProgramFailure("python: \(answer.report)") }
        let home = try JSONDecoder().decode(PythonHome.self, from: Data(answer.output.utf8))
        let executable = "\(path)/python-\(name)"
        var bytes = try Data(contentsOf: URL(fileURLWithPath: home.executable))
        // Bytes after the end of an ELF file change its hash and nothing else.
        bytes.append(contentsOf: name.utf8)
        try bytes.write(to: URL(fileURLWithPath: executable))
        try FileManager.default.setAttributes(
            [.posixPermissions: 0o755],
            ofItemAtPath: executable
        )
        return Workload(
            executable: executable,
            selector: try await selector(ofProgram: executable),
            environment: ["PYTHONHOME": home.prefix, "PYTHONPATH": home.packages]
        )
    }

    /// The selector that processes of an executable show.
    package func selector(ofProgram executable: String) async throws -> String {
        let sum = try await Installation.run(
            Installation.tool("sha256sum"),
            [executable],
            directory: path
        )
        guard let hash = sum.output.split(separator: " ").first else {
            throw ProgramFailure("sha256sum: \(sum.report)")
        }
        return "unix:sha256:\(hash)"
    }

    /// Registers a workload as `spiffe://example.org/<name>`, and waits for the agent.
    package func register(_ workload: Workload, as name: String, more: [String] = []) async throws {
        try await apply(Self.entry(name, workload: workload.selector, more: more))
    }

    /// Starts a peer program as a workload.
    package func start(
        _ workload: Workload,
        _ script: String,
        _ arguments: [String] = []
    ) throws -> Program {
        try Program(
            workload.executable,
            // Without the packages of the system's own Python.
            ["-S", "\(Installation.peers)/\(script)"] + arguments,
            environment: peerEnvironment.merging(workload.environment) { $1 },
            directory: path
        )
    }

    /// Runs a peer program as a workload to its end.
    package func run(
        _ workload: Workload,
        _ script: String,
        _ arguments: [String] = []
    ) async throws -> ProgramResult {
        try await start(workload, script, arguments).result()
    }

    /// Starts a peer program that no entry means by its program.
    package func startPeer(_ script: String, _ arguments: [String] = []) throws -> Program {
        try Program(
            Installation.python(),
            ["\(Installation.peers)/\(script)"] + arguments,
            environment: peerEnvironment,
            directory: path
        )
    }

    /// Runs a peer program that no entry means by its program to its end.
    package func runPeer(
        _ script: String,
        _ arguments: [String] = []
    ) async throws -> ProgramResult {
        try await startPeer(script, arguments).result()
    }

    private var peerEnvironment: [String: String] {
        [
            "SPIFFE_ENDPOINT_SOCKET": endpoint,
            "SIGNET_PROTOS": "\(Installation.repository.path)/Sources/ControlAPIProtos/Protos",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "GRPC_VERBOSITY": "NONE",
        ]
    }
}
