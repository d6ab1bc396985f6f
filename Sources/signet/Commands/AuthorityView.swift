// SPDX-License-Identifier: Apache-2.0

package import ControlAPIProtos
internal import SwiftProtobuf

/// One authority, for programs.
package struct AuthorityView: Encodable, Sendable {
    var id: String
    /// `authority`, or of what is above: `intermediate`, `root`, or of what is below: `downstream`.
    var kind: String
    var state: String
    var serverID: String
    var notBefore: String
    var notAfter: String
    var publishedAt: String
    var activatedAt: String
    var lastSVIDExpiresAt: String
    var spkiSHA256: String
    /// Key IDs of what signed its certificate and of its root; "-": it is self-signed.
    var issuerID: String
    var rootID: String
    /// "-": it was not.
    var taintedAt: String
    var revokedAt: String
    var distrustReason: String
    var distrustedBy: String
    /// Of a tainted one; nil of others, of which nobody counts.
    var validSVIDs: UInt64?
    var notReplacedSVIDs: UInt64?
    /// Only of a downstream one: its entry, `namespace/name`, the entry's ID and SPIFFE ID, and the
    /// node whose agent asked for it.
    var entry: String?
    var entryID: String?
    var spiffeID: String?
    var node: String?

    /// Takes what a server says.
    package init(_ message: Signet_Admin_V1alpha1_Authority) {
        id = message.id
        kind = message.kind.isEmpty ? "authority" : message.kind
        state = message.state
        serverID = message.serverID
        notBefore = Terminal.time(unixSeconds: message.notBeforeUnixSeconds)
        notAfter = Terminal.time(unixSeconds: message.notAfterUnixSeconds)
        publishedAt = Terminal.time(unixSeconds: message.publishedAtUnixSeconds)
        activatedAt = Terminal.time(unixSeconds: message.activatedAtUnixSeconds)
        lastSVIDExpiresAt = Terminal.time(unixSeconds: message.lastSvidNotAfterUnixSeconds)
        spkiSHA256 = message.spkiSha256
        issuerID = message.issuerID.isEmpty ? "-" : message.issuerID
        rootID = message.rootID.isEmpty ? "-" : message.rootID
        taintedAt = Terminal.time(unixSeconds: message.taintedAtUnixSeconds)
        revokedAt = Terminal.time(unixSeconds: message.revokedAtUnixSeconds)
        distrustReason = message.distrustReason
        distrustedBy = message.distrustedBy
        let isCounted = message.state == "tainted"
        validSVIDs = isCounted ? message.validSvids : nil
        notReplacedSVIDs = isCounted ? message.notReplacedSvids : nil
        let isBelow = message.kind == "downstream"
        entry = isBelow ? message.entry : nil
        entryID = isBelow ? message.entryID : nil
        spiffeID = isBelow ? message.spiffeID : nil
        node = isBelow ? message.node : nil
    }
}

