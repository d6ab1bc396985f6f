// SPDX-License-Identifier: Apache-2.0

internal import Foundation

/// Envoy with one worker.
///
/// It checks the peer's SPIFFE ID in the handshake, judges each request or connection by RBAC, and
/// replaces x-forwarded-client-cert. Resumption is off, since a resumed handshake is not what is
/// measured.
struct EnvoyProxy: ProxyProduct {
    let executable: String?

    var name: String { "Envoy" }

    func obstacle(to setup: ProxySetup) -> String? {
        executable == nil ? "envoy is not installed (.ci/setup bench)" : nil
    }

    func command(_ place: ProxyPlace, _ setup: ProxySetup) throws -> ProxyCommand {
        let file = place.path("envoy.yaml")
        let listener = "\(setup.traffic == .http ? http(place, setup) : tcp(place, setup))"
        let text = """
            static_resources:
              listeners:
              - name: in
                address: {socket_address: {address: 127.0.0.1, port_value: \(place.listen)}}
                filter_chains:
                - filters: [\(listener)]
            \(place.side == .server ? "      \(downstreamTLS(place, setup))" : "")
              clusters:
              - name: out
                type: STATIC
                connect_timeout: 5s
                circuit_breakers: {thresholds: [{max_connections: 50000,
                  max_pending_requests: 50000, max_requests: 50000}]}
                load_assignment: {cluster_name: out, endpoints: [{lb_endpoints: [{endpoint:
                  {address: {socket_address: {address: 127.0.0.1,
                  port_value: \(place.forward)}}}}]}]}
            \(place.side == .client ? "    \(upstreamTLS(place, setup))" : "")

            """
        try Data(text.utf8).write(to: URL(filePath: file))
        return ProxyCommand(
            executable: executable ?? "envoy",
            arguments: [
                "-c", file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error",
            ]
        )
    }

    // MARK: - TLS

    private func downstreamTLS(_ place: ProxyPlace, _ setup: ProxySetup) -> String {
        """
        transport_socket: {name: tls, typed_config: {
                "@type": \(Self.type("transport_sockets.tls.v3.DownstreamTlsContext")),
                require_client_certificate: true, disable_stateless_session_resumption: true,
                disable_stateful_session_resumption: true,
                common_tls_context: \(
                    commonTLS(place, setup, peer: "prefix: \"\(ProxyIdentity.id(""))\"")
                )}}
        """
    }

    private func upstreamTLS(_ place: ProxyPlace, _ setup: ProxySetup) -> String {
        """
        transport_socket: {name: tls, typed_config: {
              "@type": \(Self.type("transport_sockets.tls.v3.UpstreamTlsContext")),
              max_session_keys: 0, sni: \(ProxyIdentity.server.dnsName),
              common_tls_context: \(
                  commonTLS(place, setup, peer: "exact: \"\(ProxyIdentity.server.id)\"")
              )}}
        """
    }

    private func commonTLS(_ place: ProxyPlace, _ setup: ProxySetup, peer: String) -> String {
        """
        {tls_params: {tls_minimum_protocol_version: TLSv1_3, \
        tls_maximum_protocol_version: TLSv1_3, ecdh_curves: [\(setup.keyExchange.rawValue)]}, \
        tls_certificates: [{certificate_chain: {filename: "\(place.certificate)"}, \
        private_key: {filename: "\(place.key)"}}], \
        validation_context: {trusted_ca: {filename: "\(place.authorities)"}, \
        match_typed_subject_alt_names: [{san_type: URI, matcher: {\(peer)}}]}}
        """
    }

    // MARK: - Filters

