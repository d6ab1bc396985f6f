// SPDX-License-Identifier: Apache-2.0

internal import ControlAPI
internal import ControlAPIProtos
internal import FoundationEssentials
internal import GRPCCore
internal import GRPCPeer
internal import NodeSync
internal import SPIFFE
internal import SwiftProtobuf

/// What agents ask: renewal, certificates for workloads, and the stream of everything in scope.
struct NodeService: Signet_Node_V1alpha1_Node.SimpleServiceProtocol {
    let core: ServerCore

    func renew(
        request: Signet_Node_V1alpha1_RenewRequest,
        context: ServerContext
    ) async throws -> Signet_Node_V1alpha1_AttestResponse {
        let peer = try context.verifiedPeer
        let identity = try await core.admit(
            .renewal(peer),
            csr: Array(request.csr),
            source: peer.id.description
        )
        return core.response(identity, to: request.checkpointHave)
    }

    func signX509SVIDs(
        request: Signet_Node_V1alpha1_SignX509SVIDsRequest,
        context: ServerContext
    ) async throws -> Signet_Node_V1alpha1_SignX509SVIDsResponse {
        let peer = try context.verifiedPeer
        let requests = request.requests.map {
            WorkloadSigningRequest(
                entryID: $0.entryID,
                spiffeID: $0.spiffeID,
                csr: Array($0.csr),
                variables: $0.variables,
                replacesNotAfter: $0.replacesNotAfterUnixSeconds == 0
                    ? nil : Date(timeIntervalSince1970: Double($0.replacesNotAfterUnixSeconds)),
                proxy: $0.proxy.isEmpty ? nil : $0.proxy
            )
        }
        let results = try await core.signWorkloads(requests, for: peer)
        return .with {
            $0.results = results.map { result in
                .with {
                    switch result {
                    case .success(let chain):
                        $0.signed = .with { $0.certificateChain = chain.map { Data($0) } }
                    case .failure(let error): $0.refusal = error.refusalMessage
                    }
                }
            }
            $0.checkpoint = core.checkpointUpdate(for: request.checkpointHave)
        }
    }

    func signJWTSVIDs(
        request: Signet_Node_V1alpha1_SignJWTSVIDsRequest,
        context: ServerContext
    ) async throws -> Signet_Node_V1alpha1_SignJWTSVIDsResponse {
        let peer = try context.verifiedPeer
        let requests = request.requests.map {
            TokenSigningRequest(
                entryID: $0.entryID,
                spiffeID: $0.spiffeID,
                audiences: $0.audiences,
                variables: $0.variables
            )
        }
        let results = try await core.signTokens(requests, for: peer)
        return .with {
            $0.results = results.map { result in
                .with {
                    switch result {
                    case .success(let token): $0.token = token
                    case .failure(let error): $0.refusal = error.refusalMessage
                    }
                }
            }
            $0.checkpoint = core.checkpointUpdate(for: request.checkpointHave)
        }
    }

    func exchangeToken(
        request: Signet_Node_V1alpha1_ExchangeTokenRequest,
        context: ServerContext
    ) async throws -> Signet_Node_V1alpha1_ExchangeTokenResponse {
        let peer = try context.verifiedPeer
        let result = try await core.exchange(
            TokenExchangeRequest(
                entryID: request.entryID,
                spiffeID: request.spiffeID,
                variables: request.variables,
                subjectToken: request.subjectToken,
                audience: request.audience
            ),
            for: peer
        )
        return .with {
            switch result {
            case .success(let token): $0.token = token
            case .failure(let error): $0.refusal = error.refusalMessage
            }
            $0.checkpoint = core.checkpointUpdate(for: request.checkpointHave)
        }
    }

    func certifyAuthority(
        request: Signet_Node_V1alpha1_CertifyAuthorityRequest,
        context: ServerContext
    ) async throws -> Signet_Node_V1alpha1_CertifyAuthorityResponse {
        let chain = try await core.certifyDownstream(
            entryID: request.entryID,
            csr: Array(request.csr),
            lifetimeSeconds: request.lifetimeSeconds,
            for: try context.verifiedPeer
        )
        return .with { $0.chain = chain.map { Data($0) } }
    }

    func storeDecisions(
        request: Signet_Node_V1alpha1_StoreDecisionsRequest,
        context: ServerContext
    ) async throws -> Signet_Node_V1alpha1_StoreDecisionsResponse {
        let peer = try context.verifiedPeer
        let (core, logic) = (core, core.logic)
        do throws(APIError) {
            // A node that may not speak takes no place from the others.
            _ = try await core.read { try logic.standing(of: peer, in: $0) }
        } catch {
            await core.record(error, of: "storeDecisions", by: peer)
            throw error
        }
        do throws(APIError) {
            try await core.decisions.store(Array(request.segment), of: peer.id)
        } catch {
            return .with { $0.refusal = error.refusalMessage }
        }
        return .with { $0.stored = .init() }
    }

    func sync(
        request: RPCAsyncSequence<Signet_Node_V1alpha1_SyncRequest, any Error>,
        response: RPCWriter<Signet_Node_V1alpha1_SyncResponse>,
        context: ServerContext
    ) async throws {
        let peer = try context.verifiedPeer
        do {
            let stream = SyncStream(
                core: core,
                peer: peer,
                stream: context.stream,
                source: try context.address
            )
            try await stream.serve(request, response)
        } catch {
            await core.record(error, of: "sync", by: peer)
            throw error
        }
    }
}

extension APIError {
    var refusalMessage: Signet_Node_V1alpha1_Refusal {
        .with {
            $0.code = reason
            $0.message = message
            $0.retryable = kind == .unavailable || kind == .exhausted || kind == .conflict
            if let retryAfterMilliseconds { $0.retryAfterMilliseconds = retryAfterMilliseconds }
        }
    }
}
