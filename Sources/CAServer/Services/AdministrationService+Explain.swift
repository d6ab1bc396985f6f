// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import Clocks
internal import ControlAPI
internal import ControlAPIProtos
internal import Datastore
internal import DecisionWire
internal import FoundationEssentials
internal import GRPCCore
internal import HTTPSemantics
internal import PolicyDocuments
internal import SPIFFE
internal import SwiftProtobuf

/// What policies say of a request that nobody made.
extension AdministrationService {
    /// Stands for an address that nobody asks about: the unspecified one, from which no connection
    /// comes.
    private static let noAddress = "::"

    func explainRequest(
        request: Signet_Admin_V1alpha1_ExplainRequestRequest,
        context: ServerContext
    ) async throws -> Signet_Node_V1alpha1_DecisionExplanation {
        let asked = try Self.access(request, in: core.logic.trustDomain)
        let workload = try Self.identity(request.to, "the workload that is asked")
        let namespace = request.namespace
        let (explanation, revision) = try await gate.read(
            .exactly(.explain, spiffeID: workload.description),
            context
        ) { transaction, standing in
            let entries = try transaction.entries(
                spiffeIDPrefix: workload.description,
                limit: Self.radiusMax
            )
            .filter { $0.spiffeID == workload.description }
            let namespaces = Set(entries.map(\.namespace))
            let meant = try Self.namespace(namespace, of: workload, among: namespaces)
            var composer = ProxyComposer(in: transaction, now: standing.now)
            let policies = try composer.policies(holdingFor: workload, in: meant)
            if request.address.isEmpty { try Self.requireNoAddress(policies) }
            try Self.requireNoOtherFacts(policies)
            return (
                AccessExplanation(asked, under: policies), try transaction.revision()
            )
        }
        return explanation.message(of: asked, workload: workload, at: core.clock.wallTime)
            .with(revision: revision.message)
    }

    /// What is not known counts against access, which a made-up address would not.
    private static func requireNoAddress(_ policies: [AccessPolicy]) throws(APIError) {
        let asking = policies.filter { policy in
            policy.mode != .off
                && policy.rules.contains { $0.from?.contains { !$0.addresses.isAbsent } ?? false }
        }
        guard asking.isEmpty else {
            throw APIError(
                .failedPrecondition,
                "addressMissing",
                "AccessPolicy \(ProxyReview.list(asking.map { "\($0.namespace)/\($0.name)" })) asks "
                    + "for the peer's address; add --address IP"
            )
        }
    }

    /// The same of what this question has no words for.
    private static func requireNoOtherFacts(_ policies: [AccessPolicy]) throws(APIError) {
        let asking = policies.filter { policy in
            policy.mode != .off
                && policy.rules.contains { rule in
                    rule.to?.contains { !$0.hosts.isAbsent } ?? false
                        || !rule.when.isEmpty
                }
        }
        guard asking.isEmpty else {
            throw APIError(
                .failedPrecondition,
                "factMissing",
                "AccessPolicy \(ProxyReview.list(asking.map { "\($0.namespace)/\($0.name)" })) asks "
                    + "for a host, a header or the name of the handshake, which this question cannot "
                    + "have; write a test in the document"
            )
        }
    }

    private static func namespace(
        _ named: String,
        of workload: SPIFFEID,
        among known: Set<String>
    ) throws(APIError) -> String {
        if !named.isEmpty { return named }
        if let only = known.first, known.count == 1 { return only }
        throw APIError(
            .failedPrecondition,
            known.isEmpty ? "workloadUnknown" : "workloadAmbiguous",
            known.isEmpty
                ? "no entry names \(workload); say its namespace (-n) if a template gives it"
                : "entries of several namespaces give \(workload) "
                    + "(\(ProxyReview.list(known))); name one with -n"
        )
    }

    private static func access(
        _ request: Signet_Admin_V1alpha1_ExplainRequestRequest,
        in trustDomain: TrustDomain
    ) throws(APIError) -> AccessRequest {
        let text = request.address.isEmpty ? noAddress : request.address
        guard let address = IPAddress(text) else {
            throw APIError(.invalidArgument, "address", "\(text) is no IP address")
        }
        guard let port = UInt16(exactly: request.port), port > 0 else {
            throw APIError(
                .invalidArgument,
                "port",
                "name the port of the workload, from 1 to 65535"
            )
        }
        var http: AccessRequest.HTTP?
        if !request.method.isEmpty {
            http = AccessRequest.HTTP(method: request.method, path: request.path)
            guard http != nil else {
                throw APIError(
                    .invalidArgument,
                    "path",
                    "a proxy lets no request with the path \"\(request.path)\" through; a path begins "
                        + "with / and has no query"
                )
            }
        } else if !request.path.isEmpty {
            throw APIError(
                .invalidArgument,
                "method",
                "name the method with the path, or neither for a TCP connection"
            )
        }
        return AccessRequest(
            peer: try request.from.isEmpty ? nil : identity(request.from, "who asks"),
            in: trustDomain,
            address: address,
            port: port,
            http: http
        )
    }

    private static func identity(
        _ text: String,
        _ who: String
    ) throws(APIError) -> SPIFFEID {
        do throws(SPIFFEIDError) { return try SPIFFEID(text) } catch {
            throw APIError(.invalidArgument, "spiffeID", "\(who): \(error)")
        }
    }
}

extension ProxyComposer {
    /// The policies that hold for a workload of a namespace.
    mutating func policies(
        holdingFor id: SPIFFEID,
        in namespace: String
    ) throws -> [AccessPolicy] {
        let workload = try workload(id, in: namespace)
        var held: [AccessPolicy] = []
        for namespace in Set([namespace, AdminRole.rootNamespace]).sorted() {
            held += try policies(of: namespace)
                .filter { policy in
                    (policy.expires.map { now < $0 } ?? true) && workload.isHeld(by: policy.policy)
                }
                .map(\.policy)
        }
        return held
    }
}

extension Signet_Node_V1alpha1_DecisionExplanation {
    fileprivate func with(revision: Signet_Node_V1alpha1_Revision) -> Self {
        var copy = self
        copy.revision = revision
        return copy
    }
}
