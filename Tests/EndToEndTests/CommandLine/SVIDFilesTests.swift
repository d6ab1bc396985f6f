// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms
import Testing

/// `signet svid fetch` and the files of `signet svid watch`, as other programs see them.
@Suite(.serialized, .timeLimit(.minutes(3)))
struct SVIDFilesTests {
    /// Renewed every 5 s or so.
    private static let shortLife = ["x509SVIDTTL: 10s"]

    static func machine(_ more: [String] = []) async throws -> Machine {
        let machine = try Machine()
        try await machine.startServer()
        try await machine.startAgent()
        try await machine.register("web", more: more)
        return machine
    }

    @Test func `fetch writes a chain, its key and the bundle with the modes asked for`()
        async throws
    {
        let machine = try await Self.machine()
        let folder = "\(machine.path)/tls"
        let fetched = try await machine.signet(
            ["svid", "fetch", "--write-dir", folder, "--mode", "0640", "--key-mode", "0400"]
        )
        #expect(fetched.isSuccess, "\(fetched.report)")
        #expect(fetched.output.contains("spiffe://example.org/web"))
        #expect(try mode(of: "\(folder)/svid.pem") == 0o640)
        #expect(try mode(of: "\(folder)/bundle.pem") == 0o640)
        #expect(try mode(of: "\(folder)/svid_key.pem") == 0o400)
        let verified = try await openSSL(
            ["verify", "-CAfile", "\(folder)/bundle.pem", "\(folder)/svid.pem"],
            machine
        )
        #expect(verified.isSuccess, "\(verified.report)")
        #expect(try await keyFits(in: folder, machine))
        // A second fetch replaces the files, also where the key is read only.
        let again = try await machine.signet(["svid", "fetch", "--write-dir", folder])
        #expect(again.isSuccess, "\(again.report)")
        #expect(try mode(of: "\(folder)/svid_key.pem") == 0o600)
        try await machine.stop()
    }

    @Test func `fetch shows private keys only if asked`() async throws {
        struct Identity: Decodable {
            var spiffeID: String
            var certificateChain: String
            var bundle: String
            var privateKey: String?
        }
        let machine = try await Self.machine()
        for (more, hasKey) in [([], false), (["--include-key"], true)] {
            let fetched = try await machine.signet(["svid", "fetch", "-o", "json"] + more)
            let identities = try JSONDecoder().decode(
                [Identity].self,
                from: Data(fetched.output.utf8)
            )
            let identity = try #require(identities.first)
            #expect(identity.spiffeID == "spiffe://example.org/web")
            #expect(identity.certificateChain.hasPrefix("-----BEGIN CERTIFICATE-----\n"))
            #expect(identity.bundle.hasPrefix("-----BEGIN CERTIFICATE-----\n"))
            #expect((identity.privateKey != nil) == hasKey)
        }
        let table = try await machine.signet(["svid", "fetch", "--include-key"])
        #expect(table.status == 64 && table.output.isEmpty, "\(table.report)")
        try await machine.stop()
    }

    @Test func `what is in the way is neither replaced nor followed`() async throws {
        let machine = try await Self.machine()
        let folder = "\(machine.path)/tls"
        try FileManager.default.createDirectory(
            atPath: folder,
            withIntermediateDirectories: false
        )
        try "mine".write(toFile: "\(folder)/svid.pem", atomically: true, encoding: .utf8)
        let refused = try await machine.signet(["svid", "fetch", "--write-dir", folder])
        #expect(refused.status == 1)
        #expect(refused.errors.contains("was not written by signet"), "\(refused.report)")
        #expect(refused.errors.contains("another --write-dir"))
        #expect(try String(contentsOfFile: "\(folder)/svid.pem", encoding: .utf8) == "mine")
        try await machine.stop()
    }

