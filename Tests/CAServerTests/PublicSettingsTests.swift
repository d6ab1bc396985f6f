// SPDX-License-Identifier: Apache-2.0

import CAServer
import Foundation
import GRPCPeer
import Issuance
import PublicEndpoint
import Testing

/// What the configuration says for verifiers outside (docs/decisions/0019).
@Suite struct PublicSettingsTests {
    private static let url = "publicURL: https://id.example.org/td\n"
    private static let files = "publicCertificate: /etc/a.pem\npublicKey: /etc/b.pem\n"

    private func read(_ lines: String) throws -> ServerConfiguration {
        let directory = try TestDirectory()
        let path = "\(directory.path)/server.yaml"
        let text = "trustDomain: example.org\ndataDirectory: /d\nkeyStorage: plain\n\(lines)"
        try Data(text.utf8).write(to: URL(filePath: path))
        return try ServerConfiguration(file: path)
    }

    @Test func `without a public URL nothing is different`() throws {
        let plain = try read("")
        #expect(plain.publicURL == nil && plain.publicListen == nil)
        #expect(plain.hold == AuthorityRotation.publicationHold)
        #expect(plain.publicWarnings.isEmpty)
    }

    @Test func `a public URL alone is the issuer's and makes verifiers waited for`() throws {
        let named = try read(Self.url)
        #expect(named.publicURL?.description == "https://id.example.org/td")
        #expect(named.hold == .seconds(3600))
        #expect(try read(Self.url + "publicHold: 4h\n").hold == .seconds(4 * 3600))
    }

    @Test func `a bundle endpoint makes partners waited for, without a public URL`() throws {
        let endpoint = try read("federationListen: \"[::1]:8444\"\n")
        #expect(endpoint.federationListen?.description == "[::1]:8444")
        #expect(endpoint.hold == .seconds(3600) && endpoint.publicURL == nil)
        let longer = try read("federationListen: 127.0.0.1:0\npublicHold: 2h\n")
        #expect(longer.hold == .seconds(2 * 3600))
    }

    @Test func `tokens are exchanged under another issuer's name if that is said`() throws {
        #expect(try read(Self.url).delegatedIssuer == nil)
        let on = try read(Self.url + "tokenExchange: true\n")
        #expect(on.delegatedIssuer == "https://id.example.org/td/delegated")
        #expect(try read(Self.url + "tokenExchange: false\n").delegatedIssuer == nil)
    }

    @Test func `everything can be said`() throws {
        let tls = try read(
            Self.url + Self.files + "publicListen: \"[::]:8443\"\ntokenKeyType: rsa-2048\n"
                + "publicDocuments:\n  - oidc\n  - bundle\n"
        )
        #expect(tls.publicListen?.description == "[::]:8443")
        #expect(tls.servedDocuments == [.bundle, .oidc])
        #expect(tls.tokenKeyType == .rsa2048 && tls.authorityKeyType == .p256)
        let socket = try read(Self.url + "publicListen: unix:/run/signet/public.sock\n")
        #expect(socket.publicListen == .socket("/run/signet/public.sock"))
        #expect(socket.servedDocuments == [.oidc])
    }

    @Test(arguments: [
        ("publicListen: 127.0.0.1:1\n" + files, ["publicURL: is missing"]),
        (
            url + "publicListen: 127.0.0.1:1\n",
            ["publicCertificate: is missing", "publicKey: is missing", "over TLS"]
        ),
        (url + files + "publicListen: unix:/a\n", ["publicKey: a Unix socket", "leave it out"]),
        (url + files, ["publicCertificate: nothing is served without publicListen"]),
        (url + "publicDocuments:\n  - oidc\n", ["publicDocuments: nothing is served"]),
        ("publicHold: 1h\n", ["publicHold: nobody outside is waited for"]),
        (url + "publicHold: 14m\n", ["publicHold: write 15m to 12h"]),
        (url + "publicHold: 13h\n", ["publicHold: write 15m to 12h"]),
        (
            url + "publicHold: 5h\n",
            ["5h is longer", "is 4h (authorityTTL 24h, longest SVID 4h", "write at most 4h"]
        ),
        (
            url + "authorityTTL: 1h\nworkloadSVIDTTL: 10m\nagentSVIDTTL: 10m\n",
            ["1h is longer", "is 10m", "raise authorityTTL or lower the others"]
        ),
        (
            "federationListen: 127.0.0.1:1\npublicHold: 5h\n",
            ["5h is longer", "write at most 4h"]
        ),
        ("federationListen: unix:/run/a\n", ["federationListen: "]),
        ("federationListen: id.example.org:1\n", ["federationListen: write an IP address"]),
        (
            "federationListen: 127.0.0.1:8081\n",
            ["federationListen: agents are served at [::]:8081: write another port"]
        ),
        (
            url + files + "publicListen: \"[::]:8443\"\nfederationListen: 127.0.0.1:8443\n",
            ["federationListen: publicListen is [::]:8443", "write another port"]
        ),
        (url + files + "publicListen: id.example.org:1\n", ["write an IP address"]),
        (url + "publicListen: unix:a\n", ["absolute path"]),
        (
            url + "publicListen: 127.0.0.1:1\npublicCertificate: a.pem\npublicKey: /b.pem\n",
            ["publicCertificate: write an absolute path"]
        ),
        ("publicURL: https://id.example.org/\n", ["publicURL: write a path"]),
        ("tokenExchange: true\n", ["publicURL: is missing", "tokenExchange"]),
        (
            "publicURL: https://id.example.org/" + String(repeating: "a", count: 223)
                + "\ntokenExchange: true\n",
            ["publicURL: with tokenExchange at most 245 bytes"]
        ),
        ("tokenKeyType: ed25519\n", ["tokenKeyType: write one of ec-p256"]),
        (url + "publicListen: unix:/a\npublicDocuments:\n  - jwks\n", ["write one of bundle, crl"]),
        (url + "publicListen: unix:/run/signet/server/admin.sock\n", ["is the admins' socket"]),
        (
            url + files + "publicListen: 127.0.0.1:8081\n",
            ["agents are served at [::]:8081: write another port"]
        ),
    ])
    func `what does not fit is refused with what to write`(lines: String, parts: [String]) {
        let error = #expect(throws: (any Error).self) { try read(lines) }
        for part in parts {
            #expect("\(String(describing: error))".contains(part), "\(lines)")
        }
    }

    @Test func `what a cloud refuses is said before it does`() throws {
        #expect(try read(Self.url + "tokenKeyType: rsa-2048\n").publicWarnings.isEmpty)
        let port = try read("publicURL: https://id.example.org:8443\n").publicWarnings
        #expect(port.count == 1 && port.first?.contains("AWS") == true)
        let curve = try read(Self.url + "authorityKeyType: ec-p384\n").publicWarnings
        #expect(curve.count == 1 && curve.first?.contains("GCP") == true)
    }
}
