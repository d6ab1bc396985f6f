// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0

import PackageDescription

/// Settings of every hand-written Swift target (see docs/ARCHITECTURE.md, "House rules").
let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InferIsolatedConformances"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .treatAllWarnings(as: .error),
    .strictMemorySafety(),
]

/// Generated code keeps the language mode and import rules, and only those.
let generatedSettings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

extension Target.Dependency {
    static let argumentParser: Self = .product(
        name: "ArgumentParser",
        package: "swift-argument-parser"
    )
    static let asn1: Self = .product(name: "SwiftASN1", package: "swift-asn1")
    static let collections: Self = .product(name: "DequeModule", package: "swift-collections")
    static let containers: Self = .product(name: "BasicContainers", package: "swift-collections")
    static let boxes: Self = .product(name: "ContainersPreview", package: "swift-collections")
    static let crypto: Self = .product(name: "Crypto", package: "swift-crypto")
    static let cryptoExtras: Self = .product(name: "CryptoExtras", package: "swift-crypto")
    static let grdb: Self = .product(name: "GRDB", package: "GRDB.swift")
    static let grpc: Self = .product(name: "GRPCCore", package: "grpc-swift-2")
    static let grpcProtobuf: Self = .product(name: "GRPCProtobuf", package: "grpc-swift-protobuf")
    static let grpcTransport: Self = .product(
        name: "GRPCNIOTransportHTTP2Posix",
        package: "grpc-swift-nio-transport"
    )
    static let lifecycle: Self = .product(
        name: "ServiceLifecycle",
        package: "swift-service-lifecycle"
    )
    static let logging: Self = .product(name: "Logging", package: "swift-log")
    static let nio: Self = .product(name: "NIOCore", package: "swift-nio")
    static let nioEmbedded: Self = .product(name: "NIOEmbedded", package: "swift-nio")
    static let nioHTTP1: Self = .product(name: "NIOHTTP1", package: "swift-nio")
    static let nioHTTP2: Self = .product(name: "NIOHTTP2", package: "swift-nio-http2")
    static let nioHPACK: Self = .product(name: "NIOHPACK", package: "swift-nio-http2")
    static let nioPosix: Self = .product(name: "NIOPosix", package: "swift-nio")
    static let nioTLS: Self = .product(name: "NIOTLS", package: "swift-nio")
    static let nioSSL: Self = .product(name: "NIOSSL", package: "swift-nio-ssl")
    static let protobuf: Self = .product(name: "SwiftProtobuf", package: "swift-protobuf")
    static let unixSignals: Self = .product(
        name: "UnixSignals",
        package: "swift-service-lifecycle"
    )
    static let x509: Self = .product(name: "X509", package: "swift-certificates")
    static let yams: Self = .product(name: "Yams", package: "Yams")
}

