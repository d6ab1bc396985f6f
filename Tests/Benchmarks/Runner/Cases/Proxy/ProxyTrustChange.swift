// SPDX-License-Identifier: Apache-2.0

internal import ControlAPIProtos
internal import Foundation
internal import MTLSProxy
internal import Reactor
internal import SPIFFE
internal import SwiftProtobuf

/// What one revocation more costs a proxy that has as many as agents tell of: its trust comes whole
/// and is read anew, on the thread of the agent's stream and beside the loops.
///
/// From the bytes of the message to the sets that connections are judged by. The floor is the same
/// message with nothing revoked.
enum ProxyTrustChange {
    private static let row = "proxy: a changed list of 20,000 revoked items is read"
    /// The most that an agent tells its proxies of (`RevocationSet.forProxiesMax`).
    private static let size = 20_000

    static let benchmark = Benchmark(
        name: "proxy-trust-change",
        rows: [RowDefinition(id: row, unit: "ms", peer: "nothing revoked", goal: .none)],
        readings: { settings in
            let folder =
                NSTemporaryDirectory() + "signet-bench-trust-\(UInt32.random(in: 0...(.max)))"
            defer { try? FileManager.default.removeItem(atPath: folder) }
            let certificates = try await ProxyCertificates(in: folder)
            let authority = try ChainVerification.der(certificates.authorities)
            let count = settings.size(size, quick: 200)
            let many = try trust(of: authority, revoked: count)
            let none = try trust(of: authority, revoked: 0)
            let times = settings.size(20, quick: 2)
            // Caches and page faults belong to no run.
            _ = try (time(of: many, revoked: count, times), time(of: none, revoked: 0, times))
            return try (0..<settings.runs).map { _ in
                let floor = try time(of: none, revoked: 0, times)
                return Reading(
                    row: row,
                    value: try time(of: many, revoked: count, times),
                    peer: floor,
                    note: "\(many.count / 1024) KB in one message"
                )
            }
        }
    )

    /// Half of them certificates, half identities.
    private static func trust(of authority: [[UInt8]], revoked count: Int) throws -> [UInt8] {
        let message = Signet_Proxy_V1alpha1_Trust.with {
            $0.trustDomain = ProxyIdentity.trustDomain
            $0.bundles = [
                .with {
                    $0.trustDomain = ProxyIdentity.trustDomain
                    $0.x509Authorities = authority.map { Data($0) }
                    $0.sequenceNumber = 1
                }
            ]
            $0.granted = [ProxyIdentity.server.id]
            $0.revocations = (0..<count).map { number in
                number.isMultiple(of: 2)
                    ? .with {
                        $0.identity.spiffeID = ProxyIdentity.id("revoked-\(number)")
                        $0.identity.issuedBeforeUnixSeconds = 1_900_000_000
                    }
                    : .with {
                        let bytes = (0..<8).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) }
                        $0.leaf.authorityKeyID = Data(repeating: 0x5A, count: 20)
                        $0.leaf.serial = Data([1] + [UInt8](repeating: 0x3C, count: 8) + bytes)
                        $0.leaf.notAfterUnixSeconds = 1_900_000_000
                    }
            }
        }
        return try message.serializedBytes()
    }

    /// Milliseconds for one.
    private static func time(of bytes: [UInt8], revoked count: Int, _ times: Int) throws -> Double {
        let start = ContinuousClock.now
        for _ in 0..<times {
            let message = try Signet_Proxy_V1alpha1_Trust(serializedBytes: bytes)
            let trust = try ProxyTrust(parsing: message)
            let revocations = PeerRevocations(
                leaves: Set(trust.leaves.keys),
                identities: trust.revocations.mapValues {
                    $0.addingTimeInterval(-X509SVID.backdatingSeconds)
                }
            )
            try withExtendedLifetime(revocations) {
                guard trust.leaves.count + trust.revocations.count == count else {
                    throw BenchmarkError("what is revoked was not read")
                }
            }
        }
        return (ContinuousClock.now - start).milliseconds / Double(times)
    }
}
