// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Dispatch
internal import FoundationEssentials
internal import Glibc
internal import MTLSProxy
internal import Reactor

/// The engine of signet-proxy with one listener, told by flags what an agent would tell it.
///
/// It lasts until SIGTERM.
@main
struct SignetBenchProxy: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "signet-bench-proxy",
        abstract: "Runs Signet's engine for a measurement. signet-bench starts it."
    )

    enum Side: String, ExpressibleByArgument {
        case client
        case server
    }

    @Option(help: "client: plain in, mutual TLS out; server: the other way round.") var side: Side
    @Option(help: "http or tcp.") var traffic: String
    @Option(help: "IP:port to listen on.") var listen: String
    @Option(help: "IP:port to forward to.") var forward: String
    @Option(help: "PEM of the certificate to present.") var certificate: String
    @Option(help: "PEM of its key, PKCS#8.") var key: String
    @Option(help: "PEM of the authorities to believe.") var authorities: String
    @Option(help: "Key exchange: X25519 or X25519MLKEM768.") var groups: String
    @Option(name: .customLong("server-id"), help: "SPIFFE ID of the server; client's side only.")
    var serverID: String?
    @Option(help: "File of rules in JSON; server's side only.") var rules: String?
    @Option(help: "File for a line of JSON for each request.") var accessLog: String?
    @Option(help: "How many certificates and identities are revoked, none of them the load's.")
    var revoked = 0
    @Option(help: "TLS library: boringssl or openssl.") var provider = "boringssl"

    func run() throws {
        guard let provider = TLSProvider(rawValue: provider) else {
            throw ValidationError("--provider takes boringssl or openssl")
        }
        let engine = try ProxyEngine(workers: 1, provider: provider)
        try engine.apply(try snapshot(provider))
        let log = try accessLog.map { try AccessLogFile(path: $0, engine: engine) }
        let end = DispatchSource.makeSignalSource(signal: SIGTERM, queue: .main)
        end.setEventHandler {
            engine.stop()
            log?.finish()
            Glibc.exit(0)
        }
        end.activate()
        if let log { Task.detached { await log.run() } }
        // The source is cancelled when nobody holds it.
        withExtendedLifetime(end) { dispatchMain() }
    }
}
