// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import ControlAPI
internal import ControlAPIProtos
internal import FoundationEssentials
internal import GRPCCore
internal import GRPCPeer
internal import Logging
internal import SPIFFE
internal import SwiftProtobuf
internal import Telemetry

/// How the agent asks for new SVIDs of its own, always with the key it has.
struct OwnSVIDCalls {
    let core: AgentCore

    /// Renews on the open connection.
    func renew(on node: ServerConnection.Node) async {
        let (mark, have) = (core.ask { $0.audit.mark }, core.checkpointHave())
        do {
            let csr = try core.key.certificateRequest()
            let message = try await node.renew(
                .with {
                    $0.csr = Data(csr)
                    $0.checkpointHave = have
                },
                options: .besideStream(timeout: FirstContact.callTimeout)
            )
            try await take(message)
            core.received(message.checkpoint, asked: mark)
        } catch {
            // Without the connection the renewal is asked for again by itself.
            guard !Task.isCancelled else { return }
            failed(error)
        }
    }

    /// Comes back after the SVID expired, whenever the logic asks for it, until cancelled.
    ///
    /// Each server is tried once; its certificate is verified with the bundle on disk.
    func readmit(at addresses: [ServerAddress]) async {
        var next = 0
        for await _ in core.readmissions {
            let address = addresses[next % addresses.count]
            next += 1
            do {
                let (core, name) = (core, core.name)
                let csr = try core.key.certificateRequest()
                let (mark, have) = (core.ask { $0.audit.mark }, core.checkpointHave())
                let call = try AnonymousCall(
                    to: address,
                    server: .required { try await core.verifyServer($0) }
                )
                let message = try await call.run { service in
                    try await service.readmit(
                        .with {
                            $0.csr = Data(csr)
                            $0.agentName = name
                            $0.checkpointHave = have
                        },
                        options: .oneAnswer
                    )
                }
                try await take(message)
                core.received(message.checkpoint, asked: mark)
            } catch {
                guard !Task.isCancelled else { return }
                failed(error)
            }
        }
    }

    private func take(_ message: Signet_Node_V1alpha1_AttestResponse) async throws {
        let identity = core.trust.identity
        let answer = try await AttestationAnswer(
            checking: message,
            trustDomain: identity.trustDomain,
            id: identity.id,
            key: core.key,
            now: core.clock.wallTime
        )
        try await core.renewed(answer)
        core.logger.info("own certificate renewed", metadata: ["until": "\(answer.chain.notAfter)"])
    }

    private func failed(_ error: any Error) {
        var reason = (error as? RPCError).map { APIError($0).description } ?? "\(error)"
        if error as? PeerVerificationError == .noPath {
            // Its authorities have changed while this agent was away, or it is another server.
            reason +=
                "; if it is the right server, "
                + OwnSVID.newTokenRemedy(agent: core.name)
        }
        core.metrics.increment(.svidRenewals, "failed")
        core.logger.warning("own certificate not renewed", metadata: ["reason": "\(reason)"])
        core.transition { $0.ownSVIDRenewalFailed(reason, now: $1, using: &$2) }
    }
}
