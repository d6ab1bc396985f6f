// SPDX-License-Identifier: Apache-2.0

import AuditLog
import CAServer
import ControlAPI
import FoundationEssentials
import NodeAgent
import NodeSync
import SPIFFE

/// What the shell asks the server for: its own SVID, and those of the workloads.
extension AgentProcess {
    // MARK: - The agent's own SVID

    func renewOwn(_ renewal: OwnSVID.Renewal) throws {
        let csr = try key.certificateRequest()
        let mark = logic.audit.mark
        switch renewal {
        case .renew:
            guard let channel else { return }
            machine.network.ask(
                .renewal(csr: csr, checkpointSize: mark?.size ?? 0),
                on: channel
            ) { [self] result in
                try await whileOpen(channel) { [self] in
                    try await renewed(result, asked: mark)
                }
            }
        case .readmit:
            let caller = Caller(link: machine.link, chain: []) { [self] chain in
                await machine.judge(chain, verifier)
            }
            let request = Request.readmission(
                name: machine.name,
                csr: csr,
                checkpointSize: mark?.size ?? 0
            )
            machine.network.ask(request, caller) { [self] result in
                try await guarded { [self] in try await renewed(result, asked: mark) }
            }
        }
    }

    private func renewed(
        _ result: Result<Reply, CallFailure>,
        asked mark: CheckpointMark?
    ) async throws {
        let problem: String
        switch result {
        case .success(.admitted(let admission)):
            let bundle = admission.bundle
            do {
                let chain = try await IssuedChain(
                    verifying: admission.chain,
                    id: identity.id,
                    spkiSHA256: key.spkiSHA256,
                    verifier: PeerVerifier(bundles: [bundle.trustDomain: bundle]),
                    now: now.wall
                )
                return try await take(chain, admission, asked: mark)
            } catch let error as IssuedChainError {
                problem = error.description
            }
        case .success: problem = "another answer than asked for"
        case .failure(let failure): problem = failure.text
        }
        scheduler.note("\(machine.name) has no new SVID of its own: \(problem)")
        try await perform(
            logic.ownSVIDRenewalFailed(problem, now: now, using: &machine.random)
        )
    }

    private func take(
        _ chain: IssuedChain,
        _ admission: Reply.Admission,
        asked mark: CheckpointMark?
    ) async throws {
        // As `AgentCore.renewed`: first the file with the new chain, then what the logic says.
        identity.renew(chain, issuedAt: now.wall, bundle: admission.bundle)
        try machine.write(identity.encoded(), to: .identity)
        let validity = SVIDValidity(issuedAt: identity.issuedAt, notAfter: chain.notAfter)
        try await perform(
            logic.ownSVIDRenewed(
                validity,
                authorityKeyID: chain.authorityKeyID,
                bundle: admission.bundle,
                now: now,
                using: &machine.random
            )
        )
        try await see(admission.checkpoint, asked: mark)
    }

    private func see(_ update: CheckpointUpdate?, asked mark: CheckpointMark?) async throws {
        guard let update else { return }
        try await perform(
            logic.checkpointReceived(
                note: update.note,
                path: update.proof,
                asked: mark,
                now: now,
                using: &machine.random
            )
        )
    }

    // MARK: - Workloads

    func sign(_ batch: SigningBatch) throws {
        guard let channel else { return }
        var keys: [NodeKey] = []
        var requests: [WorkloadSigningRequest] = []
        for item in batch.items {
            let drawn = try SimulatedKey(using: &machine.random)
            guard let key = NodeKey(pkcs8: drawn.pkcs8) else { return }
            keys.append(key)
            requests.append(
                WorkloadSigningRequest(
                    entryID: item.key.entryID,
                    spiffeID: item.key.spiffeID.description,
                    csr: try drawn.certificateRequest(),
                    variables: item.variables,
                    proxy: item.key.holder.proxy
                )
            )
        }
        let mark = logic.audit.mark
        machine.network.ask(
            .sign(requests, checkpointSize: mark?.size ?? 0),
            on: channel
        ) { [self] result in
            try await whileOpen(channel) { [self] in
                try await answered(batch, keys, result, asked: mark)
            }
        }
    }

    private func answered(
        _ batch: SigningBatch,
        _ keys: [NodeKey],
        _ result: Result<Reply, CallFailure>,
        asked mark: CheckpointMark?
    ) async throws {
        var results: [IdentityKey: SigningResult] = [:]
        switch result {
        case .success(.signed(let answers, let update)):
            try await see(update, asked: mark)
            for (index, answer) in answers.enumerated() where index < batch.items.count {
                let item = batch.items[index]
                results[item.key] = await judged(answer, for: item.key, keys[index])
            }
        case .success: break
        case .failure(let failure):
            scheduler.note("\(machine.name) signing failed: \(failure.text)")
            for item in batch.items { results[item.key] = .failed(failure.text) }
        }
        try await perform(logic.signed(batch.id, results, now: now, using: &machine.random))
        if machine.sabotage == .repeatedSigning { try sign(batch) }
    }

    private func judged(
        _ answer: Result<[UInt8], APIError>,
        for identity: IdentityKey,
        _ key: NodeKey
    ) async -> SigningResult {
        switch answer {
        case .failure(let error):
            let isRetryable = [.unavailable, .exhausted, .conflict].contains(error.kind)
            return isRetryable ? .failed(error.reason) : .refused(error.reason)
        case .success(let der):
            do {
                let chain = try await IssuedChain(
                    verifying: [der],
                    id: identity.spiffeID,
                    spkiSHA256: key.spkiSHA256,
                    verifier: verifier,
                    now: now.wall
                )
                return .issued(
                    IssuedSVID(chain, key: key, of: identity, issuedAt: now.wall)
                )
            } catch {
                return .failed("\(error)")
            }
        }
    }
}
