// SPDX-License-Identifier: Apache-2.0

import CAServer
import DurableFiles
import Foundation
import Issuance
import SPIFFE
import Testing

/// Which of an authority's two keys are there, and when they go
/// (docs/decisions/0018-certificate-revocation-lists.md).
@Suite(.serialized, .timeLimit(.minutes(2)))
struct KeptKeysTests {
    private static let now = Date(timeIntervalSince1970: 1_900_000_000)

    private func authority(_ state: Authority.State, ends: TimeInterval = 60) -> Authority {
        Authority(
            id: "01",
            serverID: "one",
            state: state,
            certificateDER: [],
            notBefore: Self.now - 60,
            notAfter: Self.now + ends
        )
    }

    @Test(arguments: Authority.State.allCases)
    func `what is kept follows from the state`(state: Authority.State) {
        func kept(_ ended: Set<String> = []) -> Set<AuthorityKey> {
            AuthorityKey.kept(of: [authority(state)], ended: ended, now: Self.now)
        }
        let (certificates, tokens) = (AuthorityKey("01"), AuthorityKey("01", for: .tokens))
        let expected: Set<AuthorityKey>
        switch state {
        case .prepared, .active: expected = [certificates, tokens]
        case .old, .tainted: expected = [certificates]
        case .revoked: expected = []
        }
        #expect(kept() == expected)
        // A last list ends the use of a key that signs nothing else.
        #expect(kept(["01"]) == (expected == [certificates] ? [] : expected))
        #expect(kept(["02"]) == expected)
    }

    @Test func `a key for lists goes with its authority's end, by a clock that is believed`() {
        func kept(_ state: Authority.State, _ now: Date?) -> Int {
            AuthorityKey.kept(of: [authority(state, ends: 0)], ended: [], now: now).count
        }
        #expect(kept(.old, Self.now - 1) == 1)
        #expect(kept(.old, Self.now) == 0)
        #expect(kept(.tainted, Self.now) == 0)
        #expect(kept(.old, nil) == 1)
        // Those that sign are ended by the rotation.
        #expect(kept(.active, Self.now) == 2)
    }

    private func keyFiles(_ directory: TestDirectory) throws -> Set<String> {
        let names = try FileManager.default.contentsOfDirectory(
            atPath: "\(directory.path)/data/keys"
        )
        return Set(names).subtracting(["audit.key"])
    }

    private func both(_ id: String) -> Set<String> { ["authority-\(id).key", "jwt-\(id).key"] }

    @Test func `a retired authority keeps its key for lists until it is revoked`() async throws {
        let directory = try TestDirectory()
        try await withServer(in: directory) { server in
            // Else nothing could be revoked any more, and a last list would end the key's use.
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("web")
            let web = "spiffe://example.org/web"
            _ = try await server.leaf(signingRequest(entry: entry, spiffeID: web), as: agent)
            let (old, new) = try await server.rotate()
            #expect(try keyFiles(directory) == both(new).union(["authority-\(old).key"]))
            _ = try await server.taint(old)
            #expect(try keyFiles(directory) == both(new).union(["authority-\(old).key"]))
            _ = try await server.revokeAuthority(old)
            try await eventually("its key is gone") {
                try keyFiles(directory) == both(new)
            }
        }
    }

    @Test func `what a crash leaves is destroyed at the start, and later each minute`() async throws
    {
        let directory = try TestDirectory()
        let keys = "\(directory.path)/data/keys"
        func leave(_ names: [String]) throws {
            for name in names { try DurableFile.write([1], to: "\(keys)/\(name)", mode: 0o600) }
        }
        let (old, new) = try await withServer(in: directory) { server in
            // Else nothing could be revoked any more, and a last list would end the key's use.
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let web = "spiffe://example.org/web"
            let entry = try await server.register("web")
            _ = try await server.leaf(signingRequest(entry: entry, spiffeID: web), as: agent)
            return try await server.rotate()
        }
        let left = both(new).union(["authority-\(old).key"])
        // A key of a retired authority, and one of an authority that was never published.
        try leave(["jwt-\(old).key", "authority-00.key", "jwt-00.key"])
        let clock = ShiftedClock()
        try await withServer(in: directory, clock: clock) { server in
            #expect(try keyFiles(directory) == left)
            try leave(["authority-00.key"])
            clock.pass(RotationService.keyInterval)
            try await eventually("it is looked for each minute") {
                try keyFiles(directory) == left
            }
            _ = try await server.revokeAuthority(old)
            try await eventually("its key is gone") {
                try keyFiles(directory) == both(new)
            }
        }
        // As if the server had ended between the commit and the destruction.
        try leave(["authority-\(old).key"])
        try await withServer(in: directory) { _ in
            let files = try keyFiles(directory)
            #expect(files == both(new))
        }
    }

    @Test func `keys in a token are kept and destroyed by the same rules`() async throws {
        let tokens = try SoftTokens.shared.get()
        let directory = try TestDirectory()
        let pin = "\(directory.path)/pin"
        try DurableFile.write(Array("4711\n".utf8), to: pin, mode: 0o600)
        try await withServer(in: directory) {
            $0.keyStorage = .pkcs11
            $0.pkcs11Module = SoftTokens.modulePath
            $0.pkcs11Token = "lists"
            $0.pkcs11PIN = .file(pin)
        } _: { server in
            let elsewhere = try TestDirectory()
            func has(_ id: String, _ purpose: AuthorityKey.Purpose) throws -> Bool {
                let vault = try KeyVault(
                    directory: "\(elsewhere.path)/keys",
                    form: .plain,
                    place: .token(tokens.keys("lists", server: server.core.logic.serverID)),
                    keyType: .p256
                )
                return try vault.signer(authorityID: id, for: purpose) != nil
            }
            let (old, new) = try await server.rotate()
            #expect(try has(old, .certificates))
            #expect(try !has(old, .tokens))
            _ = try await server.revokeAuthority(old)
            try await eventually("its key is gone") { try !has(old, .certificates) }
            #expect(try has(new, .certificates) && has(new, .tokens))
        }
    }
}
