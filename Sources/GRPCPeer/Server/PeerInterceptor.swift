// SPDX-License-Identifier: Apache-2.0

package import GRPCCore
internal import SPIFFE
internal import struct FoundationEssentials.Date

/// Metadata that every method of one service demands, exactly once and with exactly one value.
package struct RequiredMetadata: Hashable, Sendable {
    /// Fully qualified name of the service.
    package let service: String
    package let key: String
    package let value: String

    package init(service: String, key: String, value: String) {
        self.service = service
        self.key = key
        self.value = value
    }

    /// What keeps a request forged through a URL fetcher out of the Workload API
    /// (SPIFFE Workload Endpoint section 6).
    package static let workloadAPI = Self(
        service: "SpiffeWorkloadAPI",
        key: "workload.spiffe.io",
        value: "true"
    )

    /// The same for what certifies the authorities of servers below, beside it on the same socket
    /// (docs/decisions/0020-authorities-under-another.md, "Nested").
    package static let upstream = Self(
        service: "signet.upstream.v1alpha1.Upstream",
        key: workloadAPI.key,
        value: workloadAPI.value
    )
}

/// Tells each request's handler its peer, and refuses peers that may no longer speak.
package struct PeerInterceptor: ServerInterceptor {
    private let connections: PeerConnections
    private let required: [RequiredMetadata]
    private let believes: @Sendable (VerifiedPeer) -> Bool
    private let now: @Sendable () -> Date

    init(
        connections: PeerConnections,
        required: [RequiredMetadata],
        believes: @escaping @Sendable (VerifiedPeer) -> Bool,
        now: @escaping @Sendable () -> Date
    ) {
        self.connections = connections
        self.required = required
        self.believes = believes
        self.now = now
    }

    package func intercept<Input: Sendable, Output: Sendable>(
        request: StreamingServerRequest<Input>,
        context: ServerContext,
        next:
            @concurrent @Sendable (
                _ request: StreamingServerRequest<Input>,
                _ context: ServerContext
            ) async throws -> StreamingServerResponse<Output>
    ) async throws -> StreamingServerResponse<Output> {
        var request = request
        var context = context
        let labels = Array(request.metadata[stringValues: StreamLabelHandler.headerName])
        request.metadata.removeAllValues(forKey: StreamLabelHandler.headerName)
        guard labels.count == 1, let origin = connections.origin(label: labels[0]) else {
            throw RPCError(code: .internalError, message: "the peer of this request is unknown")
        }
        try check(metadata: request.metadata, service: context.descriptor.service)
        try check(origin.peer)
        context.transportSpecific = origin
        return try await next(request, context)
    }

    /// Workload Endpoint row E-2: missing, repeated or different is INVALID_ARGUMENT.
    private func check(
        metadata: Metadata,
        service: ServiceDescriptor
    ) throws(RPCError) {
        for rule in required where rule.service == service.fullyQualifiedService {
            guard Array(metadata[stringValues: rule.key]) == [rule.value] else {
                throw RPCError(
                    code: .invalidArgument,
                    message: "metadata \(rule.key): \(rule.value) is required exactly once"
                )
            }
        }
    }

    /// A connection outlives what was true when it was opened, so this is asked for each request.
    private func check(_ peer: PeerContext) throws(RPCError) {
        switch peer {
        case .local(let process):
            guard process.isAlive() else {
                throw RPCError(
                    code: .permissionDenied,
                    message: "the process that opened this connection has exited"
                )
            }
        case .remote(_, let verified):
            guard let verified else { return }
            guard now() <= verified.pathNotAfter else {
                throw RPCError(
                    code: .unauthenticated,
                    message: "the certificate of this connection has expired; connect again"
                )
            }
            guard believes(verified) else {
                throw RPCError(
                    code: .unauthenticated,
                    message: "the certificate of this connection, or its authority, was revoked; "
                        + "connect again with another certificate"
                )
            }
        }
    }
}
