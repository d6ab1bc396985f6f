// SPDX-License-Identifier: Apache-2.0

internal import Foundation

/// signet-bench-load: the load, the server behind the proxies, and single probes, all on the core
/// that the proxies do not have.
struct LoadProgram: Sendable {
    let executable: String

    /// What one run of the load came to.
    struct Result: Decodable, Sendable {
        let seconds: Double
        let done: Double
        let failures: Double
        let failure: String
        let bytes: Double
        let p50Microseconds: Double
        let p99Microseconds: Double
        /// Of the whole machine, used by programs that are no part of the measurement.
        let othersPercent: Double
        /// Processor time of the watched processes, in their order.
        let watchedNanoseconds: [Double]
        /// The kernel's part of it, coarse.
        let watchedSystemNanoseconds: [Double]

        enum CodingKeys: String, CodingKey {
            case seconds, done, failures, failure, bytes
            case p50Microseconds = "p50_us"
            case p99Microseconds = "p99_us"
            case othersPercent = "others_percent"
            case watchedNanoseconds = "watched_ns"
            case watchedSystemNanoseconds = "watched_system_ns"
        }

        /// The kernel's share of the processor time of both proxies, in percent.
        var kernelPercent: Double {
            let all = watchedNanoseconds.prefix(2).reduce(0, +)
            return all > 0 ? 100 * watchedSystemNanoseconds.prefix(2).reduce(0, +) / all : 0
        }
    }

    /// What came of one request or stream.
    struct Answer: Decodable, Sendable {
        /// 0: none.
        let status: Int
        let bytes: Int
        /// Whether the body is the pattern, or names the hash of what was sent.
        let intact: Bool
        let error: String
        let text: String

        var summary: String {
            "status \(status), \(bytes) bytes\(intact ? "" : ", not intact")"
                + (error.isEmpty ? "" : ", \(error)")
        }
    }

    /// What a TLS server chose.
    struct Choice: Decodable, Sendable {
        let version: Int
        let cipher: Int
        let group: Int
    }

    /// A certificate for a load that speaks TLS itself.
    struct Credentials: Sendable {
        let certificates: ProxyCertificates
        /// Nil: no certificate is shown.
        let identity: ProxyIdentity?
        var isOldTLS = false

        var arguments: [String] {
            var list = [
                "--authorities", certificates.authorities, "--server-name",
                ProxyIdentity.server.dnsName,
            ]
            if let identity {
                list += ["--certificate", certificates.chain(identity)]
                list += ["--key", certificates.key(identity)]
            }
            return list + (isOldTLS ? ["--old-tls"] : [])
        }
    }

    /// How a program is started on one core.
    func pinned(
        to core: Core,
        _ executable: String,
        _ arguments: [String]
    ) -> (executable: String, arguments: [String]) {
        (self.executable, ["run", "\(core.rawValue)", executable] + arguments)
    }

    /// How one of its own commands is started, on the core that the proxies do not have.
    func command(_ arguments: [String]) -> (executable: String, arguments: [String]) {
        pinned(to: .load, executable, arguments)
    }

    /// Where a `backend` listens.
    static func port(of backend: ChildProcess) async throws -> Int {
        let line = try await backend.line(with: "backend port=")
        guard let port = line.split(separator: "=").last.flatMap({ Int($0) }) else {
            throw BenchmarkError("no port in \(line)")
        }
        return port
    }

    func load(_ arguments: [String], watching processes: [ChildProcess]) async throws -> Result {
        let watched = processes.flatMap { ["--watch", "\($0.pid)"] }
        let command = command(["load"] + arguments + watched)
        let result = try await Self.decode(
            Result.self,
            Tool.output(command.executable, command.arguments)
        )
        guard result.failures <= result.done / 1000 else {
            throw BenchmarkError(
                "\(Int(result.failures)) of \(Int(result.done)) requests failed: \(result.failure)"
            )
        }
        guard result.done > 0 else { throw BenchmarkError("no request was answered") }
        return result
    }

    func probe(
        port: Int,
        _ arguments: [String] = [],
        as credentials: Credentials? = nil
    ) async throws -> Answer {
        try await Self.decode(
            Answer.self,
            Tool.output(
                executable,
                ["probe", "--port", "\(port)"] + arguments + (credentials?.arguments ?? [])
            )
        )
    }

    func freePorts(_ count: Int) async throws -> [Int] {
        let output = try await Tool.output(executable, ["ports", "--count", "\(count)"])
        let ports = String(decoding: output, as: UTF8.self).split(separator: "\n").compactMap {
            Int($0)
        }
        guard ports.count == count else { throw BenchmarkError("no free ports") }
        return ports
    }

    func awaitPort(_ port: Int) async throws {
        _ = try await Tool.output(executable, ["await", "--port", "\(port)"])
    }

    static func decode<Value: Decodable>(_ type: Value.Type, _ data: Data) throws -> Value {
        try JSONDecoder().decode(type, from: data)
    }
}

/// Which core a program may use.
///
/// The proxies have one, everything else of a measurement the other.
enum Core: Int, Sendable {
    case proxies = 0
    case load = 1
}
