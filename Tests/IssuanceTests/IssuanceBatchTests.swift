// SPDX-License-Identifier: Apache-2.0

import Issuance
import SPIFFE
import TestSeeds
import Testing

struct IssuanceBatchTests {
    /// A signer whose device is gone.
    private struct LostSigner: Signer {
        let subjectPublicKeyInfo: [UInt8]
        let signatureAlgorithm = SignatureAlgorithm.ecdsaWithSHA256

        func signature(for bytes: [UInt8]) throws(SignerError) -> [UInt8] {
            throw .unavailable(reason: "gone")
        }
    }

    private func batch(_ workshop: Workshop, count: Int) throws -> IssuanceBatch {
        var generator = SeededGenerator(seed: 4)
        let request = try Workshop.request()
        var batch = IssuanceBatch(issuer: workshop.issuer)
        for index in 0..<count {
            let warrant = try workshop.issuer.approveAgent(
                request,
                name: "agent-\(index)",
                now: Workshop.now
            )
            try batch.prepare(warrant, using: &generator)
        }
        return batch
    }

    @Test func `a batch comes back signed in its order`() throws {
        let workshop = try Workshop()
        let batch = try batch(workshop, count: 20)
        let prepared = batch.certificates
        let issued = try batch.sign(with: workshop.signer)
        #expect(issued.map(\.prepared) == prepared)
        #expect(Set(prepared.map(\.serial)).count == 20)
        #expect(
            prepared.map(\.id.path) == (0..<20).map { "/signet/agent/agent-\($0)" }
        )
        #expect(prepared.allSatisfy { $0.authorityID == workshop.authority.id })
    }

    @Test func `a batch takes 500 certificates and no more`() throws {
        let workshop = try Workshop()
        var batch = try batch(workshop, count: IssuanceBatch.certificatesMax)
        let warrant = try workshop.issuer.approveAgent(
            Workshop.request(),
            name: "one-more",
            now: Workshop.now
        )
        var generator = SeededGenerator(seed: 5)
        var refusal: IssuanceError?
        do throws(IssuanceError) {
            try batch.prepare(warrant, using: &generator)
        } catch {
            refusal = error
        }
        #expect(refusal == .batchFull)
        #expect(batch.certificates.count == 500)
    }

    @Test func `what the lint finds is neither prepared nor signed`() throws {
        let workshop = try Workshop()
        // The approval was right for longer lifetimes than those that the batch is made with.
        let issuer = try Issuer(
            trustDomain: workshop.trustDomain,
            lifetimes: SVIDLifetimes(
                workload: .seconds(60),
                agent: .seconds(60),
                server: .seconds(60),
                authority: .seconds(3600)
            ),
            authority: workshop.authority
        )
        var batch = IssuanceBatch(issuer: issuer)
        let warrant = try workshop.issuer.approveAgent(
            Workshop.request(),
            name: "a",
            now: Workshop.now
        )
        var generator = SeededGenerator(seed: 5)
        var refusal: IssuanceError?
        do throws(IssuanceError) {
            try batch.prepare(warrant, using: &generator)
        } catch {
            refusal = error
        }
        guard case .lint(let rules)? = refusal else {
            Issue.record("\(String(describing: refusal))")
            return
        }
        #expect(rules.contains { $0.contains("validity") }, "\(rules)")
        #expect(batch.certificates.isEmpty)
        #expect(try batch.sign(with: workshop.signer).isEmpty)
    }

    @Test func `another certificate than the one prepared is not issued`() throws {
        let workshop = try Workshop()
        let batch = try batch(workshop, count: 2)
        let prepared = batch.certificates
        let issued = try batch.sign(with: workshop.signer)
        #expect(throws: IssuanceError.signedBytesDiffer) {
            try IssuedCertificate(der: issued[0].der, prepared: prepared[1])
        }
        var other = issued[0].der
        other[other.count / 2] ^= 1
        let changed = other
        #expect(throws: IssuanceError.signedBytesDiffer) {
            try IssuedCertificate(der: changed, prepared: prepared[0])
        }
        _ = try IssuedCertificate(der: issued[0].der, prepared: prepared[0])
    }

    @Test func `a signer of another key signs nothing`() throws {
        let workshop = try Workshop()
        let batch = try batch(workshop, count: 1)
        #expect(refusal(of: batch, with: try Workshop.signer(7)) == .signerIsNotAuthority)
    }

    @Test func `a signature that does not verify stops the batch`() throws {
        let workshop = try Workshop()
        let batch = try batch(workshop, count: 2)
        let signer = try ForeignSigner(shown: workshop.signer, used: Workshop.signer(7))
        #expect(refusal(of: batch, with: signer) == .signatureDoesNotVerify)
    }

    @Test func `a signer that fails stops the batch`() throws {
        let workshop = try Workshop()
        let batch = try batch(workshop, count: 2)
        let signer = LostSigner(subjectPublicKeyInfo: workshop.signer.subjectPublicKeyInfo)
        #expect(refusal(of: batch, with: signer) == .signer(.unavailable(reason: "gone")))
    }

    @Test func `a warrant of an earlier authority is not prepared under the next`() throws {
        let workshop = try Workshop()
        var generator = SeededGenerator(seed: 8)
        var next = try Authority.selfSigned(
            trustDomain: workshop.trustDomain,
            serverID: "server-1",
            lifetimes: .standard,
            signer: Workshop.signer(8),
            now: Workshop.now,
            using: &generator
        )
        next.state = .active
        let issuer = try Issuer(
            trustDomain: workshop.trustDomain,
            lifetimes: .standard,
            authority: next
        )
        let warrant = try workshop.issuer.approveAgent(
            Workshop.request(),
            name: "a",
            now: Workshop.now
        )
        var batch = IssuanceBatch(issuer: issuer)
        var refusal: IssuanceError?
        do throws(IssuanceError) {
            try batch.prepare(warrant, using: &generator)
        } catch {
            refusal = error
        }
        #expect(refusal == .authorityChanged)
        #expect(batch.certificates.isEmpty)
    }

    private func refusal(
        of batch: consuming IssuanceBatch,
        with signer: some Signer
    ) -> IssuanceError? {
        do throws(IssuanceError) {
            _ = try batch.sign(with: signer)
            return nil
        } catch {
            return error
        }
    }
}
