// SPDX-License-Identifier: Apache-2.0

internal import Foundation
internal import Issuance
internal import SwiftASN1

/// Certificates from a running server by kind and place of the authority's key.
///
/// The floor is what no server can leave out: signatures of the same kind of key, by the same library
/// on one core in memory, without anything around them.
enum IssuanceKeys {
    private enum Place: String, CaseIterable {
        case memory
        case disk = "disk, encrypted"
        case token = "PKCS #11 (SoftHSM)"
        case service = "a key service (TestBridge)"
    }

    private struct Case: Sendable {
        let type: AuthorityKeyType
        let place: Place

        var row: String { "SVIDs end to end, \(type.rawValue) in \(place.rawValue)" }
    }

    private static let cases = AuthorityKeyType.allCases.flatMap { type in
        Place.allCases.map { Case(type: type, place: $0) }
    }
    private static let signed = [UInt8](repeating: 0x5A, count: 500)

    static let benchmark = Benchmark(
        name: "issuance-keys",
        rows: cases.map {
            RowDefinition(
                id: $0.row,
                unit: "SVID/s",
                peer: "\($0.type.rawValue) signatures",
                goal: .none
            )
        },
        readings: { settings in
            var readings: [Reading] = []
            for item in cases { readings += await measure(item, settings) }
            return readings
        }
    )

    private static func measure(_ item: Case, _ settings: BenchmarkSettings) async -> [Reading] {
        do {
            let signer = try await signer(item.type)
            let server = try ServerHost(settings) { try configuration(of: item, in: $0) }
            guard item.place == .service else {
                return try await server.run { try await measure(item, signer, $0, settings) }
            }
            return try await withKeyService(for: server, settings) {
                try await server.run { try await measure(item, signer, $0, settings) }
            }
        } catch {
            // One token that is not installed takes nothing from the other rows.
            return [Reading(row: item.row, value: nil, why: "\(error)")]
        }
    }

    private static func measure(
        _ item: Case,
        _ signer: MemorySigner,
        _ server: ServerHost,
        _ settings: BenchmarkSettings
    ) async throws -> [Reading] {
        try await server.apply(
            ServerHost.entry("web", path: "web", node: "bench:node", workload: "unix:uid:1")
        )
        let load = try await IssuanceService.Load(server, settings)
        let time = settings.size(Duration.seconds(4), quick: .milliseconds(300))
        _ = try await load.rate(batch: load.requests, time: time / 2)
        var readings: [Reading] = []
        for _ in 0..<settings.runs {
            let floor = try signatures(by: signer, for: time / 4)
            let rate = try await load.rate(batch: load.requests, time: time)
            readings.append(Reading(row: item.row, value: rate, peer: floor))
        }
        return readings
    }

    /// Runs `body` while a key service answers where the server's configuration says.
    private static func withKeyService<Value: Sendable>(
        for server: ServerHost,
        _ settings: BenchmarkSettings,
        _ body: () async throws -> Value
    ) async throws -> Value {
        let socket = socket(in: server.folder)
        let service = try ChildProcess(settings.executable("signet-bench-keys"), [socket])
        do {
            try await Waiting.until("the key service's socket") {
                guard service.isRunning else {
                    throw BenchmarkError("it has ended: \(service.output)")
                }
                return FileManager.default.fileExists(atPath: socket)
            }
            let value = try await body()
            try await service.end(by: SIGKILL)
            return value
        } catch {
            try? await service.end(by: SIGKILL)
            // It may have had no turn to remove its folder.
            try? await server.remove()
            throw error
        }
    }

    private static func socket(in folder: String) -> String { "\(folder)/keys.sock" }

    /// A new key, made by `openssl`, in memory.
    private static func signer(_ type: AuthorityKeyType) async throws -> MemorySigner {
        let kind =
            switch type {
            case .p256: ["EC", "ec_paramgen_curve:P-256"]
            case .p384: ["EC", "ec_paramgen_curve:P-384"]
            case .rsa2048: ["RSA", "rsa_keygen_bits:2048"]
            case .rsa4096: ["RSA", "rsa_keygen_bits:4096"]
            }
        let key = try await Tool.output(
            "/usr/bin/openssl",
            ["genpkey", "-algorithm", kind[0], "-pkeyopt", kind[1]]
        )
        // PEM: as DER it would write some kinds in a form of their own.
        let document = try PEMDocument(pemString: String(decoding: key, as: UTF8.self))
        return try MemorySigner(pkcs8DER: document.derBytes)
    }

    /// Signatures per second on one core.
    private static func signatures(by signer: MemorySigner, for time: Duration) throws -> Double {
        let start = ContinuousClock.now
        var count = 0
        repeat {
            _ = try signer.signature(for: signed)
            count += 1
        } while .now - start < time
        return Double(count) / (ContinuousClock.now - start).seconds
    }

    private static func configuration(of item: Case, in folder: String) throws -> String {
        let storage =
            switch item.place {
            case .memory: "keyStorage: memory"
            case .disk:
                """
                keyStorage: encrypted
                keyPassphrase: file:\(try secret("correct horse battery staple", "passphrase", folder))
                """
            case .token:
                """
                keyStorage: pkcs11
                pkcs11Module: \(SoftToken.module)
                pkcs11Token: \(try SoftToken.make(in: folder))
                pkcs11PIN: file:\(try secret(SoftToken.pin, "pin", folder))
                """
            case .service: "keyStorage: service\nserviceSocket: \(socket(in: folder))"
            }
        return "\(storage)\nauthorityKeyType: \(item.type.rawValue)"
    }

    /// Writes a secret where nobody else reads it.
    private static func secret(_ text: String, _ name: String, _ folder: String) throws -> String {
        let path = "\(folder)/\(name)"
        let isWritten = FileManager.default.createFile(
            atPath: path,
            contents: Data(text.utf8),
            attributes: [.posixPermissions: 0o600]
        )
        guard isWritten else { throw BenchmarkError("cannot write \(path)") }
        return path
    }
}

/// A token of SoftHSM for one server.
private enum SoftToken {
    static let module = "/usr/lib/softhsm/libsofthsm2.so"
    static let pin = "4711"
    private static let label = "bench"
    private static let tool = "/usr/bin/softhsm2-util"

    /// Makes the token, and has programs started from now on find it.
    ///
    /// - Returns: Its label.
    static func make(in folder: String) throws -> String {
        guard FileManager.default.fileExists(atPath: module),
            FileManager.default.isExecutableFile(atPath: tool)
        else { throw BenchmarkError("softhsm2 is not installed") }
        let tokens = "\(folder)/tokens"
        let configuration = "\(folder)/softhsm2.conf"
        // A server that starts again keeps its token.
        if FileManager.default.fileExists(atPath: configuration) { return label }
        try FileManager.default.createDirectory(
            atPath: tokens,
            withIntermediateDirectories: false
        )
        let text = "directories.tokendir = \(tokens)\nobjectstore.backend = file\n"
        try Data(text.utf8).write(to: URL(filePath: configuration))
        unsafe setenv("SOFTHSM2_CONF", configuration, 1)
        let process = Process()
        process.executableURL = URL(filePath: tool)
        process.arguments = [
            "--init-token", "--free", "--label", label, "--so-pin", "12345678", "--pin", pin,
        ]
        process.standardOutput = FileHandle.nullDevice
        try Children.start(process)
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw BenchmarkError("\(tool) made no token")
        }
        return label
    }
}
