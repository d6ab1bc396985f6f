// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import SPIFFE
import TestPKI

/// How a verification ended, in a form that tests compare.
enum Verdict: Equatable, Sendable {
    case accepted(SPIFFEID)
    case refused(PeerVerificationError)

    /// Verifies `chain` against the bundles of `authorities`.
    static func of(
        _ chain: [[UInt8]],
        trusting authorities: [TestAuthority],
        now: Date = testNow
    ) async -> Verdict {
        let bundles = Dictionary(
            grouping: authorities,
            by: \.trustDomain
        ).mapValues { group in
            TrustBundle(
                trustDomain: group[0].trustDomain,
                x509Authorities: group.map(\.der),
                x509Intermediates: [],
                sequenceNumber: 1,
                refreshHintSeconds: 300
            )
        }
        return await of(chain, by: PeerVerifier(bundles: bundles), now: now)
    }

    /// Verifies `chain` with a verifier that is already there.
    static func of(
        _ chain: [[UInt8]],
        by verifier: PeerVerifier,
        now: Date = testNow
    ) async -> Verdict {
        do throws(PeerVerificationError) {
            return .accepted(try await verifier.verify(chain: chain, now: now).id)
        } catch {
            return .refused(error)
        }
    }

    /// Whether a path was found but broke a rule; the wording is not compared.
    var isPathRefused: Bool {
        if case .refused(.pathRefused) = self { true } else { false }
    }
}
