// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
internal import NIOCore
internal import NIOSSL
internal import SwiftASN1
internal import X509

/// A certificate with its intermediates and its key, which fit each other: one for the web from
/// files, or an SVID that was made for it.
package struct CertificatePair: Sendable {
    /// Largest file of certificates or of a key in bytes: some certificates with an RSA key.
    package static let fileBytesMax = 64 * 1024
    /// Most certificates, the first one included.
    package static let certificatesMax = 10
    /// Which part of its life is left when it is said that it should have been renewed.
    package static let lifeLeftPart = 10.0

    /// What is wrong with a pair that is served all the same.
    package enum Note: Hashable, Sendable, CustomStringConvertible {
        /// It ends soon.
        case endsSoon(Date)
        /// It has ended, and there is no better one.
        case ended(Date)
        /// No certificate comes with it that signed it.
        case noIntermediate
        /// It is for other names than the one by which verifiers come.
        case otherName(String)

        package var description: String {
            switch self {
            case .endsSoon(let date):
                "the certificate ends at \(date.formatted(.iso8601)): renew it"
            case .ended(let date):
                "the certificate has ended at \(date.formatted(.iso8601)), and verifiers refuse "
                    + "it: renew it"
            case .noIntermediate:
                "no intermediate follows the certificate, and AWS does not find the chain: write "
                    + "the file with the whole chain"
            case .otherName(let host): "the certificate is not for \(host), the host of publicURL"
            }
        }
    }

    package let notBefore: Date
    package let notAfter: Date
    private let names: [String]
    private let count: Int
    /// Sends the pair in handshakes.
    let context: NIOSSLContext

    /// Takes a pair.
    ///
    /// - Parameters:
    ///   - certificates: PEM, the server's certificate first; what is no certificate is passed
    ///     over, so that both files may be one.
    ///   - key: PEM with one private key.
    ///   - now: The wall clock.
    /// - Throws: `CertificatePairError`.
    package init(
        certificates: [UInt8],
        key: [UInt8],
        now: Date
    ) throws(CertificatePairError) {
        let chain = try Self.chain(certificates)
        guard let leaf = chain.first else { throw .noCertificate }
        let document = try Self.keyDocument(key)
        do {
            let key = try Certificate.PrivateKey(pemDocument: document)
            guard key.publicKey == leaf.publicKey else { throw CertificatePairError.otherKey }
        } catch let error as CertificatePairError {
            throw error
        } catch {
            throw .keyUnreadable
        }
        for (signed, signer) in zip(chain, chain.dropFirst()) {
            guard signed.issuer == signer.subject,
                signer.publicKey.isValidSignature(signed.signature, for: signed)
            else { throw .chainBroken }
        }
        (notBefore, notAfter) = (leaf.notValidBefore, leaf.notValidAfter)
        guard now >= notBefore else { throw .notYet(notBefore) }
        guard now < notAfter else { throw .ended(notAfter) }
        names = Self.names(leaf)
        count = chain.count
        do {
            context = try Self.context(
                try chain.map { try $0.serializeAsPEM().derBytes },
                try NIOSSLPrivateKey(bytes: Array(document.pemString.utf8), format: .pem)
            )
        } catch {
            throw .unusable("\(error)")
        }
    }

    /// Takes an X.509-SVID that was made for the key, with what is above it.
    ///
    /// Who made both need not have them compared, and nobody comes by a host's name.
    ///
    /// - Parameters:
    ///   - chain: DER, the SVID first.
    ///   - privateKey: Its key as DER (PKCS #8).
    /// - Throws: `CertificatePairError`.
    package init(
        svid chain: [[UInt8]],
        privateKey: [UInt8]
    ) throws(CertificatePairError) {
        guard let first = chain.first else { throw .noCertificate }
        let leaf: Certificate
        do {
            leaf = try Certificate(derEncoded: first)
        } catch {
            throw .certificateUnreadable
        }
        (notBefore, notAfter) = (leaf.notValidBefore, leaf.notValidAfter)
        (names, count) = ([], chain.count)
        do {
            context = try Self.context(
                chain,
                try NIOSSLPrivateKey(bytes: privateKey, format: .der)
            )
        } catch {
            throw .unusable("\(error)")
        }
    }

    /// What an operator should know of the pair that is served.
    ///
    /// - Parameters:
    ///   - host: By which verifiers come.
    ///   - now: The wall clock.
    /// - Returns: Nothing for a pair without fault.
    package func notes(host: String, now: Date) -> [Note] {
        var notes: [Note] = []
        let life = notAfter.timeIntervalSince(notBefore)
        if now >= notAfter {
            notes.append(.ended(notAfter))
        } else if notAfter.timeIntervalSince(now) < life / Self.lifeLeftPart {
            notes.append(.endsSoon(notAfter))
        }
        if !names.contains(where: { Self.matches($0, host) }) { notes.append(.otherName(host)) }
        if count == 1 { notes.append(.noIntermediate) }
        return notes
    }

    /// RFC 9525 section 6.3: a star is the whole first label.
    private static func matches(_ name: String, _ host: String) -> Bool {
        let name = name.lowercased()
        guard name.hasPrefix("*.") else { return name == host }
        guard let dot = host.firstIndex(of: ".") else { return false }
        return host[dot...] == name.dropFirst()
    }

    private static func chain(_ file: [UInt8]) throws(CertificatePairError) -> [Certificate] {
        let chain: [Certificate]
        do {
            chain = try PEMDocument.parseMultiple(pemString: String(decoding: file, as: UTF8.self))
                .filter { $0.discriminator == "CERTIFICATE" }
                .map { try Certificate(pemDocument: $0) }
        } catch {
            throw .certificateUnreadable
        }
        guard chain.count <= certificatesMax else { throw .tooManyCertificates }
        return chain
    }

    private static func keyDocument(_ file: [UInt8]) throws(CertificatePairError) -> PEMDocument {
        let documents: [PEMDocument]
        do {
            documents = try PEMDocument.parseMultiple(
                pemString: String(decoding: file, as: UTF8.self)
            ).filter { $0.discriminator.hasSuffix("PRIVATE KEY") }
        } catch {
            throw .keyUnreadable
        }
        guard documents.count <= 1 else { throw .severalKeys }
        guard let document = documents.first else { throw .noKey }
        return document
    }

    private static func names(_ leaf: Certificate) -> [String] {
        guard let names = try? leaf.extensions.subjectAlternativeNames else { return [] }
        return names.compactMap { name in
            if case .dnsName(let text) = name { text } else { nil }
        }
    }

    private static func context(
        _ chain: [[UInt8]],
        _ key: NIOSSLPrivateKey
    ) throws -> NIOSSLContext {
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: try chain.map { der in
                .certificate(try NIOSSLCertificate(bytes: der, format: .der))
            },
            privateKey: .privateKey(key)
        )
        // Clouds are old; what is not forward secret and authenticated is older.
        configuration.minimumTLSVersion = .tlsv12
        configuration.cipherSuiteValues = [
            .TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, .TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            .TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, .TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            .TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            .TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ]
        configuration.applicationProtocols = ["http/1.1"]
        configuration.certificateVerification = .none
        configuration.shutdownTimeout = TimeAmount(PublicListener.closingTimeMax)
        return try NIOSSLContext(configuration: configuration)
    }
}

