// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms
import Testing

/// `signet dev`: a server and an agent for one person, who needs nothing and leaves nothing behind.
///
/// `DevProxyTests` has what it does with proxies.
@Suite(.serialized, .timeLimit(.minutes(3)))
struct DevTests {
    private static let entries = [
        "web.yaml": """
        apiVersion: core.signet/v1alpha1
        kind: RegistrationEntry
        metadata: {name: web}
        spec:
          spiffeID: spiffe://example.org/dev/web
          nodeSelectors: ["agent:dev"]
          workloadSelectors: ["unix:uid:\(FreePort.uid)"]

        """,
        "shop.yml": """
        apiVersion: core.signet/v1alpha1
        kind: Namespace
        metadata: {name: shop}

        """,
        "notes.txt": "not a document",
    ]

    private static func start(
        _ place: TestDirectory,
        _ arguments: [String] = []
    ) async throws -> Program {
        let dev = try Program(
            Installation.binary("signet"),
            ["dev", "--dir", "\(place.path)/state"] + arguments,
            directory: place.path
        )
        try await dev.waitFor("Ctrl-C")
        return dev
    }

    /// The processes that name the directory in their arguments, `signet dev` itself excepted.
    private static func children(_ place: TestDirectory, _ dev: Program) throws -> [Int32] {
        try FileManager.default.contentsOfDirectory(atPath: "/proc").compactMap { name in
            guard let pid = Int32(name), pid != dev.pid,
                let line = FileManager.default.contents(atPath: "/proc/\(name)/cmdline"),
                String(decoding: line, as: UTF8.self).contains(place.path)
            else { return nil }
            return pid
        }
    }

    private static func signet(
        _ place: TestDirectory,
        _ arguments: [String]
    ) async throws -> ProgramResult {
        try await Installation.run(
            Installation.binary("signet"),
            arguments,
            environment: [
                "SIGNET_SERVER_SOCKET": "\(place.path)/state/server/admin.sock",
                "SPIFFE_ENDPOINT_SOCKET": "unix://\(place.path)/state/agent/workload.sock",
            ],
            directory: place.path
        )
    }

    @Test func `it is ready in under two seconds and applies a folder of documents`()
        async throws
    {
        let place = try TestDirectory()
        let folder = "\(place.path)/documents"
        try FileManager.default.createDirectory(
            atPath: folder,
            withIntermediateDirectories: false
        )
        for (name, text) in Self.entries {
            try text.write(toFile: "\(folder)/\(name)", atomically: true, encoding: .utf8)
        }
        var fastest = Double.infinity
        // A machine that does something else at the moment gets a second and a third chance.
        for _ in 0..<3 where fastest >= 2 {
            let dev = try await Self.start(place, ["--documents", folder])
            fastest = min(fastest, try Self.secondsToReady(dev))
            let listed = try await Self.signet(place, ["get", "-A"])
            #expect(listed.output.contains("shop"), "\(listed.report)")
            let fetched = try await Self.signet(place, ["svid", "fetch"])
            #expect(fetched.output.contains("spiffe://example.org/dev/web"), "\(fetched.report)")
            try await dev.stop()
        }
        #expect(fastest < 2)
    }

    private static func secondsToReady(_ dev: Program) throws -> Double {
        let after = try #require(dev.output.split(separator: "ready after ").dropFirst(1).first)
        return try #require(Double(after.prefix { $0 != "s" }))
    }

    @Test func `what it says to type next works as it stands`() async throws {
        let place = try TestDirectory()
        let dev = try await Self.start(place)
        #expect(dev.output.contains("\(place.path)/state/data-path.yaml"), "\(dev.output)")
        let lines = dev.output.split(separator: "\n")
            .drop { !$0.hasPrefix("Type next") }.dropFirst().filter { $0.hasPrefix("  ") }
        #expect(lines.count == 5)
        // The identity comes with the entry, a moment later.
        let typed = lines.joined(separator: "\n").replacing("apply ", with: "apply --wait ")
        let shell = try await Installation.run(
            Installation.tool("sh"),
            ["-ec", typed],
            directory: place.path
        )
        #expect(shell.isSuccess, "\(shell.report)")
        #expect(shell.output.contains("spiffe://example.org/dev/me"))
        #expect(shell.output.contains("documentsApplied"))
        try await dev.stop()
    }