    private func http(_ place: ProxyPlace, _ setup: ProxySetup) -> String {
        var filters = [
            """
            {name: envoy.filters.http.router, typed_config: \
            {"@type": \(Self.type("filters.http.router.v3.Router"))}}
            """
        ]
        var more = ""
        if place.side == .server {
            filters = policies(setup.effectiveRules, of: "http") + filters
            more += """
                forward_client_cert_details: SANITIZE_SET, \
                set_current_client_cert_details: {uri: true}, 
                """
        }
        if setup.level == .full { more += "normalize_path: true, access_log: [\(log(place))], " }
        return """
            {name: hcm, typed_config: {"@type": \
            \(Self.type("filters.network.http_connection_manager.v3.HttpConnectionManager")), \
            stat_prefix: in, codec_type: HTTP1, generate_request_id: false, \(more)\
            route_config: {virtual_hosts: [{name: all, domains: ["*"], \
            routes: [{match: {prefix: "/"}, route: {cluster: out, timeout: 0s}}]}]}, \
            http_filters: [\(filters.joined(separator: ", "))]}}
            """
    }

    private func tcp(_ place: ProxyPlace, _ setup: ProxySetup) -> String {
        let proxy = """
            {name: tcp, typed_config: {"@type": \
            \(Self.type("filters.network.tcp_proxy.v3.TcpProxy")), stat_prefix: in, \
            cluster: out\(setup.level == .full ? ", access_log: [\(log(place))]" : "")}}
            """
        let filters = place.side == .server ? policies(setup.effectiveRules, of: "network") : []
        return (filters + [proxy]).joined(separator: ", ")
    }

    /// One filter for what is denied and one for what is allowed.
    private func policies(_ rules: [ProxyRule], of kind: String) -> [String] {
        [ProxyRule.Action.deny, .allow].compactMap { action in
            let own = rules.filter { $0.action == action }
            guard !own.isEmpty else { return nil }
            let policies = own.enumerated().map { "p\($0.offset): \(policy($0.element))" }
            let prefix = kind == "network" ? "stat_prefix: policy, " : ""
            return """
                {name: envoy.filters.\(kind).rbac, typed_config: {"@type": \
                \(Self.type("filters.\(kind).rbac.v3.RBAC")), \(prefix)\
                rules: {action: \(action == .deny ? "DENY" : "ALLOW"), \
                policies: {\(policies.joined(separator: ", "))}}}}
                """
        }
    }

    private func policy(_ rule: ProxyRule) -> String {
        func any(_ choices: [String]) -> String {
            "{or_rules: {rules: [\(choices.joined(separator: ", "))]}}"
        }
        var all: [String] = []
        if !rule.methods.isEmpty {
            all.append(
                any(
                    rule.methods.map {
                        "{header: {name: \":method\", string_match: {exact: \"\($0)\"}}}"
                    }
                )
            )
        }
        if !rule.pathPrefixes.isEmpty {
            all.append(
                any(rule.pathPrefixes.map { "{url_path: {path: {prefix: \"\($0)\"}}}" })
            )
        }
        let permission =
            all.isEmpty ? "{any: true}" : "{and_rules: {rules: [\(all.joined(separator: ", "))]}}"
        let principals = rule.principals.map {
            "{authenticated: {principal_name: {exact: \"\(ProxyIdentity.id($0))\"}}}"
        }
        let who = principals.isEmpty ? "{any: true}" : principals.joined(separator: ", ")
        return "{permissions: [\(permission)], principals: [\(who)]}"
    }

    private func log(_ place: ProxyPlace) -> String {
        let fields = [
            "time: \"%START_TIME%\"", "method: \"%REQ(:METHOD)%\"",
            "path: \"%REQ(:PATH)%\"", "authority: \"%REQ(:AUTHORITY)%\"",
            "status: \"%RESPONSE_CODE%\"", "flags: \"%RESPONSE_FLAGS%\"",
            "received: \"%BYTES_RECEIVED%\"", "sent: \"%BYTES_SENT%\"",
            "duration: \"%DURATION%\"", "peer: \"%DOWNSTREAM_PEER_URI_SAN%\"",
            "upstream: \"%UPSTREAM_HOST%\"", "from: \"%DOWNSTREAM_REMOTE_ADDRESS%\"",
        ]
        return """
            {name: file, typed_config: {"@type": \
            \(Self.type("access_loggers.file.v3.FileAccessLog")), path: "\(place.accessLog)", \
            log_format: {json_format: {\(fields.joined(separator: ", "))}}}}
            """
    }

    private static func type(_ name: String) -> String {
        "type.googleapis.com/envoy.extensions.\(name)"
    }
}
