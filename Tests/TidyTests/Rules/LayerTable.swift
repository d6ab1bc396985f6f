// SPDX-License-Identifier: Apache-2.0

/// The targets and what each may import: the table of docs/ARCHITECTURE.md, as data.
///
/// Imports point down only, never sideways. A target that is not here may not exist.
enum LayerTable {
    struct Target: Equatable, Sendable {
        var layer: Int
        var name: String
        /// Targets of this package.
        var imports: Set<String>
        /// Modules of other packages.
        var thirdParty: Set<String>

        init(
            _ layer: Int,
            _ name: String,
            _ imports: Set<String> = [],
            thirdParty: Set<String> = []
        ) {
            self.layer = layer
            self.name = name
            self.imports = imports
            self.thirdParty = thirdParty
        }

        /// The row of docs/ARCHITECTURE.md.
        var row: String {
            func cell(_ names: Set<String>) -> String {
                names.isEmpty ? "-" : names.sorted().map { "`\($0)`" }.joined(separator: ", ")
            }
            return "| \(layer) | `\(name)` | \(cell(imports)) | \(cell(thirdParty)) |"
        }
    }

    private static let x509: Set<String> = ["Crypto", "SwiftASN1", "X509"]
    private static let grpc: Set<String> = ["GRPCCore", "GRPCProtobuf", "SwiftProtobuf"]
    private static let grpcTransport: Set<String> = [
        "GRPCNIOTransportCore", "GRPCNIOTransportHTTP2Posix",
    ]
    private static let nio: Set<String> = ["NIOCore", "NIOPosix"]
    private static let daemon = grpc.union(grpcTransport).union(nio).union(x509)
        .union(["Logging", "NIOSSL", "ServiceLifecycle"])
    private static let everyEdge: Set<String> = [
        "CLinux", "Clocks", "Configuration", "ControlAPI", "ControlAPIProtos", "DurableFiles",
        "GRPCPeer", "Telemetry",
    ]

    static let targets: [Target] = [
        Target(0, "CLinux"),
        Target(0, "CPKCS11"),
        Target(0, "CTLS"),
        Target(0, "ControlAPIProtos", thirdParty: grpc),
        Target(0, "HTTPSemantics"),
        Target(0, "SPIFFE", thirdParty: x509.union(["CryptoExtras"])),

        Target(1, "AuditLog", ["SPIFFE"], thirdParty: ["Crypto"]),
        Target(1, "Authorization", ["HTTPSemantics", "SPIFFE"]),
        Target(1, "CTLSBoringSSL", ["CTLS"], thirdParty: ["NIOSSL"]),
        Target(1, "CTLSOpenSSL", ["CTLS"]),
        Target(
            1,
            "DecisionLog",
            ["ControlAPIProtos", "HTTPSemantics", "SPIFFE"],
            thirdParty: grpc.union(["Crypto"])
        ),
        Target(1, "HTTPCodec", ["HTTPSemantics"]),
        Target(1, "Issuance", ["SPIFFE"], thirdParty: ["Crypto", "CryptoExtras", "SwiftASN1"]),
        Target(1, "NodeAttestation", ["SPIFFE"], thirdParty: ["Crypto"]),
        Target(1, "NodeSync", ["SPIFFE"]),
        Target(1, "Routing", ["HTTPSemantics", "SPIFFE"]),
        Target(1, "StrictYAML"),

        Target(
            2,
            "Backup",
            ["AuditLog", "Issuance", "NodeSync", "SPIFFE"],
            thirdParty: ["Crypto"]
        ),
        Target(
            2,
            "BundleClient",
            ["CLinux", "HTTPCodec", "HTTPSemantics", "SPIFFE"],
            thirdParty: nio.union(["NIOSSL", "NIOTLS"])
        ),
        Target(2, "Clocks", ["CLinux"]),
        Target(2, "Configuration", ["StrictYAML"]),
        Target(
            2,
            "ControlAPI",
            ["ControlAPIProtos", "NodeSync", "Routing", "SPIFFE"],
            thirdParty: grpc
        ),
        Target(
            2,
            "Datastore",
            ["NodeSync", "SPIFFE"],
            thirdParty: ["GRDB"]
        ),
        Target(
            2,
            "DecisionWire",
            ["Authorization", "ControlAPIProtos", "SPIFFE"],
            thirdParty: grpc
        ),
        Target(2, "DurableFiles"),
        Target(
            2,
            "GRPCPeer",
            ["CLinux", "SPIFFE"],
            thirdParty: grpcTransport.union(nio).union([
                "GRPCCore", "NIOHPACK", "NIOHTTP2", "NIOSSL", "NIOTLS", "SwiftASN1", "X509",
            ])
        ),
        Target(
            2,
            "PolicyDocuments",
            ["Authorization", "HTTPSemantics", "Routing", "SPIFFE", "StrictYAML"]
        ),
        Target(
            2,
            "PublicEndpoint",
            ["HTTPCodec", "HTTPSemantics", "SPIFFE"],
            thirdParty: nio.union(x509).union(["NIOSSL"])
        ),
        Target(
            2,
            "Reactor",
            ["CLinux", "CTLS", "CTLSBoringSSL", "CTLSOpenSSL", "HTTPSemantics", "SPIFFE"],
            thirdParty: ["BasicContainers", "ContainersPreview"]
        ),
        Target(2, "Telemetry", ["CLinux"], thirdParty: nio.union(["Logging", "NIOHTTP1"])),
        Target(2, "TokenEndpoint", ["HTTPCodec", "HTTPSemantics", "SPIFFE"], thirdParty: nio),

        Target(
            3,
            "CAServer",
            everyEdge.union([
                "AuditLog", "Authorization", "Backup", "BundleClient", "CPKCS11", "Datastore",
                "DecisionLog", "DecisionWire", "HTTPSemantics", "Issuance", "NodeAttestation",
                "NodeSync", "PolicyDocuments", "PublicEndpoint", "Routing", "SPIFFE",
            ]),
            thirdParty: daemon.union(["CryptoExtras"])
        ),
        Target(
            3,
            "MTLSProxy",
            [
                "Authorization", "CLinux", "Clocks", "ControlAPI", "ControlAPIProtos",
                "DecisionLog", "DecisionWire", "GRPCPeer", "HTTPCodec", "HTTPSemantics",
                "NodeSync", "Reactor", "Routing", "SPIFFE", "Telemetry",
            ],
            thirdParty: grpc.union(grpcTransport).union(["ContainersPreview", "Logging"])
        ),
        Target(
            3,
            "NodeAgent",
            everyEdge.union([
                "AuditLog", "DecisionLog", "NodeAttestation", "NodeSync", "Routing", "SPIFFE",
                "TokenEndpoint",
            ]),
            thirdParty: daemon
        ),

        Target(
            4,
            "signet",
            everyEdge.union([
                "AuditLog", "Authorization", "DecisionLog", "Issuance", "NodeAttestation",
                "PolicyDocuments", "SPIFFE",
            ]),
            thirdParty: daemon.union(["ArgumentParser", "Yams"])
        ),
        Target(
            4,
            "signet-agent",
            ["Clocks", "DurableFiles", "GRPCPeer", "NodeAgent", "SPIFFE", "Telemetry"],
            thirdParty: ["ArgumentParser", "Logging", "ServiceLifecycle", "UnixSignals"]
        ),
        Target(
            4,
            "signet-proxy",
            ["Clocks", "MTLSProxy", "Telemetry"],
            thirdParty: ["ArgumentParser", "Logging", "ServiceLifecycle", "UnixSignals"]
        ),
        Target(
            4,
            "signet-server",
            ["CAServer", "Clocks", "SPIFFE", "Telemetry"],
            thirdParty: ["ArgumentParser", "Logging", "ServiceLifecycle", "UnixSignals"]
        ),
    ]

