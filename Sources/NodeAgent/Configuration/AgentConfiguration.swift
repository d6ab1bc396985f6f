// SPDX-License-Identifier: Apache-2.0

package import GRPCPeer
package import Logging
package import SPIFFE
package import Telemetry

/// What an operator decides about one agent; every key is described in docs/operations.md.
package struct AgentConfiguration: Sendable {
    /// Most server addresses; more would only slow down an agent whose servers are all away.
    package static let serverAddressesMax = 16
    /// Longest name of a group (useradd(8) allows 32).
    package static let groupNameBytesMax = 32

    /// Nil until the join token or the agent's own data tell; if given, they must agree.
    package var trustDomain: TrustDomain?
    /// The agent's own key, SVID and what it synchronised.
    package var dataDirectory = "/var/lib/signet/agent"
    /// Tried in this order; empty takes those of the join token, later those remembered.
    package var serverAddresses: [ServerAddress] = []
    /// Used as long as the agent has no identity, and once if it holds another token than that.
    package var joinTokenFile: String?
    /// The token itself, in place of a file.
    package var joinToken: String?
    /// The Unix socket of the Workload API.
    package var socket = "/run/signet/agent/workload.sock"
    /// Permission bits of the socket; every caller is attested, so everybody may connect.
    package var socketMode: UInt32 = 0o666
    /// The Unix socket of proxies; nil: `proxy.sock` beside the Workload API's.
    package var proxySocket: String?
    /// Whose that socket is; on a machine without the group, it is the agent's own user's alone.
    package var proxySocketGroup = "signet-proxy"
    /// Permission bits of that socket; nil: 0660 with the group, else 0600.
    package var proxySocketMode: UInt32?
    /// The Unix socket at which tokens are exchanged; nil: none are.
    ///
    /// Its permission bits are those of `socketMode`.
    package var tokenSocket: String?
    /// Health and metrics, on the loopback interface; 0 picks a free port.
    package var telemetryPort: UInt16 = 9812
    package var logLevel = Logger.Level.info
    package var logFormat = LogFormat.text
    /// Whether workloads are shown certificate revocation lists.
    package var workloadCRLs = true

    package init() {}

    /// The socket's path, made absolute by the working directory.
    var absoluteSocket: String { ProcessReading.absolutePath(socket) }

    /// The path of the socket for exchanges, made absolute by the working directory; nil: there is
    /// none.
    var absoluteTokenSocket: String? { tokenSocket.map { ProcessReading.absolutePath($0) } }

    /// The path of the socket of proxies, made absolute by the working directory.
    package var absoluteProxySocket: String {
        if let proxySocket { return ProcessReading.absolutePath(proxySocket) }
        let beside = absoluteSocket
        guard let slash = beside.lastIndex(of: "/") else { return beside + ".proxy" }
        return String(beside[...slash]) + "proxy.sock"
    }

    /// Requires that each socket has a path of its own.
    ///
    /// - Throws: `AgentStartError.socketsCoincide`.
    func requireOwnSockets() throws(AgentStartError) {
        let paths: [(AgentConfigurationKey, String?)] = [
            (.socket, absoluteSocket), (.proxySocket, absoluteProxySocket),
            (.tokenSocket, absoluteTokenSocket),
        ]
        var seen: [String: AgentConfigurationKey] = [:]
        for case (let key, let path?) in paths {
            if let other = seen.updateValue(key, forKey: path) {
                throw .socketsCoincide(other, key, path: path)
            }
        }
    }

    /// Sets one key from text, as a file or a flag gives it.
    ///
    /// - Parameters:
    ///   - key: The key.
    ///   - values: Exactly one, unless the key is a list.
    /// - Throws: `AgentConfigurationError` saying what the key takes.
    package mutating func set(
        _ key: AgentConfigurationKey,
        _ values: [String]
    ) throws(AgentConfigurationError) {
        guard let value = values.first, key.isList || values.count == 1 else {
            throw Self.wrong(key, values.joined(separator: ", "), "one value")
        }
        switch key {
        case .dataDirectory: dataDirectory = try Self.path(key, value)
        case .joinTokenFile: joinTokenFile = try Self.path(key, value)
        case .logFormat:
            guard let format = LogFormat(rawValue: value) else {
                throw Self.wrong(key, value, "json or text")
            }
            logFormat = format
        case .logLevel:
            guard let level = Logger.Level(rawValue: value) else {
                let levels = Logger.Level.allCases.map(\.rawValue).joined(separator: ", ")
                throw Self.wrong(key, value, "one of \(levels)")
            }
            logLevel = level
        case .proxySocket: proxySocket = try Self.path(key, value)
        case .proxySocketGroup:
            guard !value.isEmpty, value.utf8.count <= Self.groupNameBytesMax,
                !value.utf8.contains(0)
            else { throw Self.wrong(key, value, "the name of a group") }
            proxySocketGroup = value
        case .proxySocketMode: proxySocketMode = try Self.mode(key, value)
        case .serverAddresses: serverAddresses = try Self.addresses(key, values)
        case .socket: socket = try Self.path(key, value)
        case .socketMode: socketMode = try Self.mode(key, value)
        case .telemetryPort:
            guard let port = UInt16(value) else { throw Self.wrong(key, value, "a TCP port") }
            telemetryPort = port
        case .tokenSocket: tokenSocket = try Self.path(key, value)
        case .trustDomain:
            do { trustDomain = try TrustDomain(value) } catch {
                throw Self.wrong(key, value, "a trust domain name: \(error)")
            }
        case .workloadCRLs:
            guard let takes = Bool(value) else { throw Self.wrong(key, value, "true or false") }
            workloadCRLs = takes
        }
    }

    private static func mode(
        _ key: AgentConfigurationKey,
        _ value: String
    ) throws(AgentConfigurationError) -> UInt32 {
        guard value.count <= 4, let mode = UInt32(value, radix: 8), mode & ~0o777 == 0 else {
            throw wrong(key, value, "an octal file mode such as 0666")
        }
        return mode
    }

    private static func path(
        _ key: AgentConfigurationKey,
        _ value: String
    ) throws(AgentConfigurationError) -> String {
        guard !value.isEmpty, !value.utf8.contains(0) else { throw wrong(key, value, "a path") }
        return value
    }

    private static func addresses(
        _ key: AgentConfigurationKey,
        _ values: [String]
    ) throws(AgentConfigurationError) -> [ServerAddress] {
        guard values.count <= serverAddressesMax else {
            throw wrong(key, "\(values.count) addresses", "at most \(serverAddressesMax)")
        }
        var addresses: [ServerAddress] = []
        for value in values {
            do throws(ServerAddressError) {
                addresses.append(try ServerAddress(parsing: value))
            } catch {
                throw wrong(key, value, "host:port (\(error))")
            }
        }
        return addresses
    }

    private static func wrong(
        _ key: AgentConfigurationKey,
        _ value: String,
        _ expected: String
    ) -> AgentConfigurationError {
        AgentConfigurationError(key: key, value: value, expected: expected)
    }
}

extension AgentConfiguration: CustomStringConvertible, CustomReflectable {
    /// Without the join token, so that no log line can show it.
    package var description: String { "AgentConfiguration(\(dataDirectory))" }

    package var customMirror: Mirror { Mirror(self, children: ["dataDirectory": dataDirectory]) }
}
