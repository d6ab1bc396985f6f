// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import ControlAPI
internal import ControlAPIProtos
package import FoundationEssentials
internal import GRPCCore
package import NodeSync
internal import SPIFFE
internal import SwiftProtobuf
internal import Telemetry

/// Has a batch of workload SVIDs signed: keys made here, chains verified before they count.
struct WorkloadSigning {
    let core: AgentCore

    func sign(_ batch: SigningBatch, on node: ServerConnection.Node) async {
        let (mark, have) = (core.ask { $0.audit.mark }, core.checkpointHave())
        var results: [IdentityKey: SigningResult] = [:]
        do {
            var keys: [NodeKey] = []
            let request = try Signet_Node_V1alpha1_SignX509SVIDsRequest.with { request in
                for item in batch.items {
                    let key = NodeKey()
                    let csr = try key.certificateRequest()
                    keys.append(key)
                    request.requests.append(item.message(csr: csr))
                }
                request.checkpointHave = have
            }
            let response = try await node.signX509SVIDs(
                request,
                options: .besideStream(timeout: ServerConnection.signingTimeout)
            )
            guard response.results.count == batch.items.count else {
                throw WireError.field("results", "not as many as requests")
            }
            core.received(response.checkpoint, asked: mark)
            let (verifier, now) = (core.trust.verifier, core.clock.wallTime)
            for (index, item) in batch.items.enumerated() {
                results[item.key] = await Self.result(
                    response.results[index].result,
                    of: item.key,
                    key: keys[index],
                    verifier: verifier,
                    now: now
                )
            }
        } catch {
            let reason = (error as? RPCError).map { APIError($0).description } ?? "\(error)"
            for item in batch.items { results[item.key] = .failed(reason) }
        }
        let outcome = results
        core.transition { $0.signed(batch.id, outcome, now: $1, using: &$2) }
        core.metrics.set(.cachedSVIDs, to: Double(core.ask { $0.cache.svidCount }))
    }

    /// What one answer means.
    ///
    /// - Parameters:
    ///   - result: The server's answer.
    ///   - identity: What was asked for.
    ///   - key: What it was asked with.
    ///   - verifier: The current bundle.
    ///   - now: The wall clock, taken as the time of issuance.
    /// - Returns: A verified SVID, or why there is none.
    static func result(
        _ result: Signet_Node_V1alpha1_SignX509SVIDResult.OneOf_Result?,
        of identity: IdentityKey,
        key: NodeKey,
        verifier: PeerVerifier,
        now: Date
    ) async -> SigningResult {
        switch result {
        case .refusal(let refusal):
            let reason = "\(refusal.message) [\(refusal.code)]"
            return refusal.retryable ? .failed(reason) : .refused(reason)
        case nil: return .failed("the server sent neither a certificate nor a refusal")
        case .signed(let signed):
            do {
                let chain = try await IssuedChain(
                    verifying: signed.certificateChain.map { Array($0) },
                    id: identity.spiffeID,
                    spkiSHA256: key.spkiSHA256,
                    verifier: verifier,
                    now: now
                )
                return .issued(IssuedSVID(chain, key: key, of: identity, issuedAt: now))
            } catch {
                return .failed("\(error)")
            }
        }
    }
}

extension IssuedSVID {
    package init(_ chain: IssuedChain, key: NodeKey, of identity: IdentityKey, issuedAt: Date) {
        self.init(
            svid: X509SVID(
                id: chain.id,
                certificateChain: chain.chain,
                privateKeyPKCS8: key.pkcs8,
                issuedAt: issuedAt,
                notAfter: chain.notAfter,
                hint: "",
                entryID: identity.entryID,
                serial: chain.serial
            ),
            dnsNames: chain.dnsNames,
            authorityKeyID: chain.authorityKeyID,
            notBefore: chain.notBefore,
            holder: identity.holder
        )
    }
}

extension SigningBatch.Item {
    fileprivate func message(csr: [UInt8]) -> Signet_Node_V1alpha1_SignX509SVID {
        .with {
            $0.entryID = key.entryID
            $0.spiffeID = key.spiffeID.description
            $0.csr = Data(csr)
            $0.variables = variables
            $0.replacesNotAfterUnixSeconds = replacesNotAfter ?? 0
            $0.proxy = key.holder.proxy ?? ""
        }
    }
}
