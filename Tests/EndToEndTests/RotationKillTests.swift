// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms
import TestSeeds
import Testing

/// What is above the authority of a server that is killed, and where its keys are.
enum KilledServer: String, CaseIterable, Sendable {
    /// Authorities that sign themselves, with keys in files.
    case selfSigned
    /// Authorities below an offline root, with keys in files.
    case belowRoot
    /// Authorities that sign themselves, with keys in a token of SoftHSM.
    ///
    /// What the module does to its own files is no step: it writes them in place, so a kill in
    /// between would lose the token itself.
    case token

    /// Operations that are looked at, unless all are wanted.
    var sample: Int { self == .selfSigned ? 4 : 3 }
}

/// A server that is killed (SIGKILL) at any step of a rotation, a taint and a revocation.
///
/// A step is an operation on its files. What a power cut leaves of them is in `DurabilityTests`.
@Suite(.serialized, .timeLimit(.minutes(60)))
struct RotationKillTests {
    @Test(arguments: KilledServer.allCases)
    func `a server killed at any step of a rotation goes on with one authority that signs`(
        kind: KilledServer
    ) async throws {
        let seed = UInt64.random(in: 0 ... .max)
        let count = try await Self.countOperations(kind)
        // Fewer would mean that the recorder misses most of what happens.
        try #require(count > 20, "\(count)")
        var generator = SeededGenerator(seed: seed)
        let all = Array(1...count)
        let chosen =
            PowerCuts.isExhaustive
            ? all : Array(all.shuffled(using: &generator).prefix(kind.sample)).sorted()
        for operation in chosen {
            try await Self.kill(
                kind,
                after: operation,
                "\(kind), operation \(operation) of \(count), seed \(seed)"
            )
        }
        print("kills in a rotation, \(kind): \(chosen.count) of \(count), seed \(seed)")
    }

    /// How many operations a rotation, a taint and a revocation take when nobody kills the server.
    private static func countOperations(_ kind: KilledServer) async throws -> Int {
        let rotating = try await RotatingServer(kind)
        let old = try await rotating.active()
        let before = try rotating.recorder.position
        try await rotating.replace(old)
        let after = try rotating.recorder.position
        // The record is whole once nobody writes it.
        try await rotating.machine.stop()
        return try rotating.recorder.events().count { before < $0.position && $0.position <= after }
    }

    private static func kill(
        _ kind: KilledServer,
        after operation: Int,
        _ context: String
    ) async throws {
        let rotating = try await RotatingServer(kind)
        let old = try await rotating.active()
        try rotating.recorder.kill(afterOperations: operation)
        // It ends with an error as soon as the server is gone, and is begun again below.
        try? await rotating.replace(old)
        let server = try rotating.machine.server
        if server.isRunning { server.signal(.kill) }
        #expect(try await server.result().status == -9, "\(context)")
        try rotating.recorder.kill(afterOperations: nil)

        try await rotating.machine.startServer()
        _ = try await rotating.active()
        try await rotating.replace(old)
        try await rotating.requireSound(without: old, context)
        try await rotating.machine.stop()
    }
}

/// A server whose authority is replaced.
private struct RotatingServer {
    private struct Authorities: Decodable {
        struct Authority: Decodable {
            var id: String
            var state: String
        }
        var authorities: [Authority]
    }

    let machine: Machine
    let recorder: Recorder
    private let kind: KilledServer

    init(_ kind: KilledServer) async throws {
        self.kind = kind
        machine = try Machine()
        recorder = try await Recorder(of: machine.dataDirectory, for: machine)
        var environment = recorder.killEnvironment
        switch kind {
        case .selfSigned: break
        case .belowRoot: try await OfflineRoot(for: machine).certifyUpstream()
        case .token:
            let token = try await SoftToken(for: machine)
            environment.merge(token.environment) { $1 }
        }
        machine.change { [environment] in $0.serverEnvironment = environment }
        try await machine.startServer()
    }

    private func authorities() async throws -> [Authorities.Authority] {
        let shown = try await act(["authority", "show", "-o", "json"])
        return try JSONDecoder().decode(Authorities.self, from: Data(shown.output.utf8)).authorities
    }

    @discardableResult
    private func act(_ arguments: [String]) async throws -> ProgramResult {
        let done = try await machine.signet(arguments)
        guard done.isSuccess else { throw ProgramFailure("\(arguments): \(done.report)") }
        return done
    }

    /// The authorities whose keys there are, once for each key.
    private func keyOwners() throws -> [String] {
        guard kind != .token else { return try SoftToken.keyOwners(of: machine) }
        let files = try FileManager.default.contentsOfDirectory(
            atPath: "\(machine.dataDirectory)/keys"
        )
        return files.compactMap { file in
            guard file.hasPrefix("authority-") || file.hasPrefix("jwt-") else { return nil }
            return String(file.split(separator: "-")[1].prefix { $0 != "." })
        }
    }

    /// The one authority that signs.
    func active() async throws -> String {
        let active = try await authorities().filter { $0.state == "active" }
        guard let first = active.first, active.count == 1 else {
            throw ProgramFailure("\(active.count) authorities sign")
        }
        return first.id
    }

    /// Does what is left to do until another authority signs, and this one is revoked.
    func replace(_ old: String) async throws {
        if try await active() == old {
            try await act(["authority", "rotate", "--now", "--yes"])
        }
        func state() async throws -> String? {
            try await authorities().first { $0.id == old }?.state
        }
        if try await state() == "old" {
            try await act(["authority", "taint", old, "--reason", "killed"])
        }
        if try await state() == "tainted" {
            try await act(["authority", "revoke", old, "--reason", "killed", "--now", "--yes"])
        }
    }

    /// What is to be true after it, whatever happened on the way.
    func requireSound(without old: String, _ context: String) async throws {
        let shown = try await authorities()
        #expect(shown.first { $0.id == old }?.state == "revoked", "\(context)")
        let usable = Set(shown.filter { $0.state != "revoked" }.map(\.id))
        #expect(!usable.isEmpty)
        // Keys are destroyed after the answer.
        try await eventually("no key but those of usable authorities, \(context)") {
            let owners = try keyOwners()
            return owners.count >= 2 && owners.allSatisfy(usable.contains)
        }
        // Somebody new believes the bundle, gets an SVID from it, and verifies it.
        try await machine.startAgent()
        try await machine.register("web")
        let fetched = try await machine.signet(["svid", "fetch", "-o", "json"])
        #expect(
            fetched.output.contains("spiffe://example.org/web"),
            "\(context): \(fetched.report)"
        )
        let verified = try await machine.signet(["audit", "verify"])
        #expect(verified.isSuccess, "\(context): \(verified.report)")
        for event in ["authorityTainted", "authorityRevoked"] {
            let recorded = try await machine.signet(
                ["audit", "query", "--event", event, "-o", "json"]
            )
            #expect(recorded.output.ranges(of: old).count >= 1, "\(event), \(context)")
        }
    }
}
