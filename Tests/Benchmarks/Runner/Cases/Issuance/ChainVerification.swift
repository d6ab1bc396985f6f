// SPDX-License-Identifier: Apache-2.0

internal import Foundation
internal import Reactor
internal import SPIFFE
internal import SwiftASN1

/// Chains verified on one core, all of P-256, with every rule of SPIFFE: by the verifier of server and
/// agent, and by the proxy's, whose path is the TLS library's.
///
/// The floor is OpenSSL's X509_verify_cert of the same chain, which knows no SPIFFE ID. All read what
/// is shown from DER each time and have read the root before.
enum ChainVerification {
    private enum Kind: String, CaseIterable {
        /// As a self-signed authority signs.
        case belowRoot = ""
        /// As an authority does that has an upstream one.
        case belowAuthority = ", leaf below an authority below a root"
    }

    private enum Verifier: String, CaseIterable {
        case server = ""
        case boringSSL = " by the proxy with BoringSSL"
        case openSSL = " by the proxy with OpenSSL"

        var provider: TLSProvider? {
            switch self {
            case .server: nil
            case .boringSSL: .boringSSL
            case .openSSL: .openSSL
            }
        }
    }

    private static func row(_ verifier: Verifier, _ kind: Kind) -> String {
        "verified chains\(verifier.rawValue)\(kind.rawValue)"
    }

    static let benchmark = Benchmark(
        name: "chain-verification",
        rows: Kind.allCases.flatMap { kind in
            Verifier.allCases.map {
                RowDefinition(
                    id: row($0, kind),
                    unit: "chains/s",
                    peer: "OpenSSL X509_verify_cert",
                    goal: .none
                )
            }
        },
        readings: { settings in
            let folder =
                NSTemporaryDirectory() + "signet-bench-chain-\(UInt32.random(in: 0...(.max)))"
            defer { try? FileManager.default.removeItem(atPath: folder) }
            let certificates = try await ProxyCertificates(in: folder)
            let below = try await certificates.clientBelowRoot()
            var readings: [Reading] = []
            for kind in Kind.allCases {
                let path = kind == .belowRoot ? certificates.chain(.client) : below
                readings += try await measure(kind, path, certificates, settings)
            }
            return readings
        }
    )

    private static func measure(
        _ kind: Kind,
        _ path: String,
        _ certificates: ProxyCertificates,
        _ settings: BenchmarkSettings
    ) async throws -> [Reading] {
        let chain = try der(path)
        let trustDomain = try TrustDomain(ProxyIdentity.trustDomain)
        let bundle = TrustBundle(
            trustDomain: trustDomain,
            x509Authorities: try der(certificates.authorities),
            x509Intermediates: [],
            sequenceNumber: 1,
            refreshHintSeconds: 0
        )
        let count = settings.size(20_000, quick: 100)
        var readings: [Reading] = []
        // Caches and page faults belong to no run.
        for verifier in Verifier.allCases {
            _ = try await rate(verifier, bundle, chain, count / 10)
        }
        for _ in 0..<settings.runs {
            let floor = try await openSSL(certificates, path, count, settings)
            for verifier in Verifier.allCases {
                let value = try await rate(verifier, bundle, chain, count)
                readings.append(Reading(row: row(verifier, kind), value: value, peer: floor))
            }
        }
        return readings
    }

    private static func rate(
        _ verifier: Verifier,
        _ bundle: TrustBundle,
        _ chain: [[UInt8]],
        _ count: Int
    ) async throws -> Double {
        let bundles = [bundle.trustDomain: bundle]
        guard let provider = verifier.provider else {
            let verifier = PeerVerifier(bundles: bundles)
            return try await rate(count) { try await verifier.verify(chain: chain, now: $0).id }
        }
        let requirements = PeerRequirements(
            authorities: TLSAuthorities(provider: provider, bundles: bundles),
            in: bundle.trustDomain
        )
        return try await rate(count) { try requirements.verify(chain: chain, now: $0).id }
    }

    /// Chains per second.
    private static func rate(
        _ count: Int,
        _ verify: (Date) async throws -> SPIFFEID
    ) async throws -> Double {
        let now = Date()
        let start = ContinuousClock.now
        for _ in 0..<count {
            guard try await verify(now).description == ProxyIdentity.client.id else {
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
        _ path: String,
        _ count: Int,
        _ settings: BenchmarkSettings
    ) async throws -> Double {
        let output = try await Tool.output(
            settings.executable("signet-bench-load"),
            [
                "verify", "--authorities", certificates.authorities, "--certificate", path,
                "--key", certificates.key(.client), "--count", "\(count)",
            ]
        )
        let time = try JSONDecoder().decode(Time.self, from: output)
        return Double(count) / (time.nanoseconds / 1e9)
    }

    /// DER of each certificate in a file of PEM.
    static func der(_ path: String) throws -> [[UInt8]] {
        let text = try String(contentsOfFile: path, encoding: .utf8)
        return try PEMDocument.parseMultiple(pemString: text).map(\.derBytes)
    }
}
