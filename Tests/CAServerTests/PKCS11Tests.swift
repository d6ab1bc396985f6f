// SPDX-License-Identifier: Apache-2.0

import CAServer
import Clocks
import ControlAPI
import ControlAPIProtos
import DurableFiles
import Foundation
import Issuance
import SPIFFE
import SwiftASN1
import Testing
import X509

/// Authorities whose keys are in a token, here of SoftHSM.
@Suite(.serialized, .timeLimit(.minutes(2)))
struct PKCS11Tests {
    private func vault(
        _ directory: TestDirectory,
        _ keys: PKCS11Keys,
        _ keyType: AuthorityKeyType = .p256
    ) throws -> KeyVault {
        try KeyVault(
            directory: "\(directory.path)/keys",
            form: .plain,
            place: .token(keys),
            keyType: keyType
        )
    }

    /// A root that the key signed, as another library reads and verifies it.
    private func root(_ signer: any Signer) throws -> (authority: Authority, Certificate) {
        var generator = SystemRandomness()
        let authority = try Authority.selfSigned(
            trustDomain: TrustDomain("example.org"),
            serverID: "one",
            lifetimes: .standard,
            signer: signer,
            now: Date(timeIntervalSince1970: 1_900_000_000),
            using: &generator
        )
        return (authority, try Certificate(derEncoded: authority.certificateDER))
    }

    private func error<Value>(_ call: () throws -> Value) -> PKCS11Error? {
        do {
            _ = try call()
            return nil
        } catch {
            return error as? PKCS11Error
        }
    }

    @Test(arguments: [AuthorityKeyType.p256, .p384, .rsa2048])
    func `a key of a token signs, is found again and is destroyed`(type: AuthorityKeyType) throws {
        let tokens = try SoftTokens.shared.get()
        let directory = try TestDirectory()
        // Whose sweeping must not reach the others'.
        func keys() throws -> PKCS11Keys { try tokens.keys("keys", server: "\(type)") }
        let first = try vault(directory, keys(), type)
        let made = try first.makeAuthorityKey()
        let (authority, certificate) = try root(made)
        #expect(certificate.publicKey.isValidSignature(certificate.signature, for: certificate))
        let key = try SubjectPublicKey(subjectPublicKeyInfo: made.subjectPublicKeyInfo)
        #expect(AuthorityKeyType(key.algorithm) == type)
        #expect(try first.signer(authorityID: authority.id) == nil)
        try first.keep(made, authorityID: authority.id)
        let second = try vault(directory, keys())
        let found = try #require(try second.signer(authorityID: authority.id))
        #expect(found.subjectPublicKeyInfo == made.subjectPublicKeyInfo)
        let (again, other) = try root(found)
        #expect(again.id == authority.id)
        #expect(other.publicKey.isValidSignature(other.signature, for: other))
        try second.sweep(keeping: [])
        #expect(try vault(directory, keys()).signer(authorityID: authority.id) == nil)
        #expect(throws: SignerError.self) { try found.signature(for: [1]) }
        #expect(try FileManager.default.contentsOfDirectory(atPath: "\(directory.path)/keys") == [])
    }

    @Test(arguments: [AuthorityKeyType.p384, .rsa2048])
    func `what is longer than a module may take at once is signed as well`(
        type: AuthorityKeyType
    ) throws {
        let keys = try SoftTokens.shared.get().keys("keys", server: "long-\(type)")
        let vault = try vault(try TestDirectory(), keys, type)
        let signer = try vault.makeAuthorityKey()
        for count in [4_096, 4_097, 400_000] {
            let message = [UInt8](repeating: 7, count: count)
            // It has been verified with the whole message.
            #expect(try !signer.signature(for: message).isEmpty)
        }
        try vault.sweep(keeping: [])
    }

    @Test func `sessions that end and a login that is lost are made good`() throws {
        let keys = try SoftTokens.shared.get().keys("lost")
        let vault = try vault(try TestDirectory(), keys)
        let signer = try vault.makeAuthorityKey()
        for _ in 0..<3 {
            keys.lose()
            let (_, certificate) = try root(signer)
            #expect(certificate.publicKey.isValidSignature(certificate.signature, for: certificate))
        }
        let (authority, _) = try root(signer)
        try vault.keep(signer, authorityID: authority.id)
        keys.lose()
        #expect(try self.vault(TestDirectory(), keys).signer(authorityID: authority.id) != nil)
    }

