// SPDX-License-Identifier: Apache-2.0

import AuditLog
import CAServer
import ControlAPI
import ControlAPIProtos
import Datastore
import Foundation
import GRPCCore
import Issuance
import SPIFFE
import SwiftProtobuf
import Testing

extension TestServer {
    /// What a recheck finds, as a client is told.
    func recheck(
        since: Date? = nil,
        listsAll: Bool = true
    ) async throws -> (
        findings: [Signet_Admin_V1alpha1_RecheckFinding], Signet_Admin_V1alpha1_RecheckSummary
    ) {
        let request = Signet_Admin_V1alpha1_RecheckRequest.with {
            $0.sinceUnixMilliseconds = Int64((since?.timeIntervalSince1970 ?? 0) * 1000)
        }
        return try await audit.recheck(request) { response in
            var findings: [Signet_Admin_V1alpha1_RecheckFinding] = []
            var summary: Signet_Admin_V1alpha1_RecheckSummary?
            for try await part in response.messages {
                switch part.part {
                case .finding(let finding): findings.append(finding)
                case .progress: break
                case .summary(let told):
                    #expect(summary == nil)
                    summary = told
                case nil: Issue.record("a part without content")
                }
            }
            let whole = try #require(summary)
            #expect(!listsAll || whole.findings == UInt64(findings.count))
            return (findings, whole)
        }
    }

    /// The intent of the newest certificate of an ID.
    func intent(of spiffeID: String) async throws -> IssuanceIntent {
        let found = try await core.datastore.read { transaction in
            try transaction.intents(spiffeID: spiffeID, validAfter: .distantPast, limit: 1)
        }
        return try #require(found.first)
    }

    /// Writes the intents anew, as somebody could who has the database.
    func forge(_ change: @escaping @Sendable (IssuanceIntent) -> [IssuanceIntent]) async throws {
        try await core.datastore.write { transaction in
            let place = IntentPlace(leafIndex: 0)
            let all = try transaction.intents(after: place, leavesBelow: .max, limit: 1000)
            _ = try transaction.trimIntents(expiredBefore: .distantFuture, limit: 1000)
            try transaction.record(all.flatMap(change))
        }
    }
}

extension TestServer {
    /// Appends a record of one workload's certificate to the log, as a thief of the database could, and
    /// an intent to it; the serial number is another one.
    func append(_ intent: IssuanceIntent, authority: [UInt8]) async throws -> UInt64 {
        let serial = intent.serial(differingBy: 0xFF)
        let issuance = SVIDIssuance(
            agent: try SPIFFEID("spiffe://example.org/signet/agent/\(intent.node)"),
            authority: authority,
            profile: .workload,
            svids: [
                IssuedSVID(
                    spiffeID: try SPIFFEID(intent.spiffeID),
                    serial: serial,
                    notAfter: AuditTime(intent.notAfter),
                    tbsSHA256: intent.tbsSHA256,
                    entry: IssuedSVID.Entry(
                        id: try #require(intent.entryID),
                        namespace: "default",
                        revision: try #require(intent.entryRevision)
                    )
                )
            ]
        )
        return try await core.datastore.write { transaction in
            let leaf = try transaction.append(
                .svidsIssued(issuance),
                by: .system("server"),
                at: Date()
            )
            try transaction.record([intent.with(serial: serial, leafIndex: leaf)])
            return leaf
        }
    }
}

extension IssuanceIntent {
    /// The serial number with other bits at its end.
    func serial(differingBy bits: UInt8) -> [UInt8] {
        var serial = serial
        serial[serial.count - 1] ^= bits
        return serial
    }

    /// The same but for what is given.
    func with(
        serial: [UInt8]? = nil,
        spiffeID: String? = nil,
        spki: [UInt8]?? = nil,
        dnsNames: [String]? = nil,
        leafIndex: UInt64? = nil
    ) -> Self {
        Self(
            serial: serial ?? self.serial,
            authorityID: authorityID,
            spiffeID: spiffeID ?? self.spiffeID,
            entryID: entryID,
            entryRevision: entryRevision,
            tbsSHA256: tbsSHA256,
            notBefore: notBefore,
            notAfter: notAfter,
            node: node,
            proxy: proxy,
            spki: spki ?? self.spki,
            dnsNames: dnsNames ?? self.dnsNames,
            revision: revision,
            leafIndex: leafIndex ?? self.leafIndex
        )
    }
}

/// `signet ca recheck` (docs/decisions/0020-authorities-under-another.md).
@Suite(.timeLimit(.minutes(2)))
struct RecheckTests {
    private static let web = "spiffe://example.org/web"

