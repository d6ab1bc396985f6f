// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPKI
import TestPrograms
import Testing

/// A partner who turns on us, or whose keys were stolen, is anybody of his trust domain and of no
/// other (row X-14).
@Suite(.serialized, .timeLimit(.minutes(4)))
struct TrustDomainConfusionTests {
    /// Where the key of the authority that signs is, and what is in it.
    private static func stolenKey(_ prefix: String, of side: FederatedSide) throws -> String {
        let folder = "\(side.machine.dataDirectory)/keys"
        let files = try FileManager.default.contentsOfDirectory(atPath: folder)
        guard let file = files.first(where: { $0.hasPrefix(prefix) }) else {
            throw ProgramFailure("no \(prefix) in \(folder)")
        }
        return "\(folder)/\(file)"
    }

    private static func authority(of side: FederatedSide) async throws -> TestAuthority {
        let key = try Data(
            contentsOf: URL(fileURLWithPath: stolenKey("authority-", of: side))
        )
        return try TestAuthority.stolen(
            side.trustDomain,
            pem: try await side.authorities(),
            pkcs8: Array(key),
            now: Date()
        )
    }

    /// Writes a forged certificate as `svid fetch` writes a genuine one.
    private static func files(
        of leaf: TestLeaf,
        toVerify side: FederatedSide
    ) async throws -> String {
        let folder = "\(side.machine.path)/forged-\(UInt32.random(in: 0...UInt32.max))"
        try FileManager.default.createDirectory(
            atPath: folder,
            withIntermediateDirectories: false
        )
        try leaf.chainPEM.write("svid.pem", in: folder)
        try leaf.keyPEM.write("svid_key.pem", in: folder)
        try await side.authorities().write("bundle.pem", in: folder)
        return folder
    }

    /// Asks with a certificate.
    private static func ask(
        _ side: FederatedSide,
        with leaf: TestLeaf,
        path: String
    ) async throws -> ProgramResult {
        try await side.asked(by: try await files(of: leaf, toVerify: side), path: path)
    }

    @Test func `X-14 a partner's authority names nobody of another trust domain`() async throws {
        let pair = try await FederatedPair()
        let (left, right) = (pair.left, pair.right)
        let thief = try await Self.authority(of: left)
        // It is the key: whom it may name it names.
        let own = try await Self.ask(right, with: thief.leaf(left.id("frontend")), path: "/own")
        #expect(own.output.contains("HTTP/1.1 200"), "\(own.report)")
        let between = try thief.intermediate { $0.uris = ["spiffe://\(right.trustDomain)"] }
        let two = try thief.leaf(left.id("frontend")) { $0.uris.append(right.id("reports")) }
        let swapped = try thief.leaf(right.id("reports")) { $0.uris.append(left.id("frontend")) }
        // At the partner himself, and at home, where this authority is believed for its own.
        let attacks: [(what: String, at: FederatedSide, leaf: TestLeaf)] = [
            ("theirs", right, try thief.leaf(right.id("reports"))),
            ("ours", left, try thief.leaf(right.id("frontend"))),
            ("intermediate", right, try between.leaf(right.id("reports"))),
            ("intermediate-ours", left, try between.leaf(right.id("frontend"))),
            ("two", right, two),
            ("swapped", right, swapped),
            ("third", right, try thief.leaf("spiffe://other.example/frontend")),
        ]
        for attack in attacks {
            let answer = try await Self.ask(attack.at, with: attack.leaf, path: "/\(attack.what)")
            #expect(!answer.output.contains("HTTP/1.1"), "\(attack.what): \(answer.report)")
        }
        // Those who may are let in by the same policies, and the others were asked nothing.
        let reports = try await right.asked(
            by: try await right.takeIdentity("reports"),
            path: "/reports"
        )
        #expect(reports.output.contains("HTTP/1.1 200"), "\(reports.report)")
        for attack in attacks {
            #expect(!attack.at.asked.contains("/\(attack.what) "), "\(attack.what)")
        }
        try await pair.stop()
    }

