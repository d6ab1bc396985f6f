// SPDX-License-Identifier: Apache-2.0

internal import ControlAPI
internal import Datastore
internal import FoundationEssentials
internal import Issuance
internal import SPIFFE

/// For whom a key may be held by a Proxy (docs/decisions/0009-data-path.md).
extension ServerLogic {
    /// Longest reference of a Proxy that is repeated in a refusal.
    private static let referenceBytesMax = 512

    /// Which Proxy holds the key of which certificate of a batch, by its place.
    package static func proxies(
        of requests: [WorkloadSigningRequest],
        _ outcomes: [SigningOutcome]
    ) -> [Int: String] {
        var proxies: [Int: String] = [:]
        for (request, outcome) in zip(requests, outcomes) {
            if case .prepared(let place) = outcome { proxies[place] = request.proxy }
        }
        return proxies
    }

    /// Requires that a Proxy may hold a key of the ID asked for on the caller's node.
    ///
    /// - Throws: `APIError` (`permissionDenied`) naming the rule that forbids it.
    func approve(
        _ reference: String,
        holding request: WorkloadSigningRequest,
        of entry: RegistrationEntry,
        on basis: SigningBasis,
        now: Date
    ) throws(APIError) {
        let shown = String(decoding: reference.utf8.prefix(Self.referenceBytesMax), as: UTF8.self)
        guard let proxy = basis.proxies[reference] else {
            throw Self.refusal("proxyUnknown", "there is no Proxy \(shown)")
        }
        if let expires = proxy.expires, expires <= now {
            throw Self.refusal("proxyUnknown", "Proxy \(shown) has expired")
        }
        guard proxy.matches(node: basis.node.selectors) else {
            throw Self.refusal(
                "proxyNotOnNode",
                "Proxy \(shown) is not for this node: it does not show all of its nodeSelectors"
            )
        }
        guard proxy.identities.contains(where: { $0.description == request.spiffeID }) else {
            throw Self.refusal("proxyMayNot", "Proxy \(shown) does not name the ID asked for")
        }
        guard entry.namespace == proxy.namespace else {
            throw Self.refusal(
                "proxyOtherNamespace",
                "the entry is of another namespace than Proxy \(shown)"
            )
        }
        guard entry.needsNothingOfWorkload, request.variables.isEmpty else {
            throw Self.refusal(
                "proxyMayNot",
                "the entry's ID has variables of the workload, so it belongs to one process and is "
                    + "given to no Proxy"
            )
        }
    }

    private static func refusal(_ rule: String, _ message: String) -> APIError {
        APIError(.permissionDenied, rule, message)
    }

    /// Requires that each Proxy that is to hold a key is in the version that was approved.
    func requireUnchanged(
        _ references: Set<String>,
        of basis: SigningBasis,
        in transaction: ReadTransaction
    ) throws {
        for reference in references {
            let approved = basis.proxies[reference]
            let current = try transaction.proxyGrant(reference)
            guard let approved, current?.id == approved.id, current?.revision == approved.revision
            else {
                throw APIError(
                    .unavailable,
                    APIError.proxyChanged,
                    "a Proxy has just changed; ask again"
                )
            }
        }
    }

    /// Requires that nothing would be signed that a revocation refuses already.
    func requireUnrevoked(
        _ certificates: [PreparedCertificate],
        in transaction: ReadTransaction
    ) throws {
        let backdate = lifetimes.backdate / .seconds(1)
        for certificate in certificates {
            guard let revocation = try transaction.revocation(of: certificate.id) else { continue }
            let issued = certificate.notBefore.addingTimeInterval(backdate)
            guard issued >= revocation.issuedBefore else {
                throw APIError(
                    identityRevoked: certificate.id.description,
                    until: revocation.issuedBefore,
                    now: issued
                )
            }
        }
    }
}

extension RegistrationEntry {
    /// Whether the ID, or what its template could become, is this one.
    func mayGive(_ id: SPIFFEID) -> Bool {
        (try? IDTemplate(parsing: spiffeID))?.mayBecome(id) ?? false
    }

    /// Whether the ID is the same for every workload of a node.
    var needsNothingOfWorkload: Bool {
        guard let template = try? IDTemplate(parsing: spiffeID) else { return false }
        return template.variables.allSatisfy { variable in
            if case .workload = variable { false } else { true }
        }
    }
}

extension APIError {
    /// Nothing is signed for an identity until its revocation has passed.
    init(identityRevoked id: String, until: Date, now: Date) {
        let wait = max(until.timeIntervalSince(now), 0)
        self.init(
            .unavailable,
            Self.identityRevoked,
            "SVIDs of \(id) that are issued now are revoked; ask again in "
                + "\(Int64(wait.rounded(.up))) s",
            retryAfter: .seconds(wait)
        )
    }
}
