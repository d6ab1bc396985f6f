// SPDX-License-Identifier: Apache-2.0

import CAServer
import Clocks
import ControlAPI
import ControlAPIProtos
import Datastore
import Foundation
import GRPCPeer
import Issuance
import PublicEndpoint
import SPIFFE
import SwiftProtobuf
import Telemetry
import TestPKI
import Testing

/// Verifiers outside, from a server that runs (docs/decisions/0019).
@Suite(.timeLimit(.minutes(2)))
struct PublicationTests {
    private static let url = "https://id.example.org/td"

    private func socket(_ directory: TestDirectory) -> String { "\(directory.path)/public.sock" }

    /// Serves on a Unix socket.
    private func withPublic(
        in directory: TestDirectory,
        clock: any NodeClock = SystemClock(),
        _ change: (inout ServerConfiguration) -> Void = { _ in },
        _ body: (TestServer) async throws -> Void
    ) async throws {
        let url = try PublicURL(parsing: Self.url)
        try await withServer(in: directory, clock: clock) { configuration in
            configuration.publicURL = url
            configuration.publicListen = .socket(socket(directory))
            change(&configuration)
        } _: { server in
            try await body(server)
        }
    }

    private func get(_ path: String, _ directory: TestDirectory) async throws -> String {
        try await publicAnswer(path, at: socket(directory))
    }

    /// Asks until it is served.
    private func body(_ path: String, _ directory: TestDirectory) async throws -> [UInt8] {
        var answer = ""
        try await eventually("\(path) is served") {
            answer = (try? await get(path, directory)) ?? ""
            return answer.hasPrefix("HTTP/1.1 200")
        }
        let end = try #require(answer.firstRange(of: "\r\n\r\n"))
        return Array(answer[end.upperBound...].utf8)
    }

    private func keyIDs(_ directory: TestDirectory) async throws -> [String] {
        let value = try JSONValue(
            parsing: try await body("/td/keys", directory),
            bytesMax: BundleDocument.bytesMax
        )
        guard case .object(let set) = value, case .array(let keys)? = set["keys"] else {
            return []
        }
        return keys.compactMap { key in
            guard case .object(let members) = key, members["use"] == .string("sig") else {
                return nil
            }
            return members["kid"]?.text
        }
    }

    @Test func `a token's key and issuer are those that are published`() async throws {
        let directory = try TestDirectory()
        try await withPublic(in: directory) {
            ($0.tokenKeyType, $0.exchangesTokens) = (.rsa2048, true)
        } _: { server in
            let delegated = try await body(
                "/td/delegated/.well-known/openid-configuration",
                directory
            )
            let text = String(decoding: delegated, as: UTF8.self)
            #expect(text.contains("\"issuer\":\"\(Self.url)/delegated\""))
            #expect(text.contains("\"jwks_uri\":\"\(Self.url)/keys\""))
            let discovery = try await body("/td/.well-known/openid-configuration", directory)
            #expect(discovery == PublicBody.discovery(of: try PublicURL(parsing: Self.url)).bytes)
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("web")
            let results = try await server.tokens(
                [(entry, "spiffe://example.org/web", ["sts.amazonaws.com"])],
                as: agent
            )
            let token = try #require(results.first?.token)
            let parts = token.split(separator: ".").map(String.init)
            let header = String(decoding: Base64Form.url.bytes(parts[0].utf8) ?? [], as: UTF8.self)
            let claims = String(decoding: Base64Form.url.bytes(parts[1].utf8) ?? [], as: UTF8.self)
            #expect(claims.contains("\"iss\":\"\(Self.url)\""))
            #expect(header.contains("\"alg\":\"RS256\""))
            let keyIDs = try await keyIDs(directory)
            #expect(keyIDs.count == 1)
            #expect(header.contains("\"kid\":\"\(keyIDs.first ?? "-")\""))
            // Nothing but what was named is served.
            let bundle = try await get("/td/bundle", directory)
            #expect(bundle.hasPrefix("HTTP/1.1 404"))
            try await eventually("what strangers do is counted") {
                server.core.metrics.exposition().contains(
                    "signet_server_public_responses_total{document=\"keys\",status=\"200\"}"
                )
            }
        }
    }