    @Test(arguments: [SignalNumber.interrupt, .terminate, .kill])
    func `nothing is left when it ends, however it ends`(_ number: SignalNumber) async throws {
        let place = try TestDirectory()
        let dev = try await Self.start(place)
        let children = try Self.children(place, dev)
        #expect(children.count == 2, "\(children)")
        let ended = try await dev.stop(number)
        #expect(ended.status == (number == .kill ? -9 : 0), "\(ended.report)")
        try await eventually("the end of both programs") {
            !children.contains { Signals.isThere($0) }
        }
        #expect(try Self.children(place, dev).isEmpty)
    }

    @Test func `a program that dies takes the rest with it, and its log is shown`() async throws {
        let place = try TestDirectory()
        let dev = try await Self.start(place)
        let agent = try #require(
            try Self.children(place, dev).first {
                let line = FileManager.default.contents(atPath: "/proc/\($0)/cmdline") ?? Data()
                return String(decoding: line, as: UTF8.self).contains("signet-agent")
            }
        )
        Signals.send(.kill, to: agent)
        let ended = try await dev.result()
        #expect(ended.status == 1)
        #expect(ended.errors.contains("signet-agent was killed by signal 9"), "\(ended.report)")
        #expect(ended.errors.contains("The whole log:"))
        #expect(try Self.children(place, dev).isEmpty)
    }

    @Test func `the next run goes on where the last one ended`() async throws {
        let place = try TestDirectory()
        let first = try await Self.start(place, ["--trust-domain", "dev.example"])
        let applied = try await Self.signet(
            place,
            ["apply", "-f", "\(place.path)/state/example.yaml"]
        )
        #expect(applied.isSuccess, "\(applied.report)")
        try await first.stop()
        let second = try await Self.start(place)
        let entries = try await Self.signet(place, ["entry", "list"])
        #expect(entries.output.contains("spiffe://dev.example/dev/me"), "\(entries.report)")
        let joined = try await Self.signet(place, ["audit", "query", "--event", "nodeAttested"])
        #expect(joined.output.ranges(of: "nodeAttested").count == 1, "\(joined.report)")
        try await second.stop()
    }

    @Test func `an agent whose server began anew, or that gets other selectors, joins again`()
        async throws
    {
        let place = try TestDirectory()
        try await Self.start(place).stop()
        try FileManager.default.removeItem(atPath: "\(place.path)/state/server/data")
        try await Self.start(place).stop()
        let dev = try await Self.start(place, ["--selector", "role:web"])
        let shown = try await Self.signet(place, ["agent", "show", "dev"])
        #expect(shown.output.contains("agent:dev role:web"), "\(shown.report)")
        try await dev.stop()
    }

    @Test func `one that runs already, and wrong options, are refused with the remedy`()
        async throws
    {
        let place = try TestDirectory()
        let dev = try await Self.start(place)
        let cases: [([String], Int32, String)] = [
            ([], 1, "or give this one a --dir of its own"),
            (["--trust-domain", "A b"], 64, "--trust-domain: \"A\" in the trust domain"),
            (["--selector", "web"], 64, "--selector: a selector is written type:value"),
            (["--log-level", "loud"], 64, "'--log-level <level>'"),
        ]
        for (arguments, status, expected) in cases {
            let result = try await Self.signet(
                place,
                ["dev", "--dir", "\(place.path)/state"] + arguments
            )
            #expect(result.status == status, "\(result.report)")
            #expect(result.errors.contains(expected), "\(result.report)")
        }
        try await dev.stop()
        let other = try await Self.signet(
            place,
            ["dev", "--dir", "\(place.path)/state", "--trust-domain", "other.example"]
        )
        #expect(other.status == 1)
        #expect(other.errors.contains("belongs to trust domain example.org"))
    }
}
