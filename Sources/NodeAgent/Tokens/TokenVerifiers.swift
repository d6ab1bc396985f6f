// SPDX-License-Identifier: Apache-2.0

package import SPIFFE
internal import Synchronization

/// Verifiers of tokens, with the keys of each bundle made once: they are costly, bundles change
/// seldom, and workloads that federate differently have many bundles in common.
package final class TokenVerifiers: Sendable {
    /// Most bundles whose keys are kept: of the own trust domain and of 64 others.
    package static let bundlesMax = 65

    private struct Known {
        let authorities: [JWTAuthority]
        let keys: JWTVerificationKeys?
    }

    private struct State {
        var known: [TrustDomain: Known] = [:]
        var madeCount = 0
    }

    private let state = Mutex(State())

    /// Nothing is kept yet.
    package init() {}

    /// How often the keys of a bundle were made.
    package var madeCount: Int { state.withLock { $0.madeCount } }

    /// The verifier that believes these bundles and no others.
    package func verifier(_ bundles: [TrustBundle]) -> JWTSVIDVerifier {
        JWTSVIDVerifier(bundles.compactMap(keys))
    }

    private func keys(of bundle: TrustBundle) -> JWTVerificationKeys? {
        let trustDomain = bundle.trustDomain
        if let known = state.withLock({ $0.known[trustDomain] }),
            known.authorities == bundle.jwtAuthorities
        {
            return known.keys
        }
        // Without the lock: two callers may do the same work, and none waits for the other.
        let made = JWTVerificationKeys(bundle)
        state.withLock { state in
            state.madeCount += 1
            if state.known[trustDomain] == nil, state.known.count >= Self.bundlesMax {
                // Trust domains that are federated with no longer; the others come back when needed.
                state.known.removeAll()
            }
            state.known[trustDomain] = Known(authorities: bundle.jwtAuthorities, keys: made)
        }
        return made
    }
}
