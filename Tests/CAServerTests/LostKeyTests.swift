// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPIProtos
import Foundation
import Issuance
import SwiftProtobuf
import Testing

/// Key files of authorities that a start does not find.
@Suite(.timeLimit(.minutes(1)))
struct LostKeyTests {
    private static let condition = "authorityKey"

    /// A server that keeps its keys in encrypted files.
    private func serve<Value: Sendable>(
        in directory: TestDirectory,
        _ body: (TestServer) async throws -> Value
    ) async throws -> Value {
        let passphrase = "\(directory.path)/passphrase"
        if !FileManager.default.fileExists(atPath: passphrase) {
            try Data("one".utf8).write(to: URL(filePath: passphrase))
            try FileManager.default.setAttributes(
                [.posixPermissions: 0o600],
                ofItemAtPath: passphrase
            )
        }
        return try await withServer(in: directory) {
            $0.keyStorage = .encrypted
            $0.keyPassphrase = .file(passphrase)
            $0.keyFileCost = .least
        } _: { server in
            try await body(server)
        }
    }

    private func removeKey(of id: String, _ directory: TestDirectory) throws {
        try FileManager.default.removeItem(
            atPath: "\(directory.path)/data/keys/authority-\(id).key"
        )
    }

    /// The ID of each authority in the bundle, by its state.
    private func authorities(_ server: TestServer) async throws -> [String: String] {
        let shown = try await server.administration.listAuthorities(.init()).authorities
        return Dictionary(shown.map { ($0.state, $0.id) }) { first, _ in first }
    }

    /// What health says of lost keys; the server is ready all the same.
    private func problem(_ server: TestServer) async throws -> String? {
        try await eventually("the server is ready") {
            try await server.administration.getHealth(.init()).ready
        }
        let health = try await server.administration.getHealth(.init())
        let condition = health.conditions.first { $0.name == Self.condition }
        guard let condition, !condition.ok else { return nil }
        return condition.reason
    }

    @Test func `without the key that signs the prepared one signs, and health says what follows`()
        async throws
    {
        let directory = try TestDirectory()
        let (lost, next) = try await serve(in: directory) { server in
            #expect(try await problem(server) == nil)
            let next = try await server.administration.prepareAuthority(.init()).authority.id
            return (try await authorities(server)["active"] ?? "", next)
        }
        try removeKey(of: lost, directory)
        try await serve(in: directory) { server in
            #expect(try await authorities(server) == ["active": next, "old": lost])
            let said = try await problem(server) ?? ""
            #expect(said.contains("the key of authority \(lost.prefix(16)) is not here"), "\(said)")
            #expect(
                said.contains("authority \(next.prefix(16)), which was prepared, signs"),
                "\(said)"
            )
            _ = try await server.agent("web-1")
            // Once nothing counts that it signed, nobody has to know.
            _ = try await server.revokeAuthority(lost)
            try await eventually("health is well again") { try await problem(server) == nil }
        }
    }

    @Test func `without any key another authority is made, and health says whom that shuts out`()
        async throws
    {
        let directory = try TestDirectory()
        let lost = try await serve(in: directory) { try await authorities($0)["active"] ?? "" }
        try removeKey(of: lost, directory)
        try await serve(in: directory) { server in
            let now = try await authorities(server)
            #expect(now["old"] == lost && now["active"] != nil && now["active"] != lost)
            let said = try await problem(server) ?? ""
            #expect(said.contains("each has to be evicted and to join again"), "\(said)")
            _ = try await server.agent("web-1")
            try await server.requireIntactLog()
        }
    }

    @Test func `a prepared authority without its key leaves the bundle, and the other signs on`()
        async throws
    {
        let directory = try TestDirectory()
        let (active, lost) = try await serve(in: directory) { server in
            let next = try await server.administration.prepareAuthority(.init()).authority.id
            return (try await authorities(server)["active"] ?? "", next)
        }
        try removeKey(of: lost, directory)
        try await serve(in: directory) { server in
            #expect(try await authorities(server) == ["active": active])
            #expect(try await problem(server) == nil)
            let removed = try await server.records("authorityRemoved")
            #expect(removed.count == 1 && removed[0].contains(lost))
        }
    }

    @Test func `keys that were in memory alone are not missed`() async throws {
        let directory = try TestDirectory()
        for _ in 0..<2 {
            try await withServer(in: directory) {
                $0.keyStorage = .memory
            } _: { server in
                let said = try await problem(server)
                #expect(said == nil)
            }
        }
    }
}