    @Test func `more threads than sessions sign at once`() async throws {
        let tokens = try SoftTokens.shared.get()
        let vault = try vault(try TestDirectory(), tokens.keys("threads"))
        let signer = try vault.makeAuthorityKey()
        try await withThrowingTaskGroup(of: Bool.self) { group in
            for _ in 0..<32 {
                group.addTask {
                    try await vault.apart { _ in
                        let (_, certificate) = try root(signer)
                        return certificate.publicKey.isValidSignature(
                            certificate.signature,
                            for: certificate
                        )
                    }
                }
            }
            for try await isValid in group { #expect(isValid) }
        }
    }

    @Test func `a wrong PIN is tried once, and names the remedy`() throws {
        let tokens = try SoftTokens.shared.get()
        let wrong = try vault(
            try TestDirectory(),
            tokens.keys("pin", pin: Secret(bytes: Array("0815".utf8)))
        )
        for _ in 0..<5 {
            let refusal = try #require(error { try wrong.makeAuthorityKey() })
            guard case .pinRefused = refusal else {
                Issue.record("\(refusal)")
                return
            }
            #expect("\(refusal)".contains("pkcs11PIN"))
        }
        _ = try vault(try TestDirectory(), tokens.keys("pin")).makeAuthorityKey()
    }

    @Test func `a token or module that is not there is not a key that is not there`() throws {
        let tokens = try SoftTokens.shared.get()
        let vault = try vault(try TestDirectory(), tokens.keys("nobody's"))
        #expect(error { try vault.signer(authorityID: "01") } == .tokenNotFound(label: "nobody's"))
        let missing = error {
            try PKCS11Keys(
                modulePath: "/nowhere/module.so",
                tokenLabel: "keys",
                pin: SoftTokens.pin,
                serverID: "one"
            )
        }
        guard case .moduleUnusable("/nowhere/module.so", _)? = missing else {
            Issue.record("\(String(describing: missing))")
            return
        }
    }

    @Test func `servers that share a token touch their own keys alone`() throws {
        let tokens = try SoftTokens.shared.get()
        let directory = try TestDirectory()
        let one = try vault(directory, tokens.keys("shared", server: "one"))
        let two = try vault(directory, tokens.keys("shared", server: "two"))
        try one.keep(try one.makeAuthorityKey(), authorityID: "0a")
        let kept = try #require(try one.signer(authorityID: "0a"))
        try two.keep(try two.makeAuthorityKey(), authorityID: "0b")
        // As a crash leaves them: one without name, one whose authority was never published.
        let nameless = try one.makeAuthorityKey()
        try one.keep(try one.makeAuthorityKey(), authorityID: "0c")
        try one.sweep(keeping: [AuthorityKey("0a")])
        func reader(_ server: String) throws -> KeyVault {
            try vault(directory, tokens.keys("shared", server: server))
        }
        #expect(try reader("one").signer(authorityID: "0a") != nil)
        #expect(try reader("one").signer(authorityID: "0b") == nil)
        #expect(try reader("one").signer(authorityID: "0c") == nil)
        #expect(try reader("two").signer(authorityID: "0b") != nil)
        #expect(throws: SignerError.self) { try nameless.signature(for: [1]) }
        _ = try kept.signature(for: [1])
    }

    @Test func `keys in files sign on until their authorities are retired`() throws {
        let tokens = try SoftTokens.shared.get()
        let directory = try TestDirectory()
        let files = try KeyVault(
            directory: "\(directory.path)/keys",
            form: .plain,
            place: .files,
            keyType: .p256
        )
        let old = try files.makeAuthorityKey()
        try files.keep(old, authorityID: "0d")
        let token = try vault(directory, tokens.keys("keys", server: "moved"))
        let found = try token.signer(authorityID: "0d")
        #expect(found?.subjectPublicKeyInfo == old.subjectPublicKeyInfo)
        try token.keep(try token.makeAuthorityKey(), authorityID: "0e")
        let names = try FileManager.default.contentsOfDirectory(atPath: "\(directory.path)/keys")
        #expect(names == ["authority-0d.key"])
        try token.sweep(keeping: [AuthorityKey("0e")])
        let again = try vault(directory, tokens.keys("keys", server: "moved"))
        #expect(try again.signer(authorityID: "0d") == nil)
        #expect(try again.signer(authorityID: "0e") != nil)
        try token.sweep(keeping: [])
    }

    @Test func `a module that others can write is not loaded`() throws {
        let directory = try TestDirectory()
        let module = "\(directory.path)/module.so"
        try Data().write(to: URL(filePath: module))
        try FileManager.default.setAttributes([.posixPermissions: 0o666], ofItemAtPath: module)
        #expect(throws: FileError.self) { try DurableFile.requireOwn(file: module) }
        try DurableFile.requireOwn(file: SoftTokens.modulePath)
    }
}

/// A server whose authorities' keys are in a token.
@Suite(.serialized, .timeLimit(.minutes(2)))
struct PKCS11ServerTests {
    private func serve<Value: Sendable>(
        _ directory: TestDirectory,
        _ token: String,
        _ body: (TestServer) async throws -> Value
    ) async throws -> Value {
        _ = try SoftTokens.shared.get()
        let pin = "\(directory.path)/pin"
        try DurableFile.write(Array("4711\n".utf8), to: pin, mode: 0o600)
        return try await withServer(in: directory) {
            $0.keyStorage = .pkcs11
            $0.pkcs11Module = SoftTokens.modulePath
            $0.pkcs11Token = token
            $0.pkcs11PIN = .file(pin)
        } _: { server in
            try await body(server)
        }
    }