/// One library target of the DAG (docs/ARCHITECTURE.md).
func library(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

/// One executable: argument parsing and wiring only.
func executable(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .executableTarget(
        name: name,
        dependencies: dependencies + [.argumentParser],
        swiftSettings: settings
    )
}

/// One test target.
func tests(
    _ name: String,
    _ dependencies: [Target.Dependency],
    resources: [Resource] = []
)
    -> Target
{
    .testTarget(
        name: name,
        dependencies: dependencies,
        resources: resources,
        swiftSettings: settings
    )
}

let package = Package(
    name: "signet",
    platforms: [.macOS(.v15)],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
        .package(url: "https://github.com/apple/swift-asn1", exact: "1.7.4"),
        .package(url: "https://github.com/apple/swift-certificates", exact: "1.21.1"),
        .package(url: "https://github.com/apple/swift-collections", exact: "1.6.0"),
        .package(url: "https://github.com/apple/swift-crypto", exact: "4.5.2"),
        .package(url: "https://github.com/apple/swift-log", exact: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", exact: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-http2", exact: "1.46.0"),
        .package(url: "https://github.com/apple/swift-nio-ssl", exact: "2.37.6"),
        .package(url: "https://github.com/apple/swift-protobuf", exact: "1.39.0"),
        .package(url: "https://github.com/groue/GRDB.swift", exact: "7.10.0"),
        .package(url: "https://github.com/grpc/grpc-swift-2", exact: "2.4.3"),
        .package(url: "https://github.com/grpc/grpc-swift-nio-transport", exact: "2.9.2"),
        .package(url: "https://github.com/grpc/grpc-swift-protobuf", exact: "2.4.1"),
        .package(url: "https://github.com/jpsim/Yams", exact: "6.2.2"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", exact: "2.13.0"),
        // Only needed by the packages above; required here so that every build has the same graph.
        .package(url: "https://github.com/apple/swift-algorithms", exact: "1.2.1"),
        .package(url: "https://github.com/apple/swift-async-algorithms", exact: "1.1.4"),
        .package(url: "https://github.com/apple/swift-atomics", exact: "1.3.0"),
        .package(url: "https://github.com/apple/swift-http-structured-headers", exact: "1.7.0"),
        .package(url: "https://github.com/apple/swift-http-types", exact: "1.8.0"),
        .package(url: "https://github.com/apple/swift-nio-extras", exact: "1.35.2"),
        .package(url: "https://github.com/apple/swift-nio-transport-services", exact: "1.28.0"),
        .package(url: "https://github.com/apple/swift-numerics", exact: "1.1.1"),
        .package(url: "https://github.com/apple/swift-system", exact: "1.8.1"),
    ],
    targets: [
        // Layer 0: vocabulary.
        library("HTTPSemantics", []),
        library("SPIFFE", [.x509, .asn1, .crypto, .cryptoExtras]),
        .target(name: "CLinux"),
        // TLS behind one table of functions, over two libraries in one process.
        .target(name: "CPKCS11"),
        .target(name: "CTLS"),
        .target(name: "CTLSBoringSSL", dependencies: ["CTLS", .nioSSL]),
        .target(
            name: "CTLSOpenSSL",
            dependencies: ["CTLS"],
            linkerSettings: [.linkedLibrary("ssl"), .linkedLibrary("crypto")]
        ),

        // Layer 1: pure cores.
        library("AuditLog", ["SPIFFE", .crypto]),
        library("Authorization", ["HTTPSemantics", "SPIFFE"]),
        library(
            "DecisionLog",
            ["ControlAPIProtos", "HTTPSemantics", "SPIFFE", .crypto, .protobuf]
        ),
        library("HTTPCodec", ["HTTPSemantics"]),
        library("Issuance", ["SPIFFE", .asn1, .crypto, .cryptoExtras]),
        library("NodeAttestation", ["SPIFFE", .crypto]),
        library("NodeSync", ["SPIFFE"]),
        library("Routing", ["HTTPSemantics", "SPIFFE"]),
        library("StrictYAML", []),

        // Layer 2: edges.
        library("Backup", ["AuditLog", "Issuance", "NodeSync", "SPIFFE", .crypto]),
        library(
            "BundleClient",
            [
                "CLinux", "HTTPCodec", "HTTPSemantics", "SPIFFE", .nio, .nioPosix, .nioSSL, .nioTLS,
            ]
        ),
        library("Clocks", ["CLinux"]),
        library("Configuration", ["StrictYAML"]),
        .target(
            name: "ControlAPIProtos",
            dependencies: [.grpc, .grpcProtobuf, .protobuf],
            exclude: ["Protos"],
            swiftSettings: generatedSettings
        ),
        library(
            "ControlAPI",
            ["ControlAPIProtos", "SPIFFE", "NodeSync", "Routing", .grpc, .grpcProtobuf, .protobuf]
        ),
        library("Datastore", ["SPIFFE", "NodeSync", .grdb]),
        library("DecisionWire", ["Authorization", "ControlAPIProtos", "SPIFFE", .protobuf]),
        library("DurableFiles", []),
        library(
            "GRPCPeer",
            [
                "CLinux", "SPIFFE", .grpc, .grpcTransport, .nio, .nioPosix, .nioHTTP2, .nioHPACK,
                .nioSSL, .nioTLS,
            ]
        ),
        library(
            "PolicyDocuments",
            ["Authorization", "HTTPSemantics", "Routing", "SPIFFE", "StrictYAML"]
        ),
        library(
            "PublicEndpoint",
            [
                "HTTPCodec", "HTTPSemantics", "SPIFFE", .asn1, .crypto, .nio, .nioPosix, .nioSSL,
                .x509,
            ]
        ),
        .target(
            name: "Reactor",
            dependencies: [
                "CLinux", "CTLS", "CTLSBoringSSL", "CTLSOpenSSL", "HTTPSemantics", "SPIFFE", .boxes,
                .containers,
            ],
            // For properties that return spans.
            swiftSettings: settings + [.enableExperimentalFeature("Lifetimes")]
        ),
        library(
            "TokenEndpoint",
            ["HTTPCodec", "HTTPSemantics", "SPIFFE", .nio, .nioPosix]
        ),
        library("Telemetry", ["CLinux", .logging, .nio, .nioPosix, .nioHTTP1]),

        // Layer 3: daemons.
        library(
            "CAServer",
            [
                "AuditLog", "Authorization", "Backup", "BundleClient", "CLinux", "CPKCS11",
                "Clocks", "Configuration", "ControlAPI", "ControlAPIProtos", "Datastore",
                "DecisionLog", "DecisionWire", "DurableFiles", "GRPCPeer",
                "HTTPSemantics", "Issuance", "NodeAttestation", "NodeSync", "PolicyDocuments",
                "PublicEndpoint", "Routing", "SPIFFE", "Telemetry", .crypto, .cryptoExtras, .grpc,
                .grpcTransport, .lifecycle, .logging, .protobuf,
            ]
        ),
        library(
            "NodeAgent",
            [
                "AuditLog", "CLinux", "Clocks", "Configuration", "ControlAPI", "ControlAPIProtos",
                "DecisionLog", "DurableFiles", "GRPCPeer", "NodeAttestation", "NodeSync", "Routing",
                "SPIFFE", "Telemetry", "TokenEndpoint", .asn1,
                .crypto, .grpc, .grpcTransport, .lifecycle, .logging, .protobuf, .x509,
            ]
        ),
        library(
            "MTLSProxy",
            [
                "Authorization", "CLinux", "Clocks", "ControlAPI", "ControlAPIProtos",
                "DecisionLog", "DecisionWire", "GRPCPeer", "HTTPCodec", "HTTPSemantics",
                "NodeSync", "Reactor", "Routing", "SPIFFE", "Telemetry", .boxes, .grpc,
                .grpcTransport, .logging,
                .protobuf,
            ]
        ),

        // Layer 4: executables.
        executable(
            "signet-server",
            ["CAServer", "Clocks", "SPIFFE", "Telemetry", .lifecycle, .logging, .unixSignals]
        ),
        executable(
            "signet-agent",
            [
                "Clocks", "GRPCPeer", "NodeAgent", "SPIFFE", "Telemetry", .lifecycle, .logging,
                .unixSignals,
            ]
        ),
        executable(
            "signet-proxy",
            ["Clocks", "MTLSProxy", "Telemetry", .lifecycle, .logging, .unixSignals]
        ),
        executable(
            "signet",
            [
                "AuditLog", "CLinux", "Clocks", "ControlAPI", "ControlAPIProtos", "DecisionLog",
                "DurableFiles", "GRPCPeer", "Issuance", "PolicyDocuments", "SPIFFE", .crypto,
                .grpc, .grpcTransport, .protobuf, .yams,
            ]
        ),

        // Tests.
        .target(
            name: "TestPKI",
            dependencies: ["SPIFFE", .asn1, .crypto, .x509],
            path: "Tests/TestPKI",
            swiftSettings: settings
        ),
        .target(name: "TestSeeds", path: "Tests/TestSeeds", swiftSettings: settings),
        .target(
            name: "TestBridge",
            dependencies: [
                "ControlAPIProtos", "TestPKI", .asn1, .crypto, .cryptoExtras, .grpc,
                .grpcTransport, .protobuf, .x509,
            ],
            path: "Tests/TestBridge",
            swiftSettings: settings
        ),
        .executableTarget(
            name: "signet-bench",
            dependencies: [
                "AuditLog", "Authorization", "CLinux", "Clocks", "ControlAPI",
                "ControlAPIProtos", "Datastore", "GRPCPeer", "HTTPSemantics", "Issuance",
                "MTLSProxy", "NodeAttestation", "NodeSync", "Reactor", "SPIFFE", .argumentParser,
                .asn1, .crypto, .grpc, .grpcTransport, .protobuf, .unixSignals, .x509,
            ],
            path: "Tests/Benchmarks/Runner",
            swiftSettings: settings
        ),
        .executableTarget(
            name: "signet-bench-keys",
            dependencies: ["TestBridge"],
            path: "Tests/Benchmarks/Keys",
            swiftSettings: settings
        ),
        .executableTarget(
            name: "signet-bench-peer",
            dependencies: [.grpc, .grpcTransport],
            path: "Tests/Benchmarks/Peer",
            swiftSettings: settings
        ),
        .executableTarget(
            name: "signet-bench-proxy",
            dependencies: [
                "Authorization", "Clocks", "HTTPSemantics", "MTLSProxy", "Reactor", "Routing",
                "SPIFFE", "Telemetry", .argumentParser, .asn1,
            ],
            path: "Tests/Benchmarks/ProxyHost",
            swiftSettings: settings
        ),
        .target(
            name: "FuzzTargets",
            dependencies: [
                "AuditLog", "Authorization", "Backup", "ControlAPI", "ControlAPIProtos",
                "DecisionLog", "HTTPCodec", "HTTPSemantics", "Issuance", "MTLSProxy", "NodeSync",
                "PolicyDocuments", "PublicEndpoint", "Routing", "SPIFFE", "StrictYAML",
                "TokenEndpoint", .asn1, .crypto, .protobuf, .x509, .yams,
            ],
            path: "Tests/Fuzz/Targets",
            swiftSettings: settings
        ),
        .testTarget(
            name: "FuzzReplayTests",
            dependencies: ["FuzzTargets"],
            path: "Tests/Fuzz/ReplayTests",
            swiftSettings: settings
        ),
        .target(
            name: "TestPrograms",
            dependencies: ["Clocks", .logging, .nio, .nioPosix],
            path: "Tests/TestPrograms",
            swiftSettings: settings
        ),
        .testTarget(
            name: "ConformanceTests",
            dependencies: ["HTTPCodec", "HTTPSemantics", "TestPrograms"],
            exclude: ["HTTPReading", "generate"],
            swiftSettings: settings
        ),
        .testTarget(
            name: "EndToEndTests",
            dependencies: [
                "AuditLog", "CAServer", "Clocks", "Datastore", "Issuance", "NodeAgent", "NodeSync",
                "SPIFFE", "TestBridge", "TestPKI", "TestPrograms", "TestSeeds", .logging, .yams,
            ],
            exclude: ["Peers", "Recorder"],
            swiftSettings: settings
        ),
        tests("AuditLogTests", ["AuditLog", "SPIFFE", "TestSeeds", .crypto]),
        tests(
            "AuthorizationTests",
            ["Authorization", "HTTPCodec", "HTTPSemantics", "SPIFFE", "TestSeeds"]
        ),
        tests(
            "BackupTests",
            ["AuditLog", "Backup", "Issuance", "NodeSync", "SPIFFE", "TestSeeds"]
        ),
        tests(
            "BundleClientTests",
            [
                "BundleClient", "HTTPSemantics", "SPIFFE", "TestPKI", .asn1, .crypto, .nio,
                .nioPosix, .nioSSL, .x509,
            ]
        ),
        tests(
            "CAServerTests",
            [
                "AuditLog", "Authorization", "Backup", "BundleClient", "CAServer", "Clocks",
                "ControlAPI", "ControlAPIProtos", "Datastore", "DecisionLog", "DurableFiles",
                "GRPCPeer", "HTTPSemantics", "Issuance", "NodeAttestation", "NodeSync",
                "PolicyDocuments", "PublicEndpoint", "Routing", "SPIFFE", "Telemetry", "TestBridge",
                "TestPKI", "TestPrograms", "TestSeeds", .asn1, .crypto, .grdb, .grpc,
                .grpcTransport, .logging, .nio, .nioPosix, .protobuf, .x509,
            ]
        ),
        tests("ClocksTests", ["Clocks"]),
        tests(
            "ControlAPITests",
            [
                "ControlAPI", "ControlAPIProtos", "NodeSync", "Routing", "SPIFFE", .grpc, .protobuf,
            ]
        ),
        tests(
            "DatastoreTests",
            ["Datastore", "NodeSync", "SPIFFE", "TestPKI", "TestSeeds", .grdb]
        ),
        tests(
            "DecisionLogTests",
            ["ControlAPIProtos", "DecisionLog", "HTTPSemantics", .crypto, .protobuf]
        ),
        tests("DurableFilesTests", ["DurableFiles"]),
        tests(
            "CommandLineTests",
            [
                "AuditLog", "ControlAPIProtos", "DecisionLog", "GRPCPeer", "SPIFFE", "TestPKI",
                "TestPrograms", "signet", .crypto, .protobuf,
            ]
        ),
        tests(
            "GRPCPeerTests",
            [
                "CLinux", "Clocks", "GRPCPeer", "SPIFFE", "TestPKI", "TestPrograms", .crypto, .grpc,
                .grpcTransport, .nio, .nioPosix,
            ]
        ),
        tests("HTTPCodecTests", ["HTTPCodec", "HTTPSemantics", "TestSeeds"]),
        tests(
            "IssuanceTests",
            [
                "Issuance", "SPIFFE", "TestPKI", "TestPrograms", "TestSeeds", .asn1, .crypto,
                .cryptoExtras, .x509,
            ]
        ),
        tests(
            "NodeAgentTests",
            [
                "AuditLog", "Authorization", "CAServer", "CLinux", "Clocks", "ControlAPI",
                "ControlAPIProtos", "DecisionLog", "DurableFiles", "GRPCPeer", "HTTPSemantics",
                "Issuance", "MTLSProxy", "NodeAgent", "NodeAttestation", "NodeSync",
                "PublicEndpoint", "Routing", "SPIFFE", "Telemetry", "TestPKI", "TestPrograms",
                "TestSeeds", .crypto, .grpc, .grpcTransport, .logging, .nio, .nioPosix, .protobuf,
            ]
        ),
        tests(
            "MTLSProxyTests",
            [
                "Authorization", "Clocks", "ControlAPI", "ControlAPIProtos", "GRPCPeer",
                "HTTPSemantics", "MTLSProxy", "NodeSync", "Reactor", "Routing", "SPIFFE",
                "Telemetry", "TestPKI", "TestPrograms", "TestSeeds", .crypto, .grpc, .grpcTransport,
                .logging, .protobuf,
            ]
        ),
        tests("NodeAttestationTests", ["NodeAttestation", "SPIFFE"]),
        tests("NodeSyncTests", ["NodeSync", "SPIFFE", "TestPKI", "TestSeeds"]),
        tests(
            "PolicyDocumentsTests",
            [
                "Authorization", "HTTPSemantics", "PolicyDocuments", "Routing", "SPIFFE",
                "StrictYAML", "TestSeeds", .yams,
            ]
        ),
        tests(
            "PublicEndpointTests",
            [
                "GRPCPeer", "PublicEndpoint", "SPIFFE", "TestPKI", .asn1, .crypto, .nio,
                .nioEmbedded, .nioPosix, .nioSSL, .x509,
            ]
        ),
        tests("RoutingTests", ["Routing", "SPIFFE"]),
        tests(
            "ReactorTests",
            [
                "HTTPSemantics", "Reactor", "SPIFFE", "TestPKI", "TestPrograms", "TestSeeds", .asn1,
                .boxes, .crypto, .x509,
            ]
        ),
        tests(
            "SimulationTests",
            [
                "AuditLog", "Authorization", "CAServer", "Clocks", "ControlAPI", "Datastore",
                "DurableFiles", "Issuance", "MTLSProxy", "NodeAgent", "NodeSync", "PolicyDocuments",
                "Reactor", "SPIFFE", "Telemetry", "TestPKI", "TestSeeds", .asn1, .crypto, .logging,
                .x509,
            ]
        ),
        tests(
            "SPIFFETests",
            ["SPIFFE", "TestPKI", "TestSeeds", .asn1, .crypto, .cryptoExtras, .x509]
        ),
        tests("TelemetryTests", ["Telemetry", .logging, .nio, .nioPosix]),
        tests("TidyTests", []),
        tests(
            "TokenEndpointTests",
            ["GRPCPeer", "SPIFFE", "TestPrograms", "TokenEndpoint", .nio, .nioEmbedded, .nioPosix]
        ),
    ]
)