/// What `signet authority show` prints.
package struct AuthorityListView: Encodable, Sendable {
    var authorities: [AuthorityView]
    /// Roots and upstream authorities.
    var above: [AuthorityView]
    /// Authorities of servers below.
    var downstream: [AuthorityView]
    var nextStep: String
    var nextStepAt: String
    /// When the next authority begins to sign at the latest; "-" while none is prepared.
    var latestActivation: String
    /// Live agents that do not have it yet, the first of them, and how many there are.
    var waitingAgents: [String]
    var waitingAgentCount: UInt64
    /// Connected agents that take no authorities below another, the first of them, and how many there are.
    var agentsWithoutIntermediates: [String]
    var agentsWithoutIntermediatesCount: UInt64
    /// Nodes with attached proxies that do not look for revocations between signer and root.
    var proxyNodesWithoutIntermediates: [String]
    var proxyNodesWithoutIntermediatesCount: UInt64

    /// Takes what a server says.
    package init(_ response: Signet_Admin_V1alpha1_ListAuthoritiesResponse) {
        authorities = response.authorities.map { AuthorityView($0) }
        above = response.above.map { AuthorityView($0) }
        downstream = response.downstream.map { AuthorityView($0) }
        nextStep = response.nextStep
        nextStepAt = Terminal.time(unixSeconds: response.nextStepAtUnixSeconds)
        latestActivation = Terminal.time(unixSeconds: response.latestActivationUnixSeconds)
        waitingAgents = response.waitingAgents
        waitingAgentCount = response.waitingAgentCount
        agentsWithoutIntermediates = response.agentsWithoutIntermediates
        agentsWithoutIntermediatesCount = response.agentsWithoutIntermediatesCount
        proxyNodesWithoutIntermediates = response.proxyNodesWithoutIntermediates
        proxyNodesWithoutIntermediatesCount = response.proxyNodesWithoutIntermediatesCount
    }

    /// What has to be renewed before there is an upstream, one line each; empty if nothing has.
    package var outdated: [String] {
        var lines: [String] = []
        if agentsWithoutIntermediatesCount > 0 {
            lines.append(
                "to be renewed before there is an upstream: "
                    + Self.named(agentsWithoutIntermediates, agentsWithoutIntermediatesCount)
            )
        }
        if proxyNodesWithoutIntermediatesCount > 0 {
            lines.append(
                "to be renewed before there is an upstream: proxies of "
                    + Self.named(
                        proxyNodesWithoutIntermediates,
                        proxyNodesWithoutIntermediatesCount,
                        "node(s)"
                    )
            )
        }
        return lines
    }

    package var table: Table {
        Table(
            headings: [
                "ID", "STATE", "NOT AFTER", "ACTIVATED", "LAST SVID EXPIRES", "NOT REPLACED",
            ],
            rows: (authorities + above + downstream).map(Self.row)
        )
    }

    private static func row(_ authority: AuthorityView) -> [String] {
        let state: String
        switch (authority.kind, authority.state) {
        case ("authority", _): state = authority.state
        case ("downstream", let how):
            let whose = "of \(authority.entry ?? "") on \(authority.node ?? "")"
            state = "downstream\(how == "certified" ? "" : ", \(how),") \(whose)"
        case (let kind, let how):
            // As messages and pages call it; `kind` is what it is in certificates.
            let what = kind == "intermediate" ? "upstream" : kind
            state = how == "published" ? what : "\(what), \(how)"
        }
        return [
            String(authority.id.prefix(16)), state, authority.notAfter, authority.activatedAt,
            authority.lastSVIDExpiresAt, authority.notReplacedSVIDs.map(String.init) ?? "-",
        ]
    }

    static func named(
        _ names: [String],
        _ count: UInt64,
        _ what: String = "agent(s)"
    ) -> String {
        // A line of a terminal; `-o json` has more.
        let namedMax = 5
        let named = names.prefix(namedMax).joined(separator: ", ")
        let more = count > UInt64(min(names.count, namedMax))
        return "\(count) \(what): \(named)\(more ? ", ..." : "")"
    }
}

/// What an act on an authority did, or would do.
package struct AuthorityActView: Encodable, Sendable {
    var authority: AuthorityView
    /// Nothing was changed.
    var rehearsed: Bool
    /// Why it is not done without --now; of a rehearsal of `rotate`, whom it would hurt.
    var objections: [String]
    var waitingAgents: [String]
    var waitingAgentCount: UInt64
    var absentAgents: [String]
    var absentAgentCount: UInt64
    var validSVIDs: UInt64
    var notReplacedSVIDs: UInt64
    var notReplacedIDs: [String]
    /// What is left to be done by hand.
    var advice: [String]
    /// Only if others have to approve it: nothing was done.
    var proposal: ProposalView?

    /// Takes what a server says.
    package init(_ response: Signet_Admin_V1alpha1_AuthorityActionResponse) {
        authority = AuthorityView(response.authority)
        rehearsed = response.rehearsed
        objections = response.objections
        waitingAgents = response.waitingAgents
        waitingAgentCount = response.waitingAgentCount
        absentAgents = response.absentAgents
        absentAgentCount = response.absentAgentCount
        validSVIDs = response.validSvids
        notReplacedSVIDs = response.notReplacedSvids
        notReplacedIDs = response.notReplacedIds
        advice = response.advice
        proposal = response.hasProposal ? ProposalView(response.proposal) : nil
    }

    /// Whom it hurts, one line each.
    package var consequences: [String] {
        var lines = objections
        if waitingAgentCount > 0 {
            lines.append(
                "without the bundle: " + AuthorityListView.named(waitingAgents, waitingAgentCount)
            )
        }
        if absentAgentCount > 0 {
            lines.append("away: " + AuthorityListView.named(absentAgents, absentAgentCount))
        }
        if notReplacedSVIDs > 0 {
            lines.append(
                "\(notReplacedSVIDs) SVID(s) not replaced, of: "
                    + notReplacedIDs.prefix(10).joined(separator: ", ")
                    + (notReplacedIDs.count > 10 ? ", ..." : "")
            )
        }
        return lines
    }

    package var table: Table {
        Table(
            headings: ["ID", "STATE", "NOT AFTER", "VALID SVIDS", "NOT REPLACED"],
            rows: [
                [
                    authority.id, authority.state, authority.notAfter, String(validSVIDs),
                    String(notReplacedSVIDs),
                ]
            ]
        )
    }
}
