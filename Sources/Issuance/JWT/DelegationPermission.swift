// SPDX-License-Identifier: Apache-2.0

package import SPIFFE

/// A hop of a chain with the policy that permits it.
package struct PermittedHop: Hashable, Sendable {
    package let hop: DelegationHop
    package let policy: DelegationPolicyReference
}

/// A wording of a policy, as the audit log names it.
package struct DelegationPolicyReference: Hashable, Sendable, CustomStringConvertible {
    package let namespace: String
    package let name: String
    package let version: UInt64

    package var description: String { "\(namespace)/\(name) version \(version)" }
}

/// That policies permit every hop of a chain now; nothing else can make one.
struct DelegationPermission {
    /// In the order of time.
    let hops: [PermittedHop]
    /// The end of the policy that ends first; nil if none does.
    let end: CertificateTime?

    /// Looks at every hop anew, those before the last too.
    ///
    /// - Parameters:
    ///   - chain: Whose last actor goes to `audience`.
    ///   - audience: At whom.
    ///   - policies: All that may permit something; of several that permit a hop the one counts
    ///     that does so longest.
    ///   - start: When the token is issued. What a policy permits for less than a token needs, it
    ///     does not permit.
    /// - Throws: `ExchangeRefusal.delegationNotPermitted` with the first hop that none permits.
    init(
        of chain: DelegationChain,
        to audience: String,
        by policies: [DelegationPolicy],
        from start: CertificateTime
    ) throws(ExchangeRefusal) {
        let all = chain.hops(to: audience)
        var hops: [PermittedHop] = []
        var end: CertificateTime?
        for (index, hop) in all.enumerated() {
            let longest =
                policies
                .filter { $0.names(hop) }
                .compactMap { policy in Candidate(policy, from: start) }
                .min { $0.isPreferred(to: $1) }
            guard let longest else {
                throw .delegationNotPermitted(hop, isLast: index == all.count - 1)
            }
            hops.append(PermittedHop(hop: hop, policy: longest.reference))
            if let its = longest.end { end = min(end ?? its, its) }
        }
        self.hops = hops
        self.end = end
    }

    /// A policy that permits a hop for long enough.
    private struct Candidate {
        let reference: DelegationPolicyReference
        let end: CertificateTime?

        init?(_ policy: DelegationPolicy, from start: CertificateTime) {
            if let expires = policy.expires {
                guard let end = CertificateTime(expires), start.leavesRoom(until: end) else {
                    return nil
                }
                self.end = end
            } else {
                end = nil
            }
            reference = DelegationPolicyReference(
                namespace: policy.namespace,
                name: policy.name,
                version: policy.version
            )
        }

        /// One order for all servers: the longest, of equal ones the first by name.
        func isPreferred(to other: Self) -> Bool {
            let last = CertificateTime.last + 1
            let (mine, others) = (
                end?.secondsSince1970 ?? last, other.end?.secondsSince1970 ?? last
            )
            guard mine == others else { return mine > others }
            return (reference.namespace, reference.name, reference.version)
                < (other.reference.namespace, other.reference.name, other.reference.version)
        }
    }
}

/// What makes a token one "A, through B".
///
/// Its chain is taken from a token that was verified, and each hop of it was permitted.
package struct Delegation: Hashable, Sendable {
    /// Whose request it is and through whom it came; the last acts now and is issued the token.
    package let chain: DelegationChain
    /// What the chain rests on, hop by hop.
    package let hops: [PermittedHop]
    /// The `jti` of the token exchanged.
    package let subjectTokenID: String
    /// SHA-256 of what the token exchanged was signed over.
    package let subjectTokenSHA256: [UInt8]
    /// The `iss` claim.
    package let issuer: String

    init(of subject: SubjectToken, permission: DelegationPermission, issuer: String) {
        chain = subject.chain
        hops = permission.hops
        subjectTokenID = subject.tokenID
        subjectTokenSHA256 = subject.signingInputSHA256
        self.issuer = issuer
    }
}
