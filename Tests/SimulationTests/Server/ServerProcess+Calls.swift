// SPDX-License-Identifier: Apache-2.0

import AuditLog
import CAServer
import ControlAPI
import Datastore
import FoundationEssentials
import Issuance
import SPIFFE

/// What `NodeAttestationService`, `NodeService` and `ServerCore+Issuing` do, with the pauses
/// between reading, committing and answering in which anything may happen.
extension ServerProcess {
    typealias Answer = (Result<Reply, APIError>) -> Void

    func serve(
        _ request: Request,
        from peer: VerifiedPeer?,
        source: String,
        answer: @escaping Answer
    ) async throws {
        do {
            if let peer, !believes(peer) {
                throw APIError(.unauthenticated, "revoked", "the authority was revoked")
            }
            switch request {
            case .bundle: answer(.success(.bundle(try requireTrust().bundle)))
            case .joinToken(let hash, let csr):
                try admit(.joinToken(hash: hash), csr: csr, source: source, since: 0, answer)
            case .readmission(let name, let csr, let size):
                try admit(.readmission(name: name), csr: csr, source: source, since: size, answer)
            case .renewal(let csr, let size):
                let peer = try required(peer)
                try admit(
                    .renewal(peer),
                    csr: csr,
                    source: peer.id.description,
                    since: size,
                    answer
                )
            case .sign(let requests, let size):
                try sign(requests, for: try required(peer), since: size, answer)
            }
        } catch let gone as ServerGone {
            throw gone
        } catch {
            answer(.failure(APIError(datastore: error)))
        }
    }

    private func required(_ peer: VerifiedPeer?) throws(APIError) -> VerifiedPeer {
        guard let peer else {
            throw APIError(.unauthenticated, "certificateRequired", "an SVID is needed")
        }
        return peer
    }

    /// Does the next step of a call after some work; what it throws is the answer.
    private func step(
        _ label: String,
        after pause: Duration? = nil,
        _ answer: @escaping Answer,
        _ action: @escaping () throws -> Void
    ) {
        after(pause ?? workTime(), "server \(label)") {
            do {
                try action()
            } catch let gone as ServerGone {
                throw gone
            } catch {
                answer(.failure(APIError(datastore: error)))
            }
        }
    }

    // MARK: - Agents

    private func admit(
        _ admission: AgentAdmission,
        csr: [UInt8],
        source: String,
        since size: UInt64,
        _ answer: @escaping Answer
    ) throws {
        guard attestationLimiter.take(1, of: source, now: clock.bootTime) == nil else {
            throw APIError(.exhausted, "attestationRate", "too many attestations")
        }
        let (logic, now) = (logic, clock.wallTime)
        let trust = try requireTrust()
        let request: CertificateRequest
        do {
            request = try CertificateRequest(der: csr)
        } catch {
            throw APIError(.unavailable, "issuance", "\(error)")
        }
        let key = request.publicKey.spkiSHA256
        let name = try datastore.readNow {
            try logic.admittedName(admission, key: key, now: now, in: $0)
        }
        var batch = IssuanceBatch(issuer: trust.issuer)
        let prepared: PreparedCertificate
        do {
            let warrant = try trust.issuer.approveAgent(
                request,
                name: name,
                atAuthorityEnd: .cut,
                now: now
            )
            prepared = try batch.prepare(warrant, using: &random)
        } catch {
            throw APIError(.unavailable, "issuance", "\(error)")
        }
        let carried = CarriedBatch(batch)
        step("commits the admission of \(name)", answer) { [self] in
            try write(claiming: { node in
                ledger.admitted(
                    name,
                    NodeFact(
                        selectors: Set(node.selectors.map(\.description)),
                        keySHA256: node.keySPKISHA256
                    ),
                    token: admission.tokenHash
                )
            }) { transaction in
                try logic.commit(prepared, for: admission, now: now, in: transaction)
            }
            let issued = try carried.sign(with: trust.signer)
            note(issued, node: name)
            step("answers the admission of \(name)", answer) { [self] in
                answer(
                    .success(
                        .admitted(
                            Reply.Admission(
                                chain: issued.map(\.der),
                                bundle: trust.bundle,
                                id: prepared.id,
                                auditKey: audit.key.description,
                                checkpoint: checkpoint(since: size)
                            )
                        )
                    )
                )
            }
        }
    }

    // MARK: - Workloads

