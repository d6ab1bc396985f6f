// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms
import Testing
import Yams

/// What programs read: JSON and YAML say the same, whatever is shown.
@Suite(.serialized, .timeLimit(.minutes(2)))
struct OutputTests {
    private static let commands = [
        "get -A", "get Namespace", "get RegistrationEntry/web", "history RegistrationEntry web",
        "apply -f web.yaml --dry-run=server", "delete RegistrationEntry/web --dry-run=server",
        "token create --name a", "agent list", "agent show machine", "agent unban machine",
        "bundle show", "authority show", "entry list", "entry show web",
        "entry blast-radius --node machine", "svid fetch", "svid revoke spiffe://example.org/web",
        "svid revocations", "proxy list -A", "explain workload --pid 1",
        "audit query", "audit verify", "health", "version",
    ]

    @Test func `JSON and YAML of every command say the same`() async throws {
        let machine = try await SVIDFilesTests.machine(["dnsNames: [web.example.org]"])
        try Machine.entry("web", workload: "unix:uid:1")
            .write(toFile: "\(machine.path)/web.yaml", atomically: true, encoding: .utf8)
        for command in Self.commands {
            let arguments = command.split(separator: " ").map(String.init)
            let json = try await machine.signet(arguments + ["-o", "json"])
            #expect(json.isSuccess, "\(command): \(json.report)")
            let yaml = try await machine.signet(arguments + ["-o", "yaml"])
            #expect(yaml.isSuccess, "\(command): \(yaml.report)")
            let fromJSON = try JSONSerialization.jsonObject(
                with: Data(json.output.utf8),
                options: .fragmentsAllowed
            )
            // Several documents are a stream in YAML and a list in JSON.
            let isStream = command.hasPrefix("get")
            let fromYAML: Any? =
                isStream
                ? try Array(Yams.load_all(yaml: yaml.output)) : try Yams.load(yaml: yaml.output)
            #expect(
                Self.shape(fromJSON) == Self.shape(fromYAML as Any),
                "\(command):\n\(json.output)\n\(yaml.output)"
            )
        }
        try await machine.stop()
    }

    @Test func `what the log is followed with are lines of JSON`() async throws {
        let machine = try await SVIDFilesTests.machine()
        let tail = try await machine.signet(
            ["audit", "tail", "--from-start", "--count", "3", "-o", "json"]
        )
        let lines = tail.output.split(separator: "\n")
        #expect(lines.count == 3)
        for line in lines {
            let object = try JSONSerialization.jsonObject(with: Data(line.utf8))
            #expect((object as? [String: Any])?["record"] is [String: Any])
        }
        let table = try await machine.signet(
            ["audit", "tail", "--from-start", "--count", "2"]
        )
        #expect(table.output.contains("authorityPrepared  system:rotation"), "\(table.report)")
        try await machine.stop()
    }

    @Test func `a documents's YAML can be applied as it is shown`() async throws {
        let machine = try await SVIDFilesTests.machine()
        let shown = try await machine.signet(["get", "RegistrationEntry", "web", "-o", "yaml"])
        let file = "\(machine.path)/shown.yaml"
        try shown.output.write(toFile: file, atomically: true, encoding: .utf8)
        let applied = try await machine.signet(["apply", "-f", file])
        #expect(applied.output.contains("unchanged"), "\(applied.report)")
        try await machine.stop()
    }

    private struct Named: Decodable, Equatable {
        var namespace: String
        var name: String
    }

    @Test func `entries are listed by namespace and name, in whatever order they were made`()
        async throws
    {
        let machine = try Machine()
        try await machine.startServer()
        let places = [("shop", "a"), ("default", "web"), ("cafe", "b"), ("default", "api")]
        for (namespace, name) in places {
            let space = """
                ---
                apiVersion: core.signet/v1alpha1
                kind: Namespace
                metadata: {name: \(namespace)}

                """
            let entry = Machine.entry(name, workload: "unix:uid:1")
                .replacing("{name: \(name)}", with: "{name: \(name), namespace: \(namespace)}")
            try await machine.apply((namespace == "default" ? "" : space) + entry, waits: false)
        }
        let listed = try await machine.signet(["entry", "list", "-A", "-o", "json"])
        let entries = try JSONDecoder().decode([Named].self, from: Data(listed.output.utf8))
        let sorted = places.sorted { $0 < $1 }.map { Named(namespace: $0.0, name: $0.1) }
        #expect(entries == sorted, "\(listed.report)")
        try await machine.stop()
    }

    /// Names and kinds of values; a server issues anew between two questions, so values may differ.
    private static func shape(_ value: Any) -> [String] {
        switch value {
        case let object as [String: Any]:
            return object.sorted { $0.key < $1.key }.flatMap { key, value in
                shape(value).map { "\(key).\($0)" }
            }
        case let list as [Any]:
            let shapes = Set(list.flatMap(shape))
            return shapes.sorted().map { "[].\($0)" }
        case is NSNull: return ["null"]
        default: return ["value"]
        }
    }
}
