// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import SPIFFE

/// Whom a class holds.
enum Audience: Hashable, Sendable {
    /// Processes that hold the keys of a Proxy in place of workloads.
    case proxy(String)
    /// Workloads that show exactly these selectors.
    case workloads(Set<Selector>)
}

/// Workloads with the same selectors have the same view, so it is computed once for all of them;
/// the same holds for processes of one Proxy.
struct WorkloadClass: Sendable {
    let audience: Audience
    var subscribers: [SubscriberID: WorkloadInterest] = [:]
    /// What its entries grant, the oldest entry first; to a proxy, in the order of its document.
    var identities: [IdentityKey] = []
    /// Whether its SVIDs were shown; before, all of them are awaited, so that the first one shown
    /// is the default identity.
    var hasOpened = false
    var view = WorkloadView.denied
    /// What processes of a Proxy are told.
    var proxyView = ProxyView.gone

    init(_ audience: Audience) {
        self.audience = audience
    }
}

struct WorkloadClassID: Hashable, Sendable {
    let number: Int
}

/// An entry, and what of it does not depend on the workload.
struct CachedEntry: Sendable {
    let entry: RegistrationEntry
    /// Nil if the ID could not be read.
    let template: IDTemplate?
    /// The one identity of an entry without workload variables.
    let nodeIdentity: IdentityKey?
    /// Why the entry grants nothing here; nil if it does, or if that depends on the workload.
    let problem: IDTemplateError?
    /// Whether the node was attested to be all that the entry asks for; true while that is not
    /// known.
    let isOfNode: Bool
    var isActive: Bool

    init(
        _ entry: RegistrationEntry,
        trustDomain: TrustDomain,
        node: TemplateNode,
        attested: Set<Selector>?,
        now: Date
    ) {
        self.entry = entry
        isOfNode = attested.map { entry.matches(node: $0) } ?? true
        isActive = isOfNode && Self.isInTime(entry, now: now)
        var template: IDTemplate?
        var nodeIdentity: IdentityKey?
        var problem: IDTemplateError?
        do throws(IDTemplateError) {
            let parsed = try IDTemplate(parsing: entry.spiffeID)
            template = parsed
            if !parsed.hasWorkloadVariables {
                let id = try parsed.resolve(trustDomain: trustDomain, node: node)
                nodeIdentity = IdentityKey(entryID: entry.id, spiffeID: id)
            }
        } catch {
            problem = error
        }
        self.template = template
        self.nodeIdentity = nodeIdentity
        self.problem = problem
    }

    /// Whether it may grant anything at an instant.
    func isActive(at now: Date) -> Bool { isOfNode && Self.isInTime(entry, now: now) }

    private static func isInTime(_ entry: RegistrationEntry, now: Date) -> Bool {
        entry.expires.map { now < $0 } ?? true
    }

    /// What the entry grants to a workload that shows `selectors`; nil is nothing.
    func identity(
        for selectors: Set<Selector>,
        trustDomain: TrustDomain,
        node: TemplateNode
    ) -> IdentityKey? {
        guard isActive, entry.matches(workload: selectors) else { return nil }
        guard let template, nodeIdentity == nil else { return nodeIdentity }
        do throws(IDTemplateError) {
            let id = try template.resolve(
                trustDomain: trustDomain,
                node: node,
                workload: template.workloadValues(from: selectors),
                bounds: entry.variableBounds
            )
            return IdentityKey(entryID: entry.id, spiffeID: id)
        } catch {
            return nil
        }
    }
}

/// An identity that is granted here, with its SVID if there is one.
struct CachedIdentity: Sendable {
    var issued: IssuedSVID?
    /// Who is shown it.
    var classes: Set<WorkloadClassID> = []
    /// The server said no: others need not wait for its SVID.
    var isRefused = false
    /// What the renewal queue was told last.
    var announced = IdentityDemand.none
}

extension IDTemplate {
    var hasWorkloadVariables: Bool {
        variables.contains { variable in
            if case .workload = variable { true } else { false }
        }
    }
}
