// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
internal import SPIFFE

extension RegistrationEntry {
    /// Checks that the entry gives a workload of this node this ID, whatever the kind of its SVID.
    ///
    /// - Parameters:
    ///   - id: The ID that the agent asked for.
    ///   - trustDomain: The server's own.
    ///   - node: The agent as the server has verified and attested it.
    ///   - workload: The template variables that the agent asserts.
    ///   - now: The wall clock.
    /// - Throws: `IssuanceRefusal` naming the first rule that is broken.
    func checkGrant(
        of id: SPIFFEID,
        in trustDomain: TrustDomain,
        node: TemplateNode,
        workload: [String: String],
        now: Date
    ) throws(IssuanceRefusal) {
        if let expires, expires <= now { throw .entryExpired }
        guard matches(node: node.selectors) else { throw .nodeOutsideEntry }
        guard id.trustDomain == trustDomain else { throw .trustDomainDiffers }
        guard !id.path.isEmpty else { throw .idWithoutPath }
        guard !id.isReserved else { throw .idReserved }
        let resolved: SPIFFEID
        do throws(IDTemplateError) {
            resolved = try IDTemplate(parsing: spiffeID).resolve(
                trustDomain: trustDomain,
                node: node,
                workload: workload,
                bounds: variableBounds
            )
        } catch {
            throw .idTemplate(error)
        }
        guard resolved == id else { throw .idDiffersFromEntry(resolved: resolved) }
    }
}