    /// What an executable must not link, however indirectly.
    static let forbidden: [String: Set<String>] = [
        "signet-agent": [
            "Authorization", "Backup", "BundleClient", "CAServer", "Datastore", "GRDB", "Issuance",
            "MTLSProxy", "PolicyDocuments", "PublicEndpoint",
        ],
        "signet": [
            "Backup", "BundleClient", "CAServer", "Datastore", "GRDB", "MTLSProxy", "NodeAgent",
            "PublicEndpoint",
        ],
        "signet-proxy": [
            "Backup", "BundleClient", "CAServer", "Configuration", "Datastore", "GRDB", "Issuance",
            "NodeAgent",
            "PolicyDocuments", "PublicEndpoint", "StrictYAML", "Yams",
        ],
        "signet-server": ["MTLSProxy", "NodeAgent"],
    ]

    /// Modules that come with the toolchain; cores are held to fewer by `SourceRule.coreRules`.
    static let toolchain: Set<String> = [
        "Dispatch", "Foundation", "FoundationEssentials", "Glibc", "Musl", "Swift",
        "Synchronization",
    ]

    private static let byName = Dictionary(uniqueKeysWithValues: targets.map { ($0.name, $0) })

    static func target(_ name: String) -> Target? { byName[name] }

    /// Targets in C.
    static let cShims: Set<String> = ["CLinux", "CPKCS11", "CTLS", "CTLSBoringSSL", "CTLSOpenSSL"]

    /// Whether the target is one of the pure ones: hand-written Swift of layers 0 and 1.
    static func isCore(_ name: String) -> Bool {
        guard name != "ControlAPIProtos", !cShims.contains(name) else { return false }
        return byName[name].map { $0.layer <= 1 } ?? false
    }

    /// Everything a target links by way of this table.
    static func closure(of name: String) -> Set<String> {
        var seen: Set<String> = []
        var open = [name]
        while let next = open.popLast() {
            guard seen.insert(next).inserted, let target = byName[next] else { continue }
            open += target.imports
            seen.formUnion(target.thirdParty)
        }
        return seen.subtracting([name])
    }

    /// What is wrong with one file's imports.
    static func findings(in source: SwiftSource) -> [Finding] {
        guard let target = target(source.target) else {
            return [Finding(1, "target '\(source.target)' is not in the layer table")]
        }
        return source.imports.compactMap { line in
            let allowed =
                target.imports.contains(line.module) || target.thirdParty.contains(line.module)
                || toolchain.contains(line.module)
            return allowed
                ? nil : Finding(line.line, "\(target.name) may not import \(line.module)")
        }
    }
}
