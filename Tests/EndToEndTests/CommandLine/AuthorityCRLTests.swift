// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms
import Testing

/// Revocation lists as a verifier without an agent gets and uses them (decision 0018).
@Suite(.serialized, .timeLimit(.minutes(4)))
struct AuthorityCRLTests {
    private struct Lists: Decodable {
        struct List: Decodable {
            struct Certificate: Decodable {
                var serial: String
                var revokedAt: String
            }
            var authorityID: String
            var number: String
            var certificates: [Certificate]
            var pem: String
        }
        var lists: [List]
    }

    private struct Fetched: Decodable {
        var serial: String
        var certificateChain: String
    }

    private static func lists(_ machine: Machine) async throws -> [Lists.List] {
        let shown = try await machine.signet(["authority", "crl", "-o", "json"])
        guard shown.isSuccess else { throw ProgramFailure("authority crl: \(shown.report)") }
        return try JSONDecoder().decode(Lists.self, from: Data(shown.output.utf8)).lists
    }

    /// What openssl says of a leaf with the bundle and lists of the moment.
    private static func verify(_ leaf: String, _ machine: Machine) async throws -> ProgramResult {
        for (command, file) in [
            (["bundle", "show"], "bundle.pem"), (["authority", "crl", "-o", "pem"], "crl.pem"),
        ] {
            let shown = try await machine.signet(command)
            guard shown.isSuccess else { throw ProgramFailure("\(command): \(shown.report)") }
            try shown.output.write(
                toFile: "\(machine.path)/\(file)",
                atomically: true,
                encoding: .utf8
            )
        }
        return try await Installation.run(
            Installation.tool("openssl"),
            [
                "verify", "-x509_strict", "-crl_check", "-no-CApath", "-no-CAfile", "-CAfile",
                "bundle.pem", "-CRLfile", "crl.pem", leaf,
            ],
            directory: machine.path
        )
    }

    /// Fetches the SVID of the moment into a file.
    private static func fetch(_ file: String, _ machine: Machine) async throws -> Fetched {
        let fetched = try await machine.signet(["svid", "fetch", "-o", "json"])
        let svids = try JSONDecoder().decode([Fetched].self, from: Data(fetched.output.utf8))
        let svid = try #require(svids.first, "\(fetched.report)")
        try svid.certificateChain.write(
            toFile: "\(machine.path)/\(file)",
            atomically: true,
            encoding: .utf8
        )
        return svid
    }

    @Test func `openssl refuses what is on the list of the authority, also after a rotation`()
        async throws
    {
        let machine = try Machine()
        try await machine.startServer()
        try await machine.startAgent()
        try await machine.register("web")
        let stolen = try await Self.fetch("stolen.pem", machine)
        let before = try await Self.verify("stolen.pem", machine)
        #expect(before.isSuccess, "\(before.report)")

        let revoked = try await machine.signet(["svid", "revoke", "--serial", stolen.serial])
        #expect(revoked.isSuccess, "\(revoked.report)")
        try await eventually("the certificate to be on a list") {
            try await Self.lists(machine).contains { !$0.certificates.isEmpty }
        }
        let after = try await Self.verify("stolen.pem", machine)
        #expect(!after.isSuccess && after.report.contains("certificate revoked"), "\(after.report)")
        // Whom nobody revoked verifies with the same list.
        try await eventually("another certificate of the identity") {
            try await Self.fetch("new.pem", machine).serial != stolen.serial
        }
        let new = try await Self.verify("new.pem", machine)
        #expect(new.isSuccess, "\(new.report)")

        let rotated = try await machine.signet(["authority", "rotate", "--now", "--yes"])
        #expect(rotated.isSuccess, "\(rotated.report)")
        let lists = try await Self.lists(machine)
        #expect(lists.count == 2 && lists.filter { !$0.certificates.isEmpty }.count == 1)
        let later = try await Self.verify("stolen.pem", machine)
        #expect(!later.isSuccess && later.report.contains("certificate revoked"), "\(later.report)")
        let verified = try await machine.signet(["audit", "verify"])
        #expect(verified.isSuccess, "\(verified.report)")
        try await machine.stop()
    }

    @Test func `one list is shown in the form that is asked for`() async throws {
        let machine = try Machine()
        try await machine.startServer()
        try await machine.startAgent()
        try await machine.register("web")
        let held = try await Self.fetch("held.pem", machine)
        let revoked = try await machine.signet(["svid", "revoke", "--serial", held.serial])
        #expect(revoked.isSuccess, "\(revoked.report)")
        try await eventually("the certificate to be on a list") {
            try await Self.lists(machine).contains { !$0.certificates.isEmpty }
        }
        let list = try #require(try await Self.lists(machine).first)
        let short = String(list.authorityID.prefix(8))
        let table = try await machine.signet(["authority", "crl", short])
        #expect(table.output.contains(list.number) && table.output.contains(held.serial))
        // As another program reads it, out of DER that no line feed follows.
        let der = try await Installation.run(
            "/bin/sh",
            [
                "-c", #""$0" authority crl "$1" -o der | openssl crl -inform der -noout -text"#,
                try Installation.binary("signet"), short,
            ],
            environment: ["SIGNET_SERVER_SOCKET": machine.adminSocket],
            directory: machine.path
        )
        #expect(der.isSuccess, "\(der.report)")
        let serial = held.serial.uppercased()
        #expect(der.output.contains("Serial Number: \(serial)"), "\(der.report)")
        #expect(der.output.contains("Revocation Date:"))

        for (arguments, status, words) in [
            (["-o", "der"], Int32(64), "name an authority"),
            (["ffff", "-o", "pem"], 1, "there is no authority"),
            ([String(repeating: "f", count: 40)], 1, "there is no authority"),
        ] {
            let refused = try await machine.signet(["authority", "crl"] + arguments)
            #expect(refused.status == status, "\(refused.report)")
            #expect(refused.errors.contains(words), "\(refused.report)")
        }
        try await machine.stop()
    }
}
