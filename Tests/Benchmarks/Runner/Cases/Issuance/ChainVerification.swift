// SPDX-License-Identifier: Apache-2.0

internal import Foundation
internal import SPIFFE
internal import SwiftASN1

/// Chains verified on one core: a leaf and its root, both P-256, with every rule of SPIFFE.
///
/// The floor is OpenSSL's X509_verify_cert of the same leaf, which knows no SPIFFE ID. Both read the
/// leaf from DER each time and have read the root before.
enum ChainVerification {
    private static let row = "verified chains"

    static let benchmark = Benchmark(
        name: "chain-verification",
        rows: [
            RowDefinition(
                id: row,
                unit: "chains/s",
                peer: "OpenSSL X509_verify_cert",
                goal: .none
            )
        ],
        readings: { settings in
            let folder =
                NSTemporaryDirectory() + "signet-bench-chain-\(UInt32.random(in: 0...(.max)))"
            defer { try? FileManager.default.removeItem(atPath: folder) }
            let certificates = try await ProxyCertificates(in: folder)
            let leaf = try der(certificates.chain(.client))
            let trustDomain = try TrustDomain(ProxyIdentity.trustDomain)
            let bundle = TrustBundle(
                trustDomain: trustDomain,
                x509Authorities: [try der(certificates.authorities)],
                x509Intermediates: [],
                sequenceNumber: 1,
                refreshHintSeconds: 0
            )
            let verifier = PeerVerifier(bundles: [trustDomain: bundle])
            let count = settings.size(20_000, quick: 100)
            // Caches and page faults belong to no run.
            _ = try await ours(verifier, leaf, count / 10)
            var readings: [Reading] = []
            for _ in 0..<settings.runs {
                let floor = try await openSSL(certificates, count, settings)
                let value = try await ours(verifier, leaf, count)
                readings.append(Reading(row: row, value: value, peer: floor))
            }
            return readings
        }
    )

    private static func ours(
        _ verifier: PeerVerifier,
        _ leaf: [UInt8],
        _ count: Int
    ) async throws -> Double {
        let now = Date()
        let start = ContinuousClock.now
        for _ in 0..<count {
            let peer = try await verifier.verify(chain: [leaf], now: now)
            guard peer.id.description == ProxyIdentity.client.id else {
                throw BenchmarkError("another peer was verified")
            }
        }
        return Double(count) / (ContinuousClock.now - start).seconds
    }

    private struct Time: Decodable {
        let nanoseconds: Double
    }

    private static func openSSL(
        _ certificates: ProxyCertificates,
        _ count: Int,
        _ settings: BenchmarkSettings
    ) async throws -> Double {
        let output = try await Tool.output(
            settings.executable("signet-bench-load"),
            [
                "verify", "--authorities", certificates.authorities, "--certificate",
                certificates.chain(.client), "--key", certificates.key(.client), "--count",
                "\(count)",
            ]
        )
        let time = try JSONDecoder().decode(Time.self, from: output)
        return Double(count) / (time.nanoseconds / 1e9)
    }

    private static func der(_ path: String) throws -> [UInt8] {
        let text = try String(contentsOfFile: path, encoding: .utf8)
        return try PEMDocument(pemString: text).derBytes
    }
}
