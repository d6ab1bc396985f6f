// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
internal import HTTPSemantics
internal import NIOCore
internal import NIOSSL
package import SPIFFE

/// By what a bundle endpoint is known (SPIFFE Federation section 5.2); neither is tried for the
/// other.
package enum EndpointTrust: Sendable {
    /// `https_spiffe`: by an X.509-SVID of exactly this ID, which the verifier accepts.
    case spiffe(SPIFFEID, PeerVerifier)
    /// `https_web`: by a certificate for the URL's host of one of these authorities in PEM; nil:
    /// those of the system.
    case web(roots: [UInt8]?)

    /// What TLS 1.2 may use, as on the server's own listeners: forward secret and authenticated (F-4).
    ///
    /// The suites of TLS 1.3 all are; it is preferred where the endpoint speaks it.
    private static let suites: [NIOTLSCipher] = [
        .TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, .TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        .TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, .TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        .TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        .TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ]

    /// Whether the host's name alone is vouched for.
    var isOfHost: Bool {
        switch self {
        case .spiffe: false
        case .web: true
        }
    }

    /// TLS for one connection, with a context of its own: no session of another is resumed, which
    /// would leave verification out.
    ///
    /// - Parameters:
    ///   - url: What is asked.
    ///   - now: The wall clock.
    ///   - refused: Told why the server is not believed, before the handshake fails.
    /// - Returns: What encrypts the connection.
    /// - Throws: `BundleFetchError`, or the TLS library's error.
    func handler(
        for url: HTTPSURL,
        now: Date,
        refused: @escaping @Sendable (BundleFetchError) -> Void
    ) throws -> NIOSSLClientHandler {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.minimumTLSVersion = .tlsv12
        configuration.cipherSuiteValues = Self.suites
        configuration.applicationProtocols = ["http/1.1"]
        configuration.shutdownTimeout = TimeAmount(HTTPSClient.closingTimeMax)
        switch self {
        case .web(let roots):
            configuration.certificateVerification = .fullVerification
            if let roots { configuration.trustRoots = .certificates(try Self.certificates(roots)) }
            return try NIOSSLClientHandler(
                context: try NIOSSLContext(configuration: configuration),
                serverHostname: url.name
            )
        case .spiffe(let id, let verifier):
            // An ID is compared, never a host's name, and no root of the machine is believed.
            configuration.certificateVerification = .noHostnameVerification
            configuration.trustRoots = .certificates([])
            return try NIOSSLClientHandler(
                context: try NIOSSLContext(configuration: configuration),
                serverHostname: url.name
            ) { certificates, promise in
                promise.completeWithTask {
                    do throws(BundleFetchError) {
                        try await Self.verify(certificates, by: verifier, as: id, now: now)
                        return .certificateVerified
                    } catch {
                        refused(error)
                        return .failed
                    }
                }
            }
        }
    }

    private static func certificates(_ pem: [UInt8]) throws(BundleFetchError) -> [NIOSSLCertificate]
    {
        let certificates = (try? NIOSSLCertificate.fromPEMBytes(pem)) ?? []
        guard !certificates.isEmpty else {
            throw BundleFetchError(
                .endpointUntrusted,
                "the file of federationRoots has no certificates in PEM that can be read"
            )
        }
        return certificates
    }

    private static func verify(
        _ certificates: [NIOSSLCertificate],
        by verifier: PeerVerifier,
        as id: SPIFFEID,
        now: Date
    ) async throws(BundleFetchError) {
        let chain: [[UInt8]]
        do {
            chain = try certificates.map { try $0.toDERBytes() }
        } catch {
            throw BundleFetchError(.endpointUntrusted, "its certificate cannot be read")
        }
        let peer: VerifiedPeer
        do throws(PeerVerificationError) {
            peer = try await verifier.verify(chain: chain, now: now)
        } catch {
            throw BundleFetchError(.endpointUntrusted, error.description)
        }
        guard peer.id == id else {
            throw BundleFetchError(.endpointIDDiffers, "the endpoint is \(peer.id), not \(id)")
        }
    }
}

extension HTTPSURL {
    /// The host's name, which TLS sends (RFC 6066 section 3); nil for an address.
    fileprivate var name: String? {
        guard case .name(let name) = host else { return nil }
        return name
    }
}
