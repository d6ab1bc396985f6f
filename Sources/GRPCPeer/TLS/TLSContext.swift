// SPDX-License-Identifier: Apache-2.0

internal import NIOCore
internal import NIOSSL

/// The TLS settings of the control plane: TLS 1.3 only, HTTP/2 only, and verification by our own
/// rules alone.
///
/// A context lives for one connection. Session tickets are sealed with keys of the context, so a
/// ticket of one connection opens nothing on the next: nobody resumes past a verification, and a
/// new identity is used from the next connection on.
enum TLSContext {
    /// RFC 9113 section 3.1.
    static let applicationProtocol = "h2"

    /// A server context that asks for a client certificate and accepts a client without one.
    static func server(_ identity: TLSIdentity) throws -> NIOSSLContext {
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: identity.certificates.map { .certificate($0) },
            privateKey: .privateKey(identity.privateKey)
        )
        configuration.certificateVerification = .optionalVerification
        return try make(&configuration)
    }

    /// A client context, anonymous without an identity.
    static func client(_ identity: TLSIdentity?) throws -> NIOSSLContext {
        var configuration = TLSConfiguration.makeClientConfiguration()
        if let identity {
            configuration.certificateChain = identity.certificates.map { .certificate($0) }
            configuration.privateKey = .privateKey(identity.privateKey)
        }
        // A SPIFFE ID is compared, never a host name.
        configuration.certificateVerification = .noHostnameVerification
        return try make(&configuration)
    }

    private static func make(_ configuration: inout TLSConfiguration) throws -> NIOSSLContext {
        configuration.minimumTLSVersion = .tlsv13
        configuration.applicationProtocols = [applicationProtocol]
        // No root of the machine is ever trusted; the verification callback replaces this list.
        configuration.trustRoots = .certificates([])
        return try NIOSSLContext(configuration: configuration)
    }

    /// Runs a verification of the chain a peer presented and answers the TLS library.
    static func answer(
        _ promise: EventLoopPromise<NIOSSLVerificationResult>,
        certificates: [NIOSSLCertificate],
        verify: @escaping @Sendable ([[UInt8]]) async throws -> Void,
        failed: @escaping @Sendable (any Error) -> Void
    ) {
        promise.completeWithTask {
            do {
                try await verify(certificates.map { try $0.toDERBytes() })
                return .certificateVerified
            } catch {
                failed(error)
                return .failed
            }
        }
    }
}