    @Test func `F-1 a key is published for publicHold, and leaves when it is revoked`() async throws
    {
        let directory = try TestDirectory()
        let clock = ShiftedClock()
        try await withPublic(in: directory, clock: clock) {
            $0.publicDocuments = [.oidc, .bundle]
        } _: { server in
            #expect(try await keyIDs(directory).count == 1)
            // The first key could not be held, which is said until it would have been.
            #expect(try await server.unmetConditions().contains("publicKeys"))
            let next = try await server.administration.prepareAuthority(.init()).authority.id
            try await eventually("the next key is published") {
                try await keyIDs(directory).count == 2
            }
            let early = await refusal {
                try await server.administration.activateAuthority(.with { $0.id = next })
            }
            #expect(early?.reason == "authorityInUse")
            #expect(early?.message.contains("has 1h to do so") == true)
            #expect(early?.message.contains("verifiers outside may refuse") == true)
            clock.pass(.seconds(3601))
            try await eventually("it signs") {
                let authorities = try await server.administration.listAuthorities(.init())
                return authorities.authorities.contains { $0.id == next && $0.state == "active" }
            }
            try await eventually("nobody may refuse it") {
                try await !server.unmetConditions().contains("publicKeys")
            }
            let authorities = try await server.administration.listAuthorities(.init()).authorities
            let old = try #require(authorities.first { $0.state == "old" })
            let revoked = try await server.administration.revokeAuthority(
                .with { ($0.id, $0.reason, $0.now) = (old.id, "test", true) }
            )
            #expect(revoked.advice.count == 1 && revoked.advice[0].contains("restart"))
            try await eventually("its key leaves") { try await keyIDs(directory).count == 1 }
            let bundle = try BundleDocument(parsing: try await body("/td/bundle", directory))
            #expect(bundle.jwtAuthorities.count == 1 && bundle.x509Authorities.count == 1)
        }
    }

    @Test func `a list is served with its authority, and anew when something is revoked`()
        async throws
    {
        let directory = try TestDirectory()
        let clock = ShiftedClock()
        try await withPublic(in: directory, clock: clock) {
            $0.publicDocuments = [.crl]
        } _: { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let request = try signingRequest(
                entry: try await server.register("web"),
                spiffeID: "spiffe://example.org/web"
            )
            let leaf = try await server.leaf(request, as: agent)
            let id = try server.core.trust.issuer.authority.id
            let path = "/td/crl/\(id).crl"
            _ = try await body("/td/crl.pem", directory)
            let first = try await get("/td/crl.pem", directory)
            #expect(first.ranges(of: "-----BEGIN X509 CRL-----\n").count == 1)
            #expect(first.contains("cache-control: max-age=60"))
            try await server.revokeCertificate(leaf.serial)
            try await eventually("the list that has the certificate is served") {
                clock.pass(.milliseconds(500))
                let record = try await server.core.read { try $0.revocationList(of: id) }
                let list = try CertificateRevocationList(der: try #require(record).der)
                let tag = PublicBody.list(list.der, nextUpdate: list.nextUpdate).entityTag
                let answer = try await get(path, directory)
                return list.contains(leaf.serial) && answer.contains("etag: \(tag)\r\n")
            }
            #expect(try await get(path, directory).contains("application/pkix-crl"))
            let keys = try await get("/td/keys", directory)
            #expect(keys.hasPrefix("HTTP/1.1 404"), "only what was named is served")
            _ = try await server.rotate()
            try await eventually("both lists are served in one file") {
                clock.pass(.milliseconds(500))
                let answer = try await get("/td/crl.pem", directory)
                return answer.ranges(of: "-----BEGIN X509 CRL-----\n").count == 2
            }
        }
    }

    @Test func `a certificate that is missing stops nobody and is taken when it comes`()
        async throws
    {
        let directory = try TestDirectory()
        let clock = ShiftedClock()
        let (certificate, key) = ("\(directory.path)/a.pem", "\(directory.path)/a.key")
        let url = try PublicURL(parsing: Self.url)
        try await withServer(in: directory, clock: clock) { configuration in
            configuration.publicURL = url
            configuration.publicListen = .tls(ServerAddress(host: "127.0.0.1", port: 0))
            configuration.publicCertificate = certificate
            configuration.publicKey = key
        } _: { server in
            _ = try await server.agent("web-1", selectors: ["role:web"])
            try await eventually("health says it") {
                try await server.unmetConditions().contains("publicEndpoint")
            }
            try await eventually("the server is ready all the same") {
                server.core.health.report(.ready).isHealthy
            }
            let web = try WebCertificate(now: server.core.clock.wallTime)
            try Data(web.chain).write(to: URL(filePath: certificate))
            try Data(web.keyBytes).write(to: URL(filePath: key))
            // Others may read it.
            try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: key)
            clock.pass(.seconds(11))
            try await eventually("the key file's mode is refused") {
                server.core.health.report(.ready).json.contains("holds a secret")
            }
            try FileManager.default.setAttributes([.posixPermissions: 0o640], ofItemAtPath: key)
            try await eventually("the pair is taken") {
                clock.pass(.seconds(11))
                return try await !server.unmetConditions().contains("publicEndpoint")
            }
        }
    }

    @Test func `a start says who the issuer is`() async throws {
        let directory = try TestDirectory()
        try await withServer(in: directory) { _ in }
        try await withPublic(in: directory) { server in
            let starts = try await server.records("serverStarted")
            let named = starts.filter { $0.contains("\"publicURL\":\"\(Self.url)\"") }
            #expect(starts.count == 2 && named.count == 1)
        }
    }

    @Test func `a socket that others could replace is refused at the start`() async throws {
        let directory = try TestDirectory()
        try FileManager.default.setAttributes(
            [.posixPermissions: 0o777],
            ofItemAtPath: directory.path
        )
        await #expect(throws: (any Error).self) {
            try await withPublic(in: directory) { _ in }
        }
    }
}
