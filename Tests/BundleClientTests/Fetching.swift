// SPDX-License-Identifier: Apache-2.0

import BundleClient
import FoundationEssentials
import HTTPSemantics
import SPIFFE
import TestPKI

/// Loopback, where tests' endpoints are; without words it is refused.
let loopback = FetchNetworks([IPBlock("127.0.0.0/8")].compactMap(\.self))

/// The address of a test's endpoint.
let home = IPAddress(ipv4: 0x7F00_0001)

/// Opens an endpoint and a client, and closes both.
func withEndpoint(
    _ certificate: EndpointCertificate?,
    client: HTTPSClient = HTTPSClient { _ in [home] },
    answer: @escaping @Sendable (String) -> ScriptedEndpoint.Answer = { _ in .content("{}") },
    _ body: (ScriptedEndpoint, HTTPSClient) async throws -> Void
) async throws {
    let endpoint = try await ScriptedEndpoint(certificate, answer: answer)
    do {
        try await body(endpoint, client)
    } catch {
        await client.close()
        try await endpoint.close()
        throw error
    }
    await client.close()
    try await endpoint.close()
}

extension HTTPSClient {
    /// Fetches `https://host:port/path` and returns the content as text, or why there is none.
    func fetch(
        _ endpoint: ScriptedEndpoint,
        host: String = "id.example.org",
        path: String = "/bundle",
        _ trust: EndpointTrust,
        networks: FetchNetworks = loopback
    ) async throws -> Result<String, BundleFetchError> {
        let request = BundleRequest(
            url: try HTTPSURL(parsing: "https://\(host):\(endpoint.port)\(path)"),
            trust: trust,
            networks: networks,
            now: testNow
        )
        do throws(BundleFetchError) {
            return .success(String(decoding: try await fetch(request), as: UTF8.self))
        } catch {
            return .failure(error)
        }
    }

    /// The reason of a fetch that has to fail; nil if it did not.
    func failure(
        _ endpoint: ScriptedEndpoint,
        host: String = "id.example.org",
        path: String = "/bundle",
        _ trust: EndpointTrust,
        networks: FetchNetworks = loopback
    ) async throws -> BundleFetchError.Reason? {
        let result = try await fetch(endpoint, host: host, path: path, trust, networks: networks)
        guard case .failure(let error) = result else { return nil }
        return error.reason
    }
}

extension WebCertificate {
    /// One that is valid now: BoringSSL asks the machine's clock.
    static func valid(_ names: [String] = ["id.example.org"]) throws -> WebCertificate {
        try WebCertificate(names, now: Date())
    }

    var trust: EndpointTrust { .web(roots: Array(root.utf8)) }
}

extension TestAuthority {
    /// The endpoint has to show this ID, by this authority.
    func trust(_ id: String) throws -> EndpointTrust {
        .spiffe(try SPIFFEID(id), PeerVerifier(bundles: [trustDomain: bundle]))
    }
}
