// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import ControlAPI
internal import ControlAPIProtos
internal import Datastore
internal import FoundationEssentials
internal import GRPCCore
internal import HTTPSemantics
internal import PolicyDocuments
internal import SPIFFE
internal import SwiftProtobuf

/// Bundles of other trust domains (docs/decisions/0021-federation.md).
extension AdministrationService {
    private static let federationKind = DocumentKind.federatedTrustDomain.rawValue

    func listFederation(
        request: Signet_Admin_V1alpha1_ListFederationRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_ListFederationResponse {
        let (logic, specs) = (core.logic, core.federation.specs)
        let question = AdminQuestion.exactly(.list, kind: Self.federationKind)
        let partners = try await gate.read(question, context) { transaction, _ in
            try logic.partners(in: transaction, knowing: specs)
        }
        let standings = core.federation.standings
        let named = request.trustDomain
        let shown = partners.filter { named.isEmpty || $0.trustDomain.name == named }
        guard named.isEmpty || !shown.isEmpty else {
            throw APIError(
                .notFound,
                "federatedTrustDomainUnknown",
                "no FederatedTrustDomain names \"\(named)\"; signet federation show names all"
            )
        }
        return .with {
            $0.bundles = shown.map { partner in
                var bundle = message(partner, standings[partner.trustDomain] ?? PartnerStanding())
                // Those of 64 partners are more than a message holds.
                if !named.isEmpty { bundle.document = Data(partner.record.document ?? []) }
                return bundle
            }
        }
    }

    func refreshFederation(
        request: Signet_Admin_V1alpha1_RefreshFederationRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_RefreshFederationResponse {
        let trustDomain: TrustDomain
        do {
            trustDomain = try TrustDomain(request.trustDomain)
        } catch {
            throw APIError(.invalidArgument, "trustDomainMalformed", "\(error)")
        }
        let (desk, acceptsOlder) = (core.federation, request.acceptOlder)
        // Deleting the document and applying it again would do the same.
        let question = AdminQuestion.exactly(.apply, kind: Self.federationKind)
        // Who may not ask is told so before he waits for a stranger.
        try await gate.read(question, context)
        // Nobody fetches while the server is held.
        try core.requireNotHeld()
        // A caller who hangs up does not cancel this task: only the handler is told.
        let caller = RefreshCaller()
        let report = try await withRPCCancellationHandler {
            try await gate.handOn(question, context) {
                (permit: @escaping ActPermit) async throws(APIError) in
                try await desk.refresh(
                    trustDomain,
                    acceptsOlder: acceptsOlder,
                    for: caller,
                    permit
                )
            }
        } onCancelRPC: {
            desk.left(caller)
        }
        // What was fetched before may have been withheld for this failure.
        let record = try? await core.read { try $0.federatedBundle(of: trustDomain) }
        return .with {
            $0.result = report.result
            $0.problem = report.problem ?? ""
            if let record { $0.state = Self.state(of: record) }
        }
    }

    /// What validators have, in a word of `RefreshFederationResponse`.
    private static func state(of record: FederatedBundleRecord) -> String {
        if record.document == nil { return "notFetched" }
        return record.isWithheld ? "withheld" : "believed"
    }

    private func message(
        _ partner: FederatedPartner,
        _ standing: PartnerStanding
    ) -> Signet_Admin_V1alpha1_FederatedBundle {
        .with {
            $0.trustDomain = partner.trustDomain.name
            $0.name = partner.name
            $0.bundleEndpointURL = partner.spec?.bundleEndpointURL.description ?? ""
            switch partner.spec?.bundleEndpointProfile {
            case nil: break
            case .web: $0.bundleEndpointProfile = "https_web"
            case .spiffe(let id, _):
                $0.bundleEndpointProfile = "https_spiffe"
                $0.endpointSpiffeID = id.description
            }
            $0.hasSequence_p = partner.record.sequenceNumber != nil
            $0.sequence = partner.record.sequenceNumber ?? 0
            $0.withheld = partner.record.isWithheld
            $0.confirmedAtUnixSeconds = partner.record.confirmedAt?.wholeSeconds ?? 0
            $0.changedAtUnixSeconds = partner.record.changedAt?.wholeSeconds ?? 0
            $0.staleAtUnixSeconds = partner.staleAt?.wholeSeconds ?? 0
            $0.lastFetchAtUnixSeconds = standing.lastFetchAt?.wholeSeconds ?? 0
            $0.lastResult = standing.lastResult
            $0.problem = partner.unreadable?.description ?? standing.problem ?? ""
            $0.failuresInRow = UInt32(clamping: standing.failuresInRow)
            $0.sequenceReused = standing.isSequenceReused
            $0.nextFetchAtUnixSeconds = standing.nextFetchAt?.wholeSeconds ?? 0
        }
    }
}
