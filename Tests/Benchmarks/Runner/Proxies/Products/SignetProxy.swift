// SPDX-License-Identifier: Apache-2.0

internal import Foundation

/// Signet's engine with one worker, in signet-bench-proxy: the same engine as in signet-proxy, told
/// what to do by flags in place of an agent.
struct SignetProxy: ProxyProduct {
    let executable: String

    static let name = "Signet"

    var name: String { Self.name }

    func obstacle(to setup: ProxySetup) -> String? {
        FileManager.default.isExecutableFile(atPath: executable)
            ? nil : "signet-bench-proxy has not been built"
    }

    func command(_ place: ProxyPlace, _ setup: ProxySetup) throws -> ProxyCommand {
        var arguments = [
            "--side", place.side.rawValue, "--traffic", setup.traffic.rawValue,
            "--listen", "127.0.0.1:\(place.listen)", "--forward", "127.0.0.1:\(place.forward)",
            "--certificate", place.certificate, "--key", place.key,
            "--authorities", place.authorities, "--groups", setup.keyExchange.rawValue,
        ]
        switch place.side {
        case .client:
            arguments += ["--server-id", ProxyIdentity.server.id]
        case .server:
            let file = place.path("rules.json")
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.withoutEscapingSlashes]
            let rules = setup.effectiveRules.map { rule in
                var rule = rule
                rule.principals = rule.principals.map(ProxyIdentity.id)
                return rule
            }
            try encoder.encode(rules).write(to: URL(filePath: file))
            arguments += ["--rules", file]
        }
        if setup.revoked > 0 { arguments += ["--revoked", "\(setup.revoked)"] }
        if setup.level == .full { arguments += ["--access-log", place.accessLog] }
        return ProxyCommand(executable: executable, arguments: arguments)
    }
}

extension BenchmarkSettings {
    /// Signet first, then what it is compared with.
    var proxyProducts: [any ProxyProduct] {
        [
            SignetProxy(executable: executable("signet-bench-proxy")),
            EnvoyProxy(executable: envoy), HAProxyProxy(executable: haproxy),
        ]
    }

    private var haproxy: String? { Self.firstExecutable(["/usr/sbin/haproxy"]) }

    /// The program itself; what the Python package puts into the path is a script that starts it.
    private var envoy: String? {
        let library = "\(python)/lib"
        let versions = (try? FileManager.default.contentsOfDirectory(atPath: library)) ?? []
        return Self.firstExecutable(
            versions.sorted().map { "\(library)/\($0)/site-packages/envoy/_bin/envoy" }
        )
    }

    private static func firstExecutable(_ paths: [String]) -> String? {
        paths.first { FileManager.default.isExecutableFile(atPath: $0) }
    }
}
