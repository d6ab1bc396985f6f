// SPDX-License-Identifier: Apache-2.0

import Foundation
import Issuance
import SPIFFE
import TestPrograms
import TestSeeds
import Testing

/// Lists of an authority below a root, as verifiers outside look at them: with the root, and the chain
/// that is delivered (record 0020).
@Suite(.timeLimit(.minutes(2)))
struct ChainedListTests {
    private let directory: TestDirectory

    init() throws { directory = try TestDirectory() }

    private func write(_ text: String, _ name: String) throws -> String {
        let path = "\(directory.path)/\(name)"
        try text.write(toFile: path, atomically: true, encoding: .utf8)
        return path
    }

    private func verify(_ arguments: [String]) async throws -> ProgramResult {
        try await Installation.run(
            Installation.tool("openssl"),
            [
                "verify", "-x509_strict", "-no-CApath", "-no-CAfile", "-no-CAstore", "-attime",
                "1900000000",
            ] + arguments,
            directory: directory.path
        )
    }

    @Test func `openssl verify -crl_check goes by the authority's list, with root and chain`()
        async throws
    {
        let hierarchy = try Hierarchy()
        let authority = try await hierarchy.active()
        let issuer = try Issuer(
            trustDomain: hierarchy.trustDomain,
            lifetimes: .standard,
            authority: authority
        )
        var generator = SeededGenerator(seed: 10)
        var batch = IssuanceBatch(issuer: issuer)
        for number in [2, 6] as [UInt8] {
            try batch.prepare(
                issuer.approveAgent(Workshop.request(number), name: "web-1", now: Workshop.now),
                using: &generator
            )
        }
        let issued = try batch.sign(with: Workshop.signer(5))
        let content = RevocationListContent(
            authorityID: authority.id,
            thisUpdate: authority.notBefore,
            nextUpdate: Workshop.now.addingTimeInterval(7200),
            isLast: false,
            entries: [
                .init(
                    serial: issued[0].prepared.serial.bytes,
                    revokedAt: Workshop.now.addingTimeInterval(-30),
                    notAfter: Workshop.now.addingTimeInterval(3600)
                )
            ]
        )
        let list = try PreparedRevocationList(content, authority: authority)
            .signed(with: Workshop.signer(5))
        let text = list.der.base64Lines
        let files = (
            root: try write(CertificateFile.text(certificate: hierarchy.root), "root.pem"),
            chain: try write(
                authority.presentedChain.map { CertificateFile.text(certificate: $0) }.joined(),
                "chain.pem"
            ),
            list: try write("-----BEGIN X509 CRL-----\n\(text)\n-----END X509 CRL-----\n", "l.pem"),
            revoked: try write(CertificateFile.text(certificate: issued[0].der), "revoked.pem"),
            valid: try write(CertificateFile.text(certificate: issued[1].der), "valid.pem")
        )
        let trust = ["-CAfile", files.root, "-untrusted", files.chain]
        let plain = try await verify(trust + [files.revoked])
        #expect(plain.isSuccess, "\(plain.report)")
        let checked = trust + ["-CRLfile", files.list, "-crl_check"]
        let valid = try await verify(checked + [files.valid])
        #expect(valid.isSuccess, "\(valid.report)")
        let revoked = try await verify(checked + [files.revoked])
        #expect(!revoked.isSuccess)
        #expect(revoked.report.contains("certificate revoked"), "\(revoked.report)")
        // The chain alone is trusted by nobody.
        let rootless = try await verify(["-untrusted", files.chain, files.valid])
        #expect(!rootless.isSuccess)
        // Lists of what is above are not made: who checks the whole chain needs upstream: none.
        let whole = try await verify(
            trust + ["-CRLfile", files.list, "-crl_check_all", files.valid]
        )
        #expect(!whole.isSuccess)
    }
}

extension [UInt8] {
    fileprivate var base64Lines: String {
        Data(self).base64EncodedString(options: .lineLength64Characters)
    }
}