    private func sign(
        _ requests: [WorkloadSigningRequest],
        for peer: VerifiedPeer,
        since size: UInt64,
        _ answer: @escaping Answer
    ) throws {
        guard
            signingLimiter.take(
                requests.count,
                of: peer.id.description,
                now: clock.bootTime
            ) == nil
        else { throw APIError(.exhausted, "signingRate", "too many certificates") }
        let (logic, now) = (logic, clock.wallTime)
        let trust = try requireTrust()
        let basis = try datastore.readNow {
            try logic.signingBasis(for: peer, requests: requests, in: $0)
        }
        var batch = IssuanceBatch(issuer: trust.issuer)
        let outcomes = logic.prepare(
            requests,
            on: basis,
            batch: &batch,
            issuer: trust.issuer,
            now: now,
            using: &random
        )
        let carried = CarriedBatch(batch)
        let pause =
            machine.sabotage == .uncheckedCommit ? random.duration(1...25) : workTime()
        step("commits the signing for \(basis.node.name)", after: pause, answer) { [self] in
            try commit(carried, requests, outcomes, basis, peer, now: now)
            let issued = carried.isEmpty ? [] : try carried.sign(with: trust.signer)
            note(issued, node: basis.node.name)
            let results = outcomes.map { outcome -> Result<[UInt8], APIError> in
                switch outcome {
                case .prepared(let index): .success(issued[index].der)
                case .refused(let error): .failure(error)
                }
            }
            step("answers the signing for \(basis.node.name)", answer) { [self] in
                answer(.success(.signed(results, checkpoint(since: size))))
            }
        }
    }

    private func commit(
        _ batch: CarriedBatch,
        _ requests: [WorkloadSigningRequest],
        _ outcomes: [SigningOutcome],
        _ basis: SigningBasis,
        _ peer: VerifiedPeer,
        now: Date
    ) throws {
        if machine.sabotage == .forgottenLeaf, random.chance(0.2) { return }
        let (logic, certificates) = (logic, batch.certificates)
        var refusals: [(request: WorkloadSigningRequest, error: APIError)] = []
        for (request, outcome) in zip(requests, outcomes) {
            guard case .refused(let error) = outcome else { continue }
            refusals.append((request, error))
            ledger.refused(node: basis.node.name, entry: request.entryID, at: scheduler.now)
        }
        let told = refusals
        let unchecked = machine.sabotage == .uncheckedCommit
        try write { transaction in
            if unchecked {
                return try transaction.recordUnchecked(certificates, for: peer, on: basis, now: now)
            }
            try logic.commitSigning(
                certificates,
                proxies: ServerLogic.proxies(of: requests, outcomes),
                refusals: told,
                on: basis,
                for: peer,
                now: now,
                in: transaction
            )
        }
    }

    func checkpoint(since size: UInt64) -> CheckpointUpdate? {
        guard let update = audit.update(since: size) else { return nil }
        isCheckpointShown = true
        if machine.sabotage == .forkedLog, random.chance(0.2),
            let forged = try? forgedCheckpoint(size: size)
        {
            return CheckpointUpdate(note: forged, proof: update.proof)
        }
        return CheckpointUpdate(note: update.note, proof: update.proof)
    }

    /// What a thief of the log's key would show: a tree that never was.
    private func forgedCheckpoint(size: UInt64) throws -> [UInt8] {
        let key = try keys.auditKey(isNew: false)
        var frontier = MerkleFrontier()
        for index in 0...size { frontier.append(MerkleHash(leaf: Array("forged \(index)".utf8))) }
        return try SignedCheckpoint(
            signing: Checkpoint(origin: audit.key.name, frontier: frontier),
            key: audit.key
        ) { try key.signature(for: $0) }.note
    }
}

/// A batch on its way from one event to the next; it is still signed once.
final class CarriedBatch {
    let certificates: [PreparedCertificate]
    private var batch: IssuanceBatch?

    init(_ batch: consuming IssuanceBatch) {
        certificates = batch.certificates
        self.batch = consume batch
    }

    var isEmpty: Bool { certificates.isEmpty }

    func sign(with signer: any Signer) throws -> [IssuedCertificate] {
        guard let batch = batch.take() else { return [] }
        return try batch.sign(with: signer)
    }
}

extension AgentAdmission {
    fileprivate var tokenHash: [UInt8]? {
        if case .joinToken(let hash) = self { hash } else { nil }
    }
}
