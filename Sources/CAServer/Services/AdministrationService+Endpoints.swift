// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import ControlAPI
internal import ControlAPIProtos
internal import Datastore
internal import GRPCCore
internal import NodeSync
internal import PolicyDocuments
internal import Routing
internal import SPIFFE
internal import SwiftProtobuf

/// Where the servers of Services are, as far as this server knows.
extension AdministrationService {
    /// Most endpoints that one answer names.
    static let endpointsListedMax = 5_000

    func listEndpoints(
        request: Signet_Admin_V1alpha1_ListEndpointsRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_ListEndpointsResponse {
        let namespace =
            request.namespace.isEmpty ? DocumentMetadata.defaultNamespace : request.namespace
        // It tells of both.
        try await gate.read(
            .exactly(.list, kind: DataPathKind.proxy, namespace: namespace),
            context
        )
        let filter = DocumentFilter(
            group: DocumentKey.nativeGroup,
            kind: DataPathKind.service,
            namespace: namespace
        )
        let question = AdminQuestion.exactly(
            .list,
            kind: DataPathKind.service,
            namespace: namespace
        )
        let services = try await gate.read(question, context) { transaction, _ in
            try transaction.documents(filter, limit: ProxyComposer.documentsPerNamespaceMax)
                .compactMap { try Document(stored: $0).service }
        }
        guard request.service.isEmpty || services.contains(where: { $0.name == request.service })
        else {
            throw APIError(
                .notFound,
                "serviceUnknown",
                "there is no Service \(namespace)/\(request.service)"
            )
        }
        let rows = rows(of: services, in: namespace, named: request.service)
        return .with {
            $0.endpoints = Array(rows.prefix(Self.endpointsListedMax))
            $0.truncated = rows.count > Self.endpointsListedMax
        }
    }

    private func rows(
        of services: [Service],
        in namespace: String,
        named name: String
    ) -> [Signet_Admin_V1alpha1_Endpoint] {
        let (known, unusable) = core.hub.endpoints.statuses(namespace: namespace)
        var rows: [Signet_Admin_V1alpha1_Endpoint] = []
        var matched: Set<EndpointStatus> = []
        for service in services.sorted(by: { $0.name < $1.name }) {
            var own = service.endpoints.map { address in
                Signet_Admin_V1alpha1_Endpoint.with {
                    $0.service = service.name
                    $0.address = "\(address)"
                    $0.state = "static"
                }
            }
            for port in service.ports where service.isObserved {
                for status in known where status.kind.serves(port, of: service) {
                    matched.insert(status)
                    own.append(status.message(service.name, port.name))
                }
            }
            if name.isEmpty || service.name == name { rows += own }
        }
        guard name.isEmpty else { return rows }
        rows += known.filter { !matched.contains($0) }.map { status in
            var row = status.message("", "")
            row.state = "unusable"
            row.reason =
                "no Service with observed: true has a port \(status.kind.name) of protocol "
                + "\(status.kind.trafficProtocol) and this identity"
            return row
        }
        return rows + unusable.map(\.message)
    }
}

extension ListenerKind {
    /// Whether listeners of this kind are endpoints of a port.
    fileprivate func serves(_ port: ServicePort, of service: Service) -> Bool {
        namespace == service.namespace && name == port.name
            && trafficProtocol == port.trafficProtocol.rawValue
            && service.identities.contains(identity)
    }
}

extension EndpointStatus {
    fileprivate func message(
        _ service: String,
        _ port: String
    ) -> Signet_Admin_V1alpha1_Endpoint {
        .with {
            $0.service = service
            $0.port = port
            $0.address = address
            $0.state = state.rawValue
            $0.node = agent.name
            $0.proxy = place.proxy
            $0.listener = place.listener
            $0.identity = kind.identity.description
            $0.reason =
                switch state {
                case .up: ""
                case .damped: "it came and went, and is in use again soon"
                case .leased: "its agent has lost sight of it"
                case .lost:
                    "its agent is away; it is in use while fewer than half of the port's endpoints "
                        + "are left"
                }
        }
    }
}

extension UnusableListener {
    fileprivate var message: Signet_Admin_V1alpha1_Endpoint {
        .with {
            $0.address = address
            $0.state = "unusable"
            $0.node = agent.name
            $0.proxy = place.proxy
            $0.listener = place.listener
            $0.identity = identity.description
            $0.reason = reason
        }
    }
}
