// SPDX-License-Identifier: Apache-2.0

internal import Foundation

/// HAProxy as Debian has it, with one thread.
///
/// Version 2.6 cannot look at a URI SAN: the server's side compares the common name, the client's
/// side the DNS name. That is less work than comparing SPIFFE IDs, so it is in its favour.
struct HAProxyProxy: ProxyProduct {
    let executable: String?

    var name: String { "HAProxy" }

    func obstacle(to setup: ProxySetup) -> String? {
        guard executable != nil else { return "haproxy is not installed (.ci/setup bench)" }
        return setup.keyExchange == .hybrid
            ? "Debian's HAProxy is built with OpenSSL 3.0, which has no X25519MLKEM768" : nil
    }

    func command(_ place: ProxyPlace, _ setup: ProxySetup) throws -> ProxyCommand {
        let file = place.path("haproxy.cfg")
        let isHTTP = setup.traffic == .http
        let mode = isHTTP ? "http" : "tcp"
        let text = """
            global
              nbthread 1
              maxconn 8000
              tune.ssl.cachesize 0
              ssl-default-bind-options ssl-min-ver TLSv1.3 no-tls-tickets
              ssl-default-server-options ssl-min-ver TLSv1.3 no-tls-tickets
              ssl-default-bind-curves \(setup.keyExchange.rawValue)
              ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
              ssl-default-server-ciphersuites TLS_AES_128_GCM_SHA256
            \(setup.level == .full ? "  log stdout format raw local0" : "")
            defaults
              mode \(mode)
              timeout connect 5s
              timeout client 300s
              timeout server 300s
            \(isHTTP ? "  http-reuse always" : "")
            \(setup.level == .full ? "  log global\n  log-format '\(log(isHTTP: isHTTP))'" : "")
            frontend in
              bind 127.0.0.1:\(place.listen)\(place.side == .server ? " \(bindTLS(place))" : "")
            \(place.side == .server ? rules(setup) : "")
              default_backend out
            backend out
              server out 127.0.0.1:\(place.forward)\(
                  place.side == .client ? " \(serverTLS(place))" : ""
              )

            """
        try Data(text.utf8).write(to: URL(filePath: file))
        return ProxyCommand(
            executable: executable ?? "haproxy",
            // With -q it would close its output, and with it the log.
            arguments: ["-db", "-f", file],
            output: setup.level == .full ? place.accessLog : nil
        )
    }

    private func bindTLS(_ place: ProxyPlace) -> String {
        let crt = place.certificates.both(place.identity)
        return "ssl crt \(crt) ca-file \(place.authorities) verify required"
    }

    private func serverTLS(_ place: ProxyPlace) -> String {
        let name = ProxyIdentity.server.dnsName
        let crt = place.certificates.both(place.identity)
        return "ssl crt \(crt) ca-file \(place.authorities) verify required verifyhost \(name)"
            + " sni str(\(name)) no-ssl-reuse"
    }

    private func rules(_ setup: ProxySetup) -> String {
        guard setup.traffic == .http else {
            let names = setup.effectiveRules.flatMap(\.principals).joined(separator: " ")
            return "  tcp-request session reject unless { ssl_c_s_dn(CN) -m str \(names) }"
        }
        var lines = setup.effectiveRules.filter { $0.action == .deny }.map {
            "  http-request deny \(condition($0))"
        }
        // `allow` ends the evaluation, so what every request needs comes before it.
        lines.append(
            "  http-request set-header X-Forwarded-Client-Cert Subject=\"%[ssl_c_s_dn]\""
        )
        lines += setup.effectiveRules.filter { $0.action == .allow }.map {
            "  http-request allow \(condition($0))"
        }
        return (lines + ["  http-request deny"]).joined(separator: "\n")
    }

    private func condition(_ rule: ProxyRule) -> String {
        var all: [String] = []
        func add(_ sample: String, _ values: [String]) {
            if !values.isEmpty { all.append("{ \(sample) \(values.joined(separator: " ")) }") }
        }
        add("ssl_c_s_dn(CN) -m str", rule.principals)
        add("method", rule.methods)
        add("path -m beg", rule.pathPrefixes)
        return all.isEmpty ? "" : "if \(all.joined(separator: " "))"
    }

    private func log(isHTTP: Bool) -> String {
        let http = """
            "method":"%HM","path":"%HU","status":%ST,
            """
        let common = """
            "time":"%T","flags":"%ts","received":%U,"sent":%B,"duration":%Tt,\
            "peer":"%[ssl_c_s_dn]","upstream":"%si:%sp","from":"%ci:%cp"
            """
        return "{\(isHTTP ? http : "")\(common)}"
    }
}
