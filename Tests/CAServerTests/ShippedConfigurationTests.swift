// SPDX-License-Identifier: Apache-2.0

import Authorization
import CAServer
import Foundation
import Issuance
import Testing

/// The configuration in deploy/config, through the reader of the server.
@Suite struct ShippedConfigurationTests {
    private static let path = URL(filePath: #filePath).deletingLastPathComponent()
        .appending(path: "../../deploy/config/server.yaml").standardizedFileURL.path

    @Test func `the shipped configuration is read and says what the defaults say`() throws {
        let shipped = try ServerConfiguration(file: Self.path)
        let plain = ServerConfiguration(
            trustDomain: shipped.trustDomain,
            dataDirectory: shipped.dataDirectory
        )
        #expect(shipped.lifetimes == plain.lifetimes)
        #expect(shipped.tokenLifetimes == plain.tokenLifetimes)
        #expect(shipped.listen == plain.listen)
        #expect(shipped.adminSocket == plain.adminSocket)
        #expect(shipped.telemetryPort == plain.telemetryPort)
        #expect(shipped.keyStorage == plain.keyStorage)
        #expect(shipped.authorityKeyType == plain.authorityKeyType)
        #expect(shipped.signingPerSecond == plain.signingPerSecond)
        #expect(shipped.signingBurst == plain.signingBurst)
        #expect(shipped.attestationsPerSecond == plain.attestationsPerSecond)
        #expect(shipped.attestationBurst == plain.attestationBurst)
        #expect(shipped.admins == [.localUser(uid: 0, host: nil)])
    }

    @Test func `a refused configuration says the values, the keys and what to write`() throws {
        let directory = try TestDirectory()
        let path = "\(directory.path)/server.yaml"
        func refusal(_ line: String) throws -> String {
            let storage = line.contains("key") ? "" : "keyStorage: plain\n"
            let text =
                "trustDomain: example.org\ndataDirectory: /var/lib/signet\n\(storage)\(line)\n"
            try Data(text.utf8).write(to: URL(filePath: path))
            return message(path)
        }
        func message(_ path: String) -> String {
            do {
                _ = try ServerConfiguration(file: path)
                return "accepted"
            } catch {
                return "\(error)"
            }
        }
        let short = try refusal("authorityTTL: 2h")
        let parts = ["authorityTTL 2h", "workloadSVIDTTL 1h", "agentSVIDTTL 4h", "at most 20m"]
        for part in parts {
            #expect(short.contains(part), "\(short)")
        }
        let keyless = try refusal("# no key says how keys are kept")
        for part in ["keyPassphrase", "file:/path", "credential:NAME", "keyStorage: plain"] {
            #expect(keyless.contains(part), "\(keyless)")
        }
        let both = try refusal("keyStorage: plain\nkeyPassphrase: file:/etc/secret")
        #expect(both.contains("leave one of the two out"), "\(both)")
        let backup = try refusal("keyPassphrase: file:/etc/s\nbackupPassphrase: file:/etc/s")
        #expect(backup.contains("backupPassphrase: is keyPassphrase's"), "\(backup)")
        let other = try refusal("keyStorage: plain\nauthorityKeyType: ed25519")
        #expect(other.contains("ec-p256") && other.contains("SPIFFE peers"), "\(other)")
        let token = try refusal("keyStorage: pkcs11\npkcs11Token: t\npkcs11PIN: hunter2")
        #expect(token.contains("pkcs11PIN: write file:/path") && !token.contains("hunter2"))
        let module = try refusal("keyStorage: pkcs11\npkcs11Token: t")
        #expect(module.contains("pkcs11Module: is missing"), "\(module)")
        #expect(module.contains("pkcs11PIN: is missing"), "\(module)")
        let tokens = try refusal("jwtSVIDTTL: 2h")
        #expect(tokens.contains("jwtSVIDTTL") && tokens.contains("30s to 1h"), "\(tokens)")
        let nowhere = try refusal("federationNetworks: []")
        #expect(nowhere.contains("leave the key out"), "\(nowhere)")
        let half = try refusal("federationNetworks: [10.0.0.0/8, localhost]")
        #expect(half.contains("localhost: write a block"), "\(half)")
        #expect(try refusal("federationNetworks: [10.0.0.0/8, \"::1/128\"]") == "accepted")
        let roots = try refusal("federationRoots: roots.pem")
        #expect(roots.contains("federationRoots: write an absolute path"), "\(roots)")
        let unused = try refusal("keyStorage: plain\npkcs11Token: t")
        #expect(unused.contains("write keyStorage: pkcs11 to use it"), "\(unused)")
        for wrong in ["-1", "5", "two"] {
            let refused = try refusal("keyStorage: memory\napprovals: \(wrong)")
            #expect(refused.contains("approvals") && refused.contains("0 to 4"), "\(refused)")
        }
        #expect(try refusal("keyStorage: memory\napprovals: 4") == "accepted")
        let former = try refusal("keysInMemory: true")
        #expect(former.contains("keyStorage"), "\(former)")
        #expect(try refusal("keyStorage: memory\nauthorityKeyType: rsa-4096") == "accepted")
        let portless = try refusal("listen: foo")
        #expect(portless.contains("write host:port"), "\(portless)")
        let missing = message("\(path).none")
        #expect(missing.contains("--config FILE"), "\(missing)")
    }

    @Test func `a longest lifetime that is written is told from one that follows`() throws {
        let directory = try TestDirectory()
        let path = "\(directory.path)/server.yaml"
        for (line, written) in [("", nil), ("workloadSVIDTTLMax: 2h", Duration.seconds(7200))] {
            let text = "trustDomain: example.org\ndataDirectory: /d\nkeyStorage: plain\n\(line)\n"
            try Data(text.utf8).write(to: URL(filePath: path))
            let read = try ServerConfiguration(file: path)
            #expect(read.writtenWorkloadMax == written)
            #expect(read.lifetimes.workloadMax == written ?? .seconds(4 * 3600))
        }
    }

    @Test func `the shipped configuration has every key`() throws {
        let text = try String(contentsOfFile: Self.path, encoding: .utf8)
        // Those that only another choice needs stand behind a "#".
        let other = Set([
            "backupPassphrase", "federationListen", "federationNetworks", "federationRoots",
            "pkcs11Module", "pkcs11PIN", "pkcs11Token", "profileDirectory", "publicCertificate",
            "publicDocuments", "publicHold", "publicKey", "publicListen", "publicURL",
            "serviceSocket", "serviceUIDs", "tokenExchange", "tokenKeyType", "upstream",
            "upstreamCertificate", "upstreamRoots", "upstreamSocket",
        ])
        let keys = text.split(separator: "\n").compactMap { line -> String? in
            let key = String(line.drop { "# ".contains($0) }.prefix { $0 != ":" })
            return line.first?.isLetter == true || other.contains(key) ? key : nil
        }
        #expect(Set(keys) == Set(ServerConfigurationKey.allCases.map(\.rawValue)))
        #expect(keys.count == Set(keys).count)
    }
}