    /// A server with its own certificate, an agent's and a workload's.
    private func withIssued(
        _ body: (TestServer, IssuanceIntent) async throws -> Void
    ) async throws {
        try await withServer { server in
            _ = try await server.workload("web")
            try await body(server, try await server.intent(of: Self.web))
        }
    }

    @Test func `what was issued is found as it should be, of all kinds and in long batches`()
        async throws
    {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("web", more: "  dnsNames: [web.example.org]")
            // More than one leaf holds, so that a record has parts.
            let request = try signingRequest(entry: entry, spiffeID: Self.web)
            let results = try await server.sign(Array(repeating: request, count: 90), as: agent)
            #expect(results.allSatisfy { !$0.signed.certificateChain.isEmpty })
            let (findings, summary) = try await server.recheck()
            #expect(findings == [])
            #expect(summary.certificates == 92)
            #expect(summary.notJudged == 0, "\(summary.notJudgedReasons)")
            let size = try await server.core.datastore.read { try $0.auditSize() }
            #expect(summary.endRecord == size)
            // Of the window alone.
            let later = try await server.recheck(since: Date() + 3600)
            #expect(later.1.certificates == 0)
            #expect(later.findings == [])
        }
    }

    @Test func `a certificate that is on no record of its own is found`() async throws {
        try await withIssued { server, web in
            try await server.forge { $0.serial == web.serial ? [] : [$0] }
            let (findings, _) = try await server.recheck()
            #expect(findings.map(\.name) == ["intentMissing"])
            #expect(findings.first?.serial == Hexadecimal.text(web.serial))
            #expect(findings.first?.spiffeID == Self.web)
            #expect(findings.first?.record == web.leafIndex)
        }
    }

    @Test func `records that the log does not have are found wherever they say they are`()
        async throws
    {
        try await withIssued { server, web in
            let size = try await server.core.datastore.read { try $0.auditSize() }
            let places = [0, web.leafIndex, web.leafIndex + 1, size + 1000]
            let strange = places.enumerated().map { number, leaf in
                // None of them is the genuine one.
                let serial = web.serial(differingBy: UInt8(number + 1))
                return web.with(serial: serial, leafIndex: leaf)
            }
            try await server.forge { [$0] + ($0.serial == web.serial ? strange : []) }
            let (findings, _) = try await server.recheck()
            #expect(findings.allSatisfy { $0.name == "leafMissing" })
            let serials = Set(strange.map { Hexadecimal.text($0.serial) })
            #expect(Set(findings.map(\.serial)) == serials)
            #expect(findings.count == strange.count)
        }
    }

    @Test func `a record that says something else than the log is found`() async throws {
        try await withIssued { server, web in
            try await server.forge {
                [$0.serial == web.serial ? $0.with(spiffeID: "spiffe://example.org/db") : $0]
            }
            let (findings, _) = try await server.recheck()
            #expect(findings.map(\.name) == ["leafDiffers"])
            #expect(findings.first?.detail == "other SPIFFE ID")
        }
        try await withIssued { server, web in
            try await server.forge {
                [$0.serial == web.serial ? $0.with(leafIndex: 1) : $0]
            }
            let (findings, _) = try await server.recheck()
            #expect(Set(findings.map(\.name)) == ["leafDiffers", "leafMissing"])
        }
    }

    @Test func `a record that makes another certificate is found`() async throws {
        try await withIssued { server, web in
            try await server.forge {
                [$0.serial == web.serial ? $0.with(dnsNames: ["x.example.org"]) : $0]
            }
            let (findings, _) = try await server.recheck()
            #expect(findings.map(\.name) == ["certificateDiffers", "entryDoesNotGrant"])
        }
    }

    @Test func `a revision that could not grant it is found, also when it is past`() async throws {
        try await withIssued { server, web in
            try await server.register("web", node: "role:web", more: "  hint: other")
            let (before, summary) = try await server.recheck()
            // By the history of its document.
            #expect(before == [])
            #expect(summary.notJudged == 0)
            let entryID = try #require(web.entryID)
            let newer = try await server.core.datastore.read { try $0.entry(id: entryID) }
            #expect(newer?.revision != web.entryRevision)
            let other = try await server.register(
                "web",
                spiffeID: "spiffe://example.org/web2"
            )
            #expect(other == web.entryID)
            #expect(try await server.recheck().findings == [])
            // Today's revision grants this ID, the one that is named did not.
            let forged = try await server.append(
                web.with(spiffeID: "spiffe://example.org/web2"),
                authority: try #require(Hexadecimal.bytes(web.authorityID))
            )
            let (findings, _) = try await server.recheck()
            #expect(findings.allSatisfy { $0.record == forged })
            // Nobody signed it, so that it cannot be made again either.
            #expect(Set(findings.map(\.name)) == ["certificateDiffers", "entryDoesNotGrant"])
            #expect(findings.first { $0.name == "entryDoesNotGrant" }?.detail == "by id")
        }
    }

    @Test func `what cannot be judged is counted by its reason`() async throws {
        try await withIssued { server, web in
            try await server.forge { [$0.serial == web.serial ? $0.with(spki: .some(nil)) : $0] }
            _ = try await server.documents.delete(
                .with {
                    $0.keys = [
                        .with {
                            ($0.kind, $0.namespace, $0.name) = (
                                "RegistrationEntry", "default", "web"
                            )
                        }
                    ]
                }
            )
            let (findings, summary) = try await server.recheck()
            // This release keeps keys, so somebody has taken this one away.
            #expect(findings.map(\.name) == ["certificateDiffers"])
            #expect(summary.notJudged == 1)
            #expect(summary.notJudgedReasons == ["entryForgotten": 1])
        }
    }

    @Test func `a leaf that another authority's name is in is found`() async throws {
        try await withIssued { server, web in
            let forged = try await server.append(web, authority: Array(repeating: 7, count: 20))
            let (findings, summary) = try await server.recheck()
            #expect(
                findings.map(\.name) == ["leafDiffers", "authorityDidNotSign", "authorityMissing"]
            )
            #expect(findings.allSatisfy { $0.record == forged })
            #expect(summary.notJudgedReasons == [:])
        }
    }

    @Test func `leaves that cannot be read, or have another hash, are found`() async throws {
        try await withIssued { server, web in
            let index = web.leafIndex
            let (first, own) = try await server.core.datastore.write { transaction in
                func append(_ bytes: [UInt8], hash: [UInt8]) throws -> UInt64 {
                    try transaction.appendLeaf(
                        bytes: bytes,
                        hash: hash,
                        fields: AuditLeafFields(
                            time: Date(),
                            event: AuditEvent.Name.svidsIssued.rawValue,
                            actor: "system:server",
                            namespaces: [],
                            spiffeIDs: [],
                            serials: []
                        )
                    )
                }
                let junk = Array("{}".utf8)
                let first = try append(junk, hash: MerkleHash(leaf: junk).bytes)
                let leaf = try #require(try transaction.leaves(from: index, limit: 1).first)
                let own = try append(leaf.bytes, hash: Array(repeating: 0, count: 32))
                return (first, own)
            }
            let (findings, _) = try await server.recheck()
            #expect(findings.filter { $0.name == "leafUnreadable" }.map(\.record) == [first, own])
            // The copy names a certificate whose record is another leaf's.
            #expect(
                findings.filter { $0.record == own }.map(\.name).sorted() == [
                    "leafDiffers", "leafUnreadable",
                ]
            )
        }
    }

    @Test func `what earlier lifetimes allowed is counted, not found`() async throws {
        let directory = try TestDirectory()
        try await withServer(in: directory) { server in _ = try await server.workload("web") }
        try await withServer(
            in: directory,
            {
                guard
                    let shorter = try? SVIDLifetimes(
                        workload: .seconds(600),
                        workloadMax: .seconds(600),
                        agent: .seconds(600),
                        server: .seconds(600)
                    )
                else { return }
                $0.lifetimes = shorter
            }
        ) { server in
            let (findings, summary) = try await server.recheck()
            #expect(findings == [])
            #expect(summary.notJudgedReasons["otherLifetimes"] == summary.notJudged)
            #expect(summary.notJudged > 0)
        }
    }

    @Test func `who may not read the log learns nothing, and two do not run at once`()
        async throws
    {
        try await withServer { server in
            let agent = try await server.agent("web-1")
            let refused = await refusal {
                try await server.authenticated(as: try agent.identity) { client in
                    try await Audit.Client(wrapping: client).recheck(.init()) { response in
                        for try await _ in response.messages {}
                        return true
                    }
                }
            }
            #expect(refused?.reason == "adminDenied")
            try server.core.recheck.begin()
            let busy = await refusal { try await server.recheck().findings }
            #expect(busy?.reason == "recheckRunning")
            server.core.recheck.end()
            #expect(try await server.recheck().findings == [])
        }
    }
}
