// SPDX-License-Identifier: Apache-2.0

import ControlAPIProtos
import Crypto
import Foundation
import SPIFFE
import SwiftProtobuf
import TestPKI
import Testing
import signet

@Suite(.timeLimit(.minutes(1))) struct IdentityFilesTests {
    /// A directory that goes when the test ends.
    private final class Folder {
        let path = FileManager.default.temporaryDirectory
            .appending(path: "signet-files-\(UInt64.random(in: 0 ... .max))").path

        deinit { try? FileManager.default.removeItem(atPath: path) }

        func text(_ name: String) throws -> String {
            try String(contentsOfFile: "\(path)/\(name)", encoding: .utf8)
        }

        func mode(_ name: String) throws -> Int? {
            let real = URL(filePath: "\(path)/\(name)").resolvingSymlinksInPath().path
            return try FileManager.default.attributesOfItem(atPath: real)[.posixPermissions] as? Int
        }

        var sets: [String] {
            get throws {
                try FileManager.default.contentsOfDirectory(atPath: path)
                    .filter { $0.hasPrefix(".set-") }
            }
        }
    }

    private let folder = Folder()
    private var files: IdentityFiles { IdentityFiles(directory: folder.path) }

    private func response(
        _ name: String,
        federated: [String: Data] = [:]
    ) throws -> X509SVIDResponse {
        let authority = try TestAuthority.root("example.org")
        let leaf = try authority.leaf("spiffe://example.org/\(name)")
        return .with {
            $0.svids = [
                .with {
                    $0.spiffeID = leaf.uri
                    $0.x509Svid = Data(leaf.chain.joined())
                    $0.x509SvidKey = Data(leaf.key.derRepresentation)
                    $0.bundle = Data(authority.der)
                }
            ]
            $0.federatedBundles = federated
        }
    }

    private func identity(
        _ name: String,
        federated: [String: Data] = [:]
    ) throws -> WorkloadIdentity {
        try WorkloadIdentity.all(of: response(name, federated: federated))[0]
    }

    @Test func `the three files are written with their modes`() throws {
        let web = try identity("web")
        try files.write(web)
        #expect(try folder.text("svid.pem") == web.chainPEM)
        #expect(try folder.text("svid_key.pem") == web.privateKeyPEM)
        #expect(try folder.text("bundle.pem") == web.bundlePEM)
        #expect(try folder.mode("svid.pem") == 0o644)
        #expect(try folder.mode("svid_key.pem") == 0o600)
        #expect(try folder.mode("bundle.pem") == 0o644)
    }

    @Test func `each trust domain that it federates with has a file, as long as it does`() throws {
        let partner = try TestAuthority.root("partner.example")
        let web = try identity(
            "web",
            federated: ["spiffe://partner.example": Data(partner.der)]
        )
        try files.write(web)
        let text = try folder.text("federated/partner.example.pem")
        #expect(text.hasPrefix("-----BEGIN CERTIFICATE-----"))
        #expect(text == web.federatedPEM["partner.example"] && text != web.bundlePEM)
        #expect(try folder.mode("federated/partner.example.pem") == 0o644)
        try files.write(try identity("web"))
        let left = try FileManager.default.contentsOfDirectory(
            atPath: "\(folder.path)/federated"
        )
        #expect(left.isEmpty)
        files.remove()
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).isEmpty)
    }

    /// The name becomes that of a file, and the agent's answer might be anybody's.
    @Test(arguments: ["", "..", "spiffe://../x", "spiffe://a/b", "spiffe://A", "partner.example"])
    func `what is no trust domain names no file`(name: String) throws {
        let partner = try TestAuthority.root("partner.example")
        #expect(throws: WorkloadIdentityError.federatedBundleMalformed(name)) {
            try identity("web", federated: [name: Data(partner.der)])
        }
    }

    @Test func `other modes are taken as they are`() throws {
        let files = IdentityFiles(directory: folder.path, mode: 0o640, keyMode: 0o440)
        try files.write(try identity("web"))
        #expect(try folder.mode("svid.pem") == 0o640)
        #expect(try folder.mode("svid_key.pem") == 0o440)
    }

    @Test func `all three change by one rename`() throws {
        try files.write(try identity("web"))
        let link = "\(folder.path)/.current"
        let before = try FileManager.default.destinationOfSymbolicLink(atPath: link)
        let renewed = try identity("web")
        try files.write(renewed)
        let after = try FileManager.default.destinationOfSymbolicLink(atPath: link)
        #expect(before != after)
        for (name, text) in [
            ("svid.pem", renewed.chainPEM), ("svid_key.pem", renewed.privateKeyPEM),
            ("bundle.pem", renewed.bundlePEM),
        ] {
            let path = "\(folder.path)/\(name)"
            #expect(
                try FileManager.default.destinationOfSymbolicLink(atPath: path)
                    == ".current/\(name)"
            )
            #expect(try folder.text(name) == text)
        }
        // A reader that is between two files finds the set it began with.
        #expect(try Set(folder.sets) == [before, after])
    }

    @Test func `only the set before the current one stays`() throws {
        for _ in 0..<4 { try files.write(try identity("web")) }
        #expect(try folder.sets.count == 2)
    }

    @Test(arguments: ["svid.pem", "svid_key.pem", "bundle.pem", "federated"])
    func `a file that is not ours is never replaced`(name: String) throws {
        try FileManager.default.createDirectory(
            atPath: folder.path,
            withIntermediateDirectories: true
        )
        try Data("mine".utf8).write(to: URL(filePath: "\(folder.path)/\(name)"))
        #expect(throws: CommandFailure.self) { try files.write(try identity("web")) }
        #expect(try folder.text(name) == "mine")
        #expect(try folder.sets.isEmpty)
    }

    @Test func `removing leaves nothing of the identity and nothing else`() throws {
        try files.write(try identity("web"))
        try Data("mine".utf8).write(to: URL(filePath: "\(folder.path)/other"))
        files.remove()
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["other"])
        try files.write(try identity("web"))
        #expect(try folder.text("svid_key.pem").hasPrefix("-----BEGIN PRIVATE KEY-----"))
    }
}