    @Test func `X-14 a partner's authority makes no server of ours`() async throws {
        let pair = try await FederatedPair()
        let (left, right) = (pair.left, pair.right)
        func serve(_ folder: String) async throws -> Program {
            let server = try left.machine.startPeer("mtls_server.py", ["\(left.ownPort)", folder])
            try await server.waitFor("listening")
            return server
        }
        let genuine = try await serve(try await left.takeIdentity("backend"))
        try await eventually("the own backend to answer") {
            try await left.ask(at: left.ownSocket).0 == 200
        }
        try await genuine.stop(.kill)
        let thief = try await Self.authority(of: right)
        let forged = try await serve(
            try await Self.files(of: thief.leaf(left.id("backend")), toVerify: left)
        )
        try await eventually("the frontend to look at who answers") {
            let (status, _) = try await left.ask(at: left.ownSocket)
            #expect(status != 200)
            return forged.output.contains("refused")
        }
        #expect(!forged.output.contains("asked"), "\(forged.output)")
        try await forged.stop(.kill)
        try await pair.stop()
    }

    @Test func `X-14 the same path in another trust domain is somebody else`() async throws {
        let pair = try await FederatedPair()
        let (left, right) = (pair.left, pair.right)
        // The partner's frontend may read here, the own one may not; and the other way.
        for (side, partner) in [(left, right), (right, left)] {
            let own = try await side.asked(
                by: try await side.takeIdentity("frontend"),
                path: "/own"
            )
            #expect(own.output.contains("HTTP/1.1 403"), "\(own.report)")
            let reports = try await side.asked(
                by: try await partner.takeIdentity("reports", toVerify: side),
                path: "/reports"
            )
            #expect(reports.output.contains("HTTP/1.1 403"), "\(reports.report)")
            let frontend = try await side.asked(
                by: try await partner.takeIdentity("frontend", toVerify: side),
                path: "/frontend"
            )
            #expect(frontend.output.contains("HTTP/1.1 200"), "\(frontend.report)")
        }
        try await pair.stop()
    }

    /// Has the left agent verify a token, which comes by standard input.
    private static func validate(_ token: String, _ machine: Machine) async throws -> ProgramResult
    {
        let name = "token-\(UInt32.random(in: 0...UInt32.max))"
        try "\(token.trimmingCharacters(in: .whitespacesAndNewlines))\n"
            .write(name, in: machine.path)
        let command =
            "exec '\(try Installation.binary("signet"))' jwt validate --audience api "
            + "--agent-socket '\(machine.workloadSocket)' -o json < '\(machine.path)/\(name)'"
        return try await Program(
            Installation.tool("sh"),
            ["-c", command],
            directory: machine.path
        ).result()
    }

    @Test func `X-14 J-11 a partner's key for tokens names nobody of another trust domain`()
        async throws
    {
        let pair = try await FederatedPair()
        let (left, right) = (pair.left, pair.right)
        let fetched = try await right.machine.signet(
            ["jwt", "fetch", "--spiffe-id", right.id("frontend"), "--audience", "api", "--raw"]
        )
        #expect(fetched.isSuccess, "\(fetched.report)")
        let genuine = try await Self.validate(fetched.output, left.machine)
        #expect(genuine.isSuccess, "\(genuine.report)")
        #expect(genuine.output.contains(right.id("frontend")), "\(genuine.report)")
        // With the key of that token; left's own subject, its own, and one of a third.
        let key = try Self.stolenKey("jwt-", of: right)
        for (subject, isGood) in [
            (right.id("reports"), true), (left.id("frontend"), false),
            ("spiffe://other.example/frontend", false),
        ] {
            let forged = try await left.machine.runPeer(
                "forge_token.py",
                [key, fetched.output.trimmingCharacters(in: .whitespacesAndNewlines), subject]
            )
            #expect(forged.isSuccess, "\(forged.report)")
            let answer = try await Self.validate(forged.output, left.machine)
            #expect(answer.isSuccess == isGood, "\(subject): \(answer.report)")
        }
        try await pair.stop()
    }
}
