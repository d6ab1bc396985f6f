// SPDX-License-Identifier: Apache-2.0

/// The keys of the agent's configuration, as they are written in its file; each is described in
/// docs/operations.md.
package enum AgentConfigurationKey: String, CaseIterable, Sendable {
    case dataDirectory
    case joinTokenFile
    case logFormat
    case logLevel
    case proxySocket
    case proxySocketGroup
    case proxySocketMode
    case serverAddresses
    case socket
    case socketMode
    case telemetryPort
    case tokenSocket
    case trustDomain
    case workloadCRLs

    /// Whether the key takes several values.
    package var isList: Bool { self == .serverAddresses }
}

/// A value that its key does not take.
package struct AgentConfigurationError: Error, Hashable, Sendable, CustomStringConvertible {
    package let key: AgentConfigurationKey
    package let value: String
    /// What the key takes.
    package let expected: String

    package var description: String { "\(key.rawValue): \"\(value)\" is not \(expected)" }
}
