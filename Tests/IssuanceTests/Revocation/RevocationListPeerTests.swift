// SPDX-License-Identifier: Apache-2.0

import Foundation
import Issuance
import SPIFFE
import TestPrograms
import Testing

/// Our lists as openssl, pyca/cryptography and pkilint read them.
@Suite(.timeLimit(.minutes(2)))
struct RevocationListPeerTests {
    /// An authority, two leaves of which its list names one, and an empty list, as PEM files.
    private struct Files {
        private let directory: TestDirectory
        var path: String { directory.path }
        var root: String { "\(path)/root.pem" }
        var revoked: String { "\(path)/revoked.pem" }
        var valid: String { "\(path)/valid.pem" }
        var list: String { "\(path)/list.pem" }
        var emptyList: String { "\(path)/empty.pem" }
        let revokedSerial: String

        init(_ workshop: Workshop) throws {
            directory = try TestDirectory()
            func leaf(seed: UInt64) throws -> IssuedCertificate {
                try workshop.issue(
                    workshop.issuer.approve(
                        Workshop.request(),
                        entry: Workshop.entry(),
                        claiming: SPIFFEID("spiffe://example.org/web"),
                        node: workshop.node,
                        now: Workshop.now
                    ),
                    seed: seed
                )
            }
            let (first, second) = (try leaf(seed: 10), try leaf(seed: 11))
            revokedSerial = "\(first.prepared.serial)"
            let signed = try workshop.list([first.prepared.serial.bytes, [1], [0x80]])
            try write(workshop.authority.certificateDER, root, "CERTIFICATE")
            try write(first.der, revoked, "CERTIFICATE")
            try write(second.der, valid, "CERTIFICATE")
            try write(signed.der, list, "X509 CRL")
            try write(workshop.list().der, emptyList, "X509 CRL")
        }

        private func write(_ der: [UInt8], _ file: String, _ label: String) throws {
            let text = Data(der).base64EncodedString(options: .lineLength64Characters)
            let pem = "-----BEGIN \(label)-----\n\(text)\n-----END \(label)-----\n"
            try pem.write(toFile: file, atomically: true, encoding: .utf8)
        }

        func openssl(_ arguments: [String]) async throws -> ProgramResult {
            try await Installation.run(
                Installation.tool("openssl"),
                arguments,
                directory: path
            )
        }

        /// Verifies a leaf at the moment of the tests, and whether it is revoked.
        func verify(
            _ leaf: String,
            _ list: String?,
            _ check: String = "-crl_check"
        ) async throws -> ProgramResult {
            try await openssl(
                [
                    "verify", "-x509_strict", "-no-CApath", "-no-CAfile", "-no-CAstore",
                    "-CAfile", root, check, "-attime", "1900000000",
                ] + (list.map { ["-CRLfile", $0] } ?? []) + [leaf]
            )
        }
    }

    private func files(_ type: AuthorityKeyType) throws -> Files {
        try Files(Workshop(signer: Workshop.signer(of: type)))
    }

    @Test(arguments: AuthorityKeyType.allCases)
    func `openssl verifies lists and refuses who is on them`(type: AuthorityKeyType) async throws {
        let files = try files(type)
        for list in [files.list, files.emptyList] {
            let read = try await files.openssl(
                ["crl", "-in", list, "-CAfile", files.root, "-noout", "-text"]
            )
            #expect(read.isSuccess && read.report.contains("verify OK"), "\(read.report)")
            #expect(read.output.contains("1899999940"), "\(read.report)")
            #expect(read.output.contains("No Revoked") == (list == files.emptyList))
        }
        let revoked = try await files.verify(files.revoked, files.list)
        #expect(!revoked.isSuccess)
        #expect(revoked.report.contains("certificate revoked"), "\(revoked.report)")
        let valid = try await files.verify(files.valid, files.list)
        #expect(valid.isSuccess, "\(valid.report)")
        let early = try await files.verify(files.revoked, files.emptyList)
        #expect(early.isSuccess, "\(early.report)")
    }

    @Test func `openssl with -crl_check_all asks for no further list`() async throws {
        // It checks the self-signed authority too, with the same list.
        let files = try files(.p256)
        let valid = try await files.verify(files.valid, files.list, "-crl_check_all")
        #expect(valid.isSuccess, "\(valid.report)")
        let revoked = try await files.verify(files.revoked, files.list, "-crl_check_all")
        #expect(revoked.report.contains("certificate revoked"), "\(revoked.report)")
    }

    @Test func `openssl that insists refuses everybody without a list of the authority`()
        async throws
    {
        let files = try files(.p256)
        let none = try await files.verify(files.valid, nil)
        #expect(none.report.contains("unable to get certificate CRL"), "\(none.report)")
        let other = try self.files(.p384)
        let foreign = try await files.verify(files.valid, other.list)
        #expect(!foreign.isSuccess, "\(foreign.report)")
        withExtendedLifetime(other) {}
    }

    @Test(arguments: AuthorityKeyType.allCases)
    func `cryptography reads lists and verifies them`(type: AuthorityKeyType) async throws {
        let files = try files(type)
        let script = """
            import sys
            from cryptography import x509
            root = x509.load_pem_x509_certificate(open(sys.argv[1], "rb").read())
            full, empty = (x509.load_pem_x509_crl(open(p, "rb").read()) for p in sys.argv[2:4])
            for crl in (full, empty):
                assert crl.is_signature_valid(root.public_key())
                assert crl.issuer == root.subject
                key = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
                own = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
                assert key.value.key_identifier == own.value.digest and not key.critical
                number = crl.extensions.get_extension_for_class(x509.CRLNumber)
                assert number.value.crl_number == int(crl.last_update_utc.timestamp())
                assert len(crl.extensions) == 2
            found = full.get_revoked_certificate_by_serial_number(int(sys.argv[4], 16))
            assert found.revocation_date_utc.minute == 0 and not len(found.extensions)
            assert len(full) == 3 and len(empty) == 0
            print("verified")
            """
        let result = try await Installation.run(
            Installation.python(),
            ["-c", script, files.root, files.list, files.emptyList, files.revokedSerial],
            directory: files.path
        )
        #expect(result.isSuccess && result.output.contains("verified"), "\(result.report)")
    }

    @Test(arguments: AuthorityKeyType.allCases)
    func `pkilint finds nothing`(type: AuthorityKeyType) async throws {
        let files = try files(type)
        for list in [files.list, files.emptyList] {
            let result = try await Installation.run(
                Installation.pythonTool("lint_crl"),
                ["lint", "-t", "CRL", "-p", "PKIX", "-s", "INFO", "-f", "JSON", list],
                directory: files.path
            )
            #expect(result.isSuccess, "\(result.report)")
            #expect(result.output.contains(#""results": []"#), "\(result.report)")
        }
    }
}
