// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Clocks
internal import ControlAPI
internal import ControlAPIProtos
internal import FoundationEssentials
internal import GRPCCore
internal import GRPCPeer
internal import HTTPSemantics
internal import NodeAttestation
internal import SPIFFE
internal import SwiftProtobuf
internal import Telemetry

/// First contact and readmission: open to callers without a certificate.
struct NodeAttestationService: Signet_Node_V1alpha1_NodeAttestation.SimpleServiceProtocol {
    let core: ServerCore

    func getBundle(
        request: Signet_Node_V1alpha1_GetBundleRequest,
        context: ServerContext
    ) async throws -> Signet_Node_V1alpha1_TrustBundle {
        let wait = core.bundleLimiter.take(1, of: try context.source, now: core.clock.bootTime)
        if let wait {
            core.metrics.increment(.unauthenticatedRequests, "bundle")
            throw APIError(
                .exhausted,
                "bundleRate",
                "the bundle is fetched too often from this address; try again in \(wait)"
            )
        }
        return try core.trust.bundle.withoutJWTAuthorities.message
    }

    func attestJoinToken(
        request: Signet_Node_V1alpha1_AttestJoinTokenRequest,
        context: ServerContext
    ) async throws -> Signet_Node_V1alpha1_AttestResponse {
        let hash = JoinToken.hash(secret: Array(request.secret))
        let identity = try await core.admit(
            .joinToken(hash: hash),
            csr: Array(request.csr),
            source: try context.source
        )
        return core.response(identity, to: nil)
    }

    func readmit(
        request: Signet_Node_V1alpha1_ReadmitRequest,
        context: ServerContext
    ) async throws -> Signet_Node_V1alpha1_AttestResponse {
        _ = try core.logic.agentID(request.agentName)
        let identity = try await core.admit(
            .readmission(name: request.agentName),
            csr: Array(request.csr),
            source: try context.source
        )
        return core.response(identity, to: request.checkpointHave)
    }
}

extension ServerCore {
    func response(
        _ identity: AgentIdentity,
        to have: Signet_Node_V1alpha1_CheckpointHave?
    ) -> Signet_Node_V1alpha1_AttestResponse {
        .with {
            $0.certificateChain = identity.certificateChain.map { Data($0) }
            $0.bundle = identity.bundle.withoutJWTAuthorities.message
            $0.spiffeID = identity.id.description
            $0.auditKey = audit.key.description
            $0.checkpoint = checkpointUpdate(for: have)
            $0.serverTimeUnixMilliseconds = clock.wallTime.unixMilliseconds
            $0.serverID = logic.serverID
        }
    }
}

extension ServerContext {
    /// Where a caller connects from, without its port: what rates are counted by.
    var source: String {
        get throws {
            switch try peer {
            case .local(let local): return "uid:\(local.uid)"
            case .remote(let address, _): return ConnectionSource(address: address).description
            }
        }
    }

    /// From where the caller connects; nil for a local one, and where that makes no address.
    var address: IPAddress? {
        get throws {
            guard case .remote(let address, _) = try peer else { return nil }
            return IPAddress(ofPeer: address)
        }
    }

    /// The certificate that the caller has proved.
    ///
    /// - Throws: `APIError` (`unauthenticated`) for callers without one.
    var verifiedPeer: VerifiedPeer {
        get throws {
            guard case .remote(_, let verified?) = try peer else {
                throw APIError(
                    .unauthenticated,
                    "certificateRequired",
                    "this call needs the certificate of an agent"
                )
            }
            return verified
        }
    }
}
