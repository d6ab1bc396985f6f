// SPDX-License-Identifier: Apache-2.0

import BundleClient
import FoundationEssentials
import HTTPSemantics
import NIOSSL
import Synchronization
import TestPKI
import Testing

/// What is asked, and what comes of answers, over real sockets.
@Suite(.timeLimit(.minutes(1)))
struct FetchTests {
    @Test func `a document is asked for with one plain request`() async throws {
        let web = try WebCertificate.valid()
        try await withEndpoint(EndpointCertificate(web), answer: { _ in .content("{\"keys\":[]}") })
        {
            endpoint,
            client in
            let result = try await client.fetch(endpoint, path: "/bundle?a=b", web.trust)
            #expect(result == .success("{\"keys\":[]}"))
            let lines = [
                "GET /bundle?a=b HTTP/1.1", "Host: id.example.org:\(endpoint.port)",
                "User-Agent: signet", "Accept: application/json", "Accept-Encoding: identity",
                "Connection: close", "", "",
            ]
            #expect(endpoint.requests == [lines.joined(separator: "\r\n")])
        }
    }

    @Test func `a content without close_notify is whole by its length`() async throws {
        let web = try WebCertificate.valid()
        let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
        try await withEndpoint(EndpointCertificate(web), answer: { _ in .send(chunks) }) {
            endpoint,
            client in
            try await #expect(client.fetch(endpoint, web.trust) == .success("{}"))
        }
    }

    @Test(
        arguments: [
            ("HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\nsecret", .statusUnexpected),
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", .responseMalformed),
            ("HTTP/1.1 200 OK\r\n\r\n{}", .responseMalformed),
            (
                "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
                .responseMalformed
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 262145\r\n\r\n{}", .bodyTooLarge),
            ("220 mail.example.org\r\n", .responseMalformed),
            ("", .responseMalformed),
        ] as [(String, BundleFetchError.Reason)]
    )
    func `what is no whole answer is of no use, and is not repeated`(
        answer: String,
        reason: BundleFetchError.Reason
    ) async throws {
        let web = try WebCertificate.valid()
        try await withEndpoint(EndpointCertificate(web), answer: { _ in .send(answer) }) {
            endpoint,
            client in
            guard case .failure(let error) = try await client.fetch(endpoint, web.trust) else {
                Issue.record("it was taken")
                return
            }
            #expect(error.reason == reason)
            #expect(!error.detail.contains("secret") && !error.detail.contains("mail"))
            #expect(endpoint.requests.count == 1)
        }
    }

    @Test func `a server that never answers is left`() async throws {
        let web = try WebCertificate.valid()
        let client = HTTPSClient(time: .milliseconds(500)) { _ in [home] }
        try await withEndpoint(EndpointCertificate(web), client: client, answer: { _ in .wait }) {
            endpoint,
            client in
            try await #expect(client.failure(endpoint, web.trust) == .timedOut)
        }
    }

    @Test func `a fetch ends with its task`() async throws {
        let web = try WebCertificate.valid()
        try await withEndpoint(EndpointCertificate(web), answer: { _ in .wait }) {
            endpoint,
            client in
            let reason = await withTaskGroup(of: BundleFetchError.Reason?.self) { group in
                group.addTask { try? await client.failure(endpoint, web.trust) }
                for await _ in endpoint.arrivals { break }
                group.cancelAll()
                return await group.next() ?? nil
            }
            #expect(reason == .timedOut)
        }
    }

    @Test func `a server without TLS is no endpoint`() async throws {
        let web = try WebCertificate.valid()
        let client = HTTPSClient(establishTime: .milliseconds(500)) { _ in [home] }
        // It waits for a request in plain text, which never comes: nothing is sent before TLS is up.
        try await withEndpoint(nil, client: client) { endpoint, client in
            try await #expect(client.failure(endpoint, web.trust) == .unreachable)
            #expect(endpoint.connections == 1)
            #expect(endpoint.requests.isEmpty)
        }
    }

    @Test func `a server of TLS 1 1 is no endpoint`() async throws {
        let web = try WebCertificate.valid()
        let endpoint = try await ScriptedEndpoint(EndpointCertificate(web), maximum: .tlsv11) { _ in
            .content("{}")
        }
        let client = HTTPSClient { _ in [home] }
        try await #expect(client.failure(endpoint, web.trust) == .tlsFailed)
        await client.close()
        try await endpoint.close()
    }

    @Test(
        arguments: [
            (NIOTLSCipher.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, false),
            (.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, false),
            (.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, true),
        ]
    )
    func `F-4 with TLS 1 2 an endpoint is spoken to by what is forward secret and authenticated`(
        cipher: NIOTLSCipher,
        isTaken: Bool
    ) async throws {
        let web = try WebCertificate.valid()
        let endpoint = try await ScriptedEndpoint(
            EndpointCertificate(web),
            maximum: .tlsv12,
            ciphers: [cipher]
        ) { _ in .content("{}") }
        let client = HTTPSClient { _ in [home] }
        let found = try await client.fetch(endpoint, web.trust)
        if isTaken {
            #expect(found == .success("{}"))
        } else {
            #expect(endpoint.requests.isEmpty)
            try await #expect(client.failure(endpoint, web.trust) == .tlsFailed)
        }
        await client.close()
        try await endpoint.close()
    }

    @Test func `F-9 redirects are followed on the same host, three of them`() async throws {
        let web = try WebCertificate.valid()
        let answer: @Sendable (String) -> ScriptedEndpoint.Answer = { target in
            switch target {
            case "/a": .redirect(to: "b")
            case "/b": .redirect(to: "/c/d")
            case "/c/d": .redirect(to: "?e")
            case "/c/d?e": .content("here")
            case "/0": .redirect(to: "/a")
            default: .send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            }
        }
        try await withEndpoint(EndpointCertificate(web), answer: answer) { endpoint, client in
            try await #expect(client.fetch(endpoint, path: "/a", web.trust) == .success("here"))
            #expect(endpoint.connections == 4)
            try await #expect(client.failure(endpoint, path: "/0", web.trust) == .redirectRefused)
            // The fourth redirect is read and not followed.
            #expect(endpoint.connections == 8)
        }
    }

    @Test func `with https_web no other host is asked`() async throws {
        let web = try WebCertificate.valid(["id.example.org", "other.example.org"])
        try await withEndpoint(
            EndpointCertificate(web),
            answer: { _ in .redirect(to: "https://other.example.org/bundle") }
        ) { endpoint, client in
            try await #expect(client.failure(endpoint, web.trust) == .redirectRefused)
            #expect(endpoint.connections == 1)
        }
    }

    @Test func `a redirect leads to no address that is refused`() async throws {
        let web = try WebCertificate.valid()
        let looks = Mutex(0)
        let client = HTTPSClient { _ in
            // The name leads elsewhere when it is asked again.
            looks.withLock { count in
                count += 1
                return [count == 1 ? home : IPAddress(ipv4: 0xA9FE_A9FE)]
            }
        }
        try await withEndpoint(
            EndpointCertificate(web),
            client: client,
            answer: { _ in .redirect(to: "/latest/meta-data") }
        ) { endpoint, client in
            try await #expect(client.failure(endpoint, web.trust) == .addressRefused)
            #expect(endpoint.connections == 1)
        }
    }
}