    @Test func `watch changes all three files in one step`() async throws {
        let machine = try await Self.machine(Self.shortLife)
        let folder = "\(machine.path)/tls"
        let watch = try machine.startSignet(["svid", "watch", "--write-dir", folder])
        try await watch.waitFor("expires in")
        // Whoever opens the folder behind `.current` finds what belongs together, at any moment.
        var sets: [String: (chain: Data, key: Data)] = [:]
        try await eventually("three sets of files") {
            let current = try FileManager.default.destinationOfSymbolicLink(
                atPath: "\(folder)/.current"
            )
            let set = "\(folder)/\(current)"
            let chain = try Data(contentsOf: URL(filePath: "\(set)/svid.pem"))
            let key = try Data(contentsOf: URL(filePath: "\(set)/svid_key.pem"))
            if let known = sets[current] { #expect(known.chain == chain && known.key == key) }
            sets[current] = (chain, key)
            return sets.count == 3
        }
        for (number, files) in sets.values.enumerated() {
            let copy = "\(machine.path)/set-\(number)"
            try FileManager.default.createDirectory(
                atPath: copy,
                withIntermediateDirectories: false
            )
            try files.chain.write(to: URL(filePath: "\(copy)/svid.pem"))
            try files.key.write(to: URL(filePath: "\(copy)/svid_key.pem"))
            #expect(try await keyFits(in: copy, machine), "\(number)")
        }
        // The set before stays for slow readers, older ones go.
        let left = try FileManager.default.contentsOfDirectory(atPath: folder)
            .filter { $0.hasPrefix(".set-") }
        #expect(left.count == 2, "\(left)")
        let ended = try await watch.stop()
        #expect(ended.status == 0, "\(ended.report)")
        #expect(FileManager.default.fileExists(atPath: "\(folder)/svid.pem"))
        try await machine.stop()
    }

    @Test(arguments: [false, true])
    func `files go with the identity, unless they are to stay`(stay: Bool) async throws {
        let machine = try await Self.machine()
        let folder = "\(machine.path)/tls"
        let watch = try machine.startSignet(
            ["svid", "watch", "--write-dir", folder] + (stay ? ["--keep-files"] : [])
        )
        try await watch.waitFor("expires in")
        let deleted = try await machine.signet(["delete", "RegistrationEntry/web"])
        #expect(deleted.isSuccess, "\(deleted.report)")
        try await watch.waitFor("PermissionDenied")
        #expect(FileManager.default.fileExists(atPath: "\(folder)/svid_key.pem") == stay)
        #expect(FileManager.default.fileExists(atPath: "\(folder)/.current") == stay)
        // It comes back without a restart.
        try await machine.register("web")
        try await watch.waitFor("expires in", times: 2)
        #expect(FileManager.default.fileExists(atPath: "\(folder)/svid_key.pem"))
        try await watch.stop()
        try await machine.stop()
    }

    @Test func `files stay while the agent is away`() async throws {
        let machine = try await Self.machine()
        let folder = "\(machine.path)/tls"
        let watch = try machine.startSignet(["svid", "watch", "--write-dir", folder])
        try await watch.waitFor("expires in")
        try await machine.agent.stop(.kill)
        try await watch.waitFor("trying again")
        #expect(FileManager.default.fileExists(atPath: "\(folder)/svid_key.pem"))
        try await watch.stop()
        try await machine.stop()
    }

    // MARK: - What openssl and the file system say

    private func openSSL(
        _ arguments: [String],
        _ machine: Machine
    ) async throws -> ProgramResult {
        try await Installation.run(
            Installation.tool("openssl"),
            arguments,
            directory: machine.path
        )
    }

    private func keyFits(in folder: String, _ machine: Machine) async throws -> Bool {
        let key = try await openSSL(["pkey", "-in", "\(folder)/svid_key.pem", "-pubout"], machine)
        let leaf = try await openSSL(
            ["x509", "-in", "\(folder)/svid.pem", "-noout", "-pubkey"],
            machine
        )
        return key.isSuccess && leaf.isSuccess && key.output == leaf.output
    }

    private func mode(of path: String) throws -> Int {
        let target = URL(filePath: path).resolvingSymlinksInPath().path
        let attributes = try FileManager.default.attributesOfItem(atPath: target)
        return try #require(attributes[.posixPermissions] as? Int)
    }
}
