// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import ControlAPIProtos
import Crypto
import Foundation
import Issuance
import SPIFFE
import Telemetry
import Testing

/// `profileDirectory`: what a start refuses, and what holds while the server runs (record 0020).
@Suite(.timeLimit(.minutes(2)))
struct ProfileDirectoryTests {
    private let directory: TestDirectory

    init() throws {
        directory = try TestDirectory()
        try FileManager.default.createDirectory(
            atPath: folder,
            withIntermediateDirectories: false,
            attributes: [.posixPermissions: 0o755]
        )
    }

    private var folder: String { "\(directory.path)/profiles" }

    /// Writes a file of `pki/profiles`, with members more.
    @discardableResult
    private func write(
        _ kind: String,
        adding members: String = "",
        as name: String? = nil
    ) throws -> String {
        let shipped = URL(filePath: #filePath)
            .deletingLastPathComponent()
            .deletingLastPathComponent()
            .deletingLastPathComponent()
            .appending(path: "pki/profiles/\(kind).json")
        var text = try String(contentsOf: shipped, encoding: .utf8)
        text = text.replacing(#""version": 3"#, with: "\(members)\"version\": 3")
        let path = "\(folder)/\(name ?? kind).json"
        try Data(text.utf8).write(to: URL(filePath: path))
        try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: path)
        return Hexadecimal.text(Array(SHA256.hash(data: Data(text.utf8))))
    }

    private func serve(_ body: (TestServer) async throws -> Void) async throws {
        let folder = folder
        try await withServer(in: directory, { $0.profileDirectory = folder }, body)
    }

    /// What a start says that must not succeed.
    private func refusedStart(
        _ adjust: (inout ServerConfiguration) -> Void = { _ in }
    ) async -> String {
        let folder = folder
        do {
            try await withServer(
                in: directory,
                {
                    $0.profileDirectory = folder
                    adjust(&$0)
                },
                { _ in }
            )
            return "started"
        } catch {
            return "\(error)"
        }
    }

    private static func entry(_ spec: String) -> String {
        """
        apiVersion: core.signet/v1alpha1
        kind: RegistrationEntry
        metadata: {name: narrow, namespace: default}
        spec:
          spiffeID: spiffe://example.org/narrow
          nodeSelectors: ["role:web"]
          workloadSelectors: ["unix:uid:1000"]
          \(spec)
        """
    }

    @Test func `a start refuses what a file does not allow or the code does not make`() async throws
    {
        #expect(await refusedStart().contains("there is no profile"))
        try write("workload", as: "worklod")
        #expect(await refusedStart().contains("worklod.json: no profile has this name"))
        try FileManager.default.removeItem(atPath: "\(folder)/worklod.json")
        try write("workload", adding: #""lifetimeSecondsMax": 3599, "#)
        let lifetime = await refusedStart()
        #expect(lifetime.contains("lower workloadSVIDTTL"), "\(lifetime)")
        // Nor with a longest that somebody wrote; what follows from authorityTTL is not written.
        try write("workload", adding: #""lifetimeSecondsMax": 3600, "#)
        let longest = await refusedStart { $0.writtenWorkloadMax = .seconds(3601) }
        #expect(longest.contains("lower workloadSVIDTTLMax"), "\(longest)")
        try write("agent", as: "workload")
        #expect(await refusedStart().contains("profileWidens"))
        try write("workload")
        try FileManager.default.setAttributes(
            [.posixPermissions: 0o666],
            ofItemAtPath: "\(folder)/workload.json"
        )
        #expect(await refusedStart() != "started")
        // Nothing was made of a server that did not start.
        #expect(!FileManager.default.fileExists(atPath: "\(directory.path)/data/server.sqlite"))
    }

    @Test func `a start is recorded with each file's digest, and narrows what is issued`()
        async throws
    {
        let digest = try write(
            "workload",
            adding: #""lifetimeSecondsMax": 3600, "dnsNames": {"suffixes": ["example.org"]}, "#
        )
        try await serve { server in
            let start = try #require(try await server.records("serverStarted").last)
            #expect(
                start.contains("\"profiles\":[{\"name\":\"workload\",\"sha256\":\"\(digest)\"}]")
            )
            let limits = try server.core.trust.issuer.profiles[SubjectRole.workload].limits
            #expect(limits.dnsSuffixes == ["example.org"])
            try await eventually("nothing is told") { try await server.unmetConditions().isEmpty }
            let cases = [
                ("x509SVIDTTL: 2h", "lifetimeExceedsProfile"),
                ("dnsNames: [web.example.net]", "dnsNameOutsideProfile"),
            ]
            for (spec, reason) in cases {
                let refused = await refusal { try await server.apply(Self.entry(spec)) }
                #expect(refused?.reason == reason)
            }
            try await server.apply(Self.entry("dnsNames: [web.example.org]"))
        }
    }

    @Test func `entries from before are counted until they are changed`() async throws {
        try await withServer(in: directory) { server in
            _ = try await server.apply(Self.entry("dnsNames: [web.example.net]"))
        }
        try write("workload", adding: #""dnsNames": {"max": 0}, "#)
        try await serve { server in
            try await eventually("the entry alone is told") {
                try await server.unmetConditions() == ["profiles"]
            }
            #expect(server.core.health.report(.ready).json.contains("default/narrow"))
            let metrics = server.core.metrics.exposition()
            #expect(metrics.contains("signet_server_entries_outside_profile 1"))
            try await server.apply(Self.entry("hint: narrow"))
        }
        try await serve { server in
            try await eventually("nothing is told") { try await server.unmetConditions().isEmpty }
        }
    }
}