/// Why a pair is not taken.
package enum CertificatePairError: Error, Hashable, Sendable, CustomStringConvertible {
    case certificateUnreadable
    /// A certificate is not signed by the one after it.
    case chainBroken
    case ended(Date)
    case keyUnreadable
    case noCertificate
    case noKey
    case notYet(Date)
    /// The key is another certificate's.
    case otherKey
    case severalKeys
    case tooManyCertificates
    /// The TLS library does not take it.
    case unusable(String)

    package var description: String {
        switch self {
        case .certificateUnreadable: "a certificate cannot be read"
        case .chainBroken:
            "a certificate is not signed by the one after it: write the server's first, then its "
                + "intermediates in order"
        case .ended(let date): "the certificate has ended at \(date.formatted(.iso8601))"
        case .keyUnreadable:
            "the key cannot be read: write it as unencrypted PEM, P-256 for choice"
        case .noCertificate: "there is no certificate in PEM in the file"
        case .noKey: "there is no private key in PEM in the file"
        case .notYet(let date): "the certificate begins at \(date.formatted(.iso8601))"
        case .otherKey: "the key is not that of the first certificate"
        case .severalKeys: "there is more than one private key in the file"
        case .tooManyCertificates:
            "there are more than \(CertificatePair.certificatesMax) certificates in the file"
        case .unusable(let why): "the TLS library does not take the pair: \(why)"
        }
    }
}