    private static func request(_ entry: String) throws -> [Signet_Node_V1alpha1_SignX509SVID] {
        [try signingRequest(entry: entry, spiffeID: "spiffe://example.org/web")]
    }

    @Test func `a server with keys in a token serves, and again after a restart`() async throws {
        let directory = try TestDirectory()
        let (first, agent, entry) = try await serve(directory, "server") { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("web")
            let (_, records) = try await server.requireIntactLog()
            #expect(records.contains { $0.contains("\"keyStorage\":\"pkcs11\"") })
            return (try server.core.trust.issuer.authority.id, agent, entry)
        }
        let keys = "\(directory.path)/data/keys"
        #expect(try FileManager.default.contentsOfDirectory(atPath: keys) == ["audit.key"])
        try await serve(directory, "server") { server in
            #expect(try server.core.trust.issuer.authority.id == first)
            let signed = try await server.sign(Self.request(entry), as: agent)
            #expect(signed.map(\.signed.certificateChain.count) == [1])
        }
    }

    @Test func `a key that goes away stops issuance before it is recorded, until it is back`()
        async throws
    {
        let tokens = try SoftTokens.shared.get()
        let place = try #require(tokens.directories["away"])
        try await serve(try TestDirectory(), "away") { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("web")
            // SoftHSM knows a token by heart, so it is the key that goes, and comes back with it.
            // The copy lies elsewhere: two tokens of one serial number end SoftHSM's process.
            let directory = try TestDirectory()
            let copy = "\(directory.path)/copy"
            try FileManager.default.copyItem(atPath: place, toPath: copy)
            let vault = try KeyVault(
                directory: "\(directory.path)/keys",
                form: .plain,
                place: .token(tokens.keys("away", server: server.core.logic.serverID)),
                keyType: .p256
            )
            try vault.sweep(keeping: [])
            let noticed = await refusal { try await server.sign(Self.request(entry), as: agent) }
            #expect(noticed?.reason == "signerUnavailable", "\(String(describing: noticed))")
            #expect(try await server.unmetConditions() == ["authority"])
            let size = try await server.audit.getCheckpoint(.init()).committedSize
            let refused = await refusal { try await server.sign(Self.request(entry), as: agent) }
            #expect(refused?.reason == "signerUnavailable", "\(String(describing: refused))")
            #expect(try await server.audit.getCheckpoint(.init()).committedSize == size)
            try FileManager.default.removeItem(atPath: place)
            try FileManager.default.moveItem(atPath: copy, toPath: place)
            try await eventually("the key signs again") {
                try await server.unmetConditions().isEmpty
            }
            let signed = try await server.sign(Self.request(entry), as: agent)
            #expect(signed.map(\.signed.certificateChain.count) == [1])
        }
    }

    @Test func `without its token a server does not start, and makes no authority`() async throws {
        let directory = try TestDirectory()
        let error = await refusal { try await serve(directory, "nobody's") { _ in } }
        #expect(error?.message.contains("nobody's") == true, "\(String(describing: error))")
    }
}
