// SPDX-License-Identifier: Apache-2.0

/// A SPIFFE bundle as JSON (SPIFFE Trust Domain and Bundle section 4): the keys of one trust
/// domain, which the document itself does not name.
///
/// A key that cannot be used is left out, which only narrows trust, and is reported. A document
/// that breaks the form is refused whole.
package struct BundleDocument: Hashable, Sendable {
    /// Longest document: 64 authorities of either kind of the usual sizes are below 200 KiB.
    package static let bytesMax = 1 << 20
    /// Most keys of all uses; beyond `TrustBundle.authoritiesMax` of each kind of ours there is
    /// room for as many of other kinds.
    package static let keysMax = 4 * TrustBundle.authoritiesMax
    /// What to do when a document gives no hint, in seconds: five minutes (row B-3).
    package static let refreshHintSecondsDefault = 300
    /// Shortest time between two looks at a document, in seconds, whatever it hints: nobody makes
    /// us ask an endpoint without pause.
    package static let refreshSecondsMin = 60
    /// Longest time between two looks at a document, in seconds: an authority may live for a day.
    package static let refreshSecondsMax = 3600

    /// A key of the document that is not used.
    package struct LeftOutKey: Hashable, Sendable {
        /// Its place in `keys`.
        package let index: Int
        package let reason: LeftOutReason

        package init(index: Int, reason: LeftOutReason) {
            (self.index, self.reason) = (index, reason)
        }
    }

    /// DER of each X.509 authority, in order.
    package let x509Authorities: [[UInt8]]
    /// The keys that sign JWT-SVIDs, in order; their IDs are single.
    package let jwtAuthorities: [JWTAuthority]
    /// Which version of the bundle it is; nil if the document does not say.
    package let sequenceNumber: UInt64?
    /// How often to look for a new version, as the document says; `refreshSeconds` is what to do.
    package let refreshHintSeconds: UInt64?
    /// Keys that are not used, for the shell to report.
    package let leftOut: [LeftOutKey]

    /// How long to wait before looking for a new version, in seconds.
    package var refreshSeconds: Int {
        let hint = refreshHintSeconds ?? UInt64(Self.refreshHintSecondsDefault)
        return Int(min(max(hint, UInt64(Self.refreshSecondsMin)), UInt64(Self.refreshSecondsMax)))
    }

    /// Reads a document.
    ///
    /// - Throws: `BundleDocumentError`; the last good document stays in force.
    /// - SeeAlso: docs/conformance.md rows B-1 to B-5, J-10, X-15 and X-16.
    package init(parsing bytes: [UInt8]) throws(BundleDocumentError) {
        let value: JSONValue
        do throws(JSONError) {
            value = try JSONValue(parsing: bytes, bytesMax: Self.bytesMax)
        } catch {
            throw .notJSON(error)
        }
        try self.init(value)
    }

    init(_ value: JSONValue) throws(BundleDocumentError) {
        guard case .object(let members) = value else { throw .notObject }
        guard let list = members["keys"] else { throw .keysMissing }
        guard case .array(let keys) = list else { throw .keysNotList }
        guard keys.count <= Self.keysMax else { throw .keysTooMany }
        sequenceNumber = try Self.number("spiffe_sequence", of: members)
        refreshHintSeconds = try Self.number("spiffe_refresh_hint", of: members)
        var x509Authorities: [[UInt8]] = []
        var jwtAuthorities: [JWTAuthority] = []
        var leftOut: [LeftOutKey] = []
        for (index, value) in keys.enumerated() {
            guard case .object(let key) = value else { throw .keyNotObject(index: index) }
            do throws(LeftOutReason) {
                switch try PublishedKey(key) {
                case .x509(let der): x509Authorities.append(der)
                case .jwt(let authority): jwtAuthorities.append(authority)
                }
            } catch {
                leftOut.append(LeftOutKey(index: index, reason: error))
            }
        }
        guard max(x509Authorities.count, jwtAuthorities.count) <= TrustBundle.authoritiesMax else {
            throw .authoritiesTooMany
        }
        guard Set(jwtAuthorities.map { Array($0.keyID.utf8) }).count == jwtAuthorities.count else {
            throw .keyIDTwice
        }
        self.x509Authorities = x509Authorities
        self.jwtAuthorities = jwtAuthorities
        self.leftOut = leftOut
    }

    /// The bundle of the trust domain that the document was fetched for, with what it does not say
    /// filled in.
    package func bundle(of trustDomain: TrustDomain) -> TrustBundle {
        TrustBundle(
            trustDomain: trustDomain,
            x509Authorities: x509Authorities,
            x509Intermediates: [],
            jwtAuthorities: jwtAuthorities,
            sequenceNumber: sequenceNumber ?? 0,
            refreshHintSeconds: refreshSeconds
        )
    }

    private static func number(
        _ name: String,
        of members: [String: JSONValue]
    ) throws(BundleDocumentError) -> UInt64? {
        guard let value = members[name] else { return nil }
        guard case .number(let number) = value, let unsigned = number.unsigned else {
            throw .notWholeNumber(name)
        }
        return unsigned
    }
}

/// One key of a bundle, of a use that Signet knows (section 4.2.2; rows J-10, X-15, X-16).
private enum PublishedKey {
    case jwt(JWTAuthority)
    case x509([UInt8])

    init(_ members: [String: JSONValue]) throws(LeftOutReason) {
        guard let use = members["use"]?.text else { throw .useMissing }
        guard members["kty"]?.text != nil else { throw .keyTypeMissing }
        switch use {
        case "jwt-svid": self = .jwt(try Self.jwtAuthority(members))
        case "x509-svid": self = .x509(try Self.certificate(members))
        default: throw .useUnknown
        }
    }

    private static func jwtAuthority(
        _ members: [String: JSONValue]
    ) throws(LeftOutReason) -> JWTAuthority {
        guard let keyID = members["kid"]?.text, !keyID.isEmpty else { throw .keyIDMissing }
        guard keyID.utf8.count <= JWTAuthority.keyIDBytesMax else { throw .keyIDTooLong }
        let key = try key(members)
        guard let name = members["alg"] else { return JWTAuthority(keyID: keyID, key: key) }
        guard let algorithm = name.text.flatMap({ JWSAlgorithm(rawValue: $0) }),
            algorithm.fits(key.kind)
        else { throw .algorithmDoesNotFitKey }
        return JWTAuthority(keyID: keyID, key: key, algorithm: algorithm)
    }

    /// The first certificate of `x5c`, whose key is the JWK's (RFC 7517 section 4.7).
    private static func certificate(
        _ members: [String: JSONValue]
    ) throws(LeftOutReason) -> [UInt8] {
        guard case .array(let chain)? = members["x5c"], let text = chain.first?.text else {
            throw .certificateMissing
        }
        guard text.utf8.count <= 2 * LeafCertificate.bytesMax,
            let der = Base64Form.standard.bytes(text.utf8)
        else { throw .certificateNotBase64 }
        let certificate: LeafCertificate
        do throws(LeafCertificateError) {
            certificate = try LeafCertificate(der: der)
        } catch {
            throw .certificateMalformed(error)
        }
        let key = try key(members)
        guard let certified = try? JSONWebKey(subjectPublicKeyInfo: certificate.spkiBytes),
            certified == key
        else { throw .certificateOfAnotherKey }
        return der
    }

    private static func key(
        _ members: [String: JSONValue]
    ) throws(LeftOutReason) -> JSONWebKey {
        do throws(JSONWebKeyError) { return try JSONWebKey(members: members) } catch {
            throw .key(error)
        }
    }
}

/// Why a key of a bundle document is not used.
package enum LeftOutReason: Error, Hashable, Sendable, CustomStringConvertible {
    /// `alg` names an algorithm that JWT-SVIDs are not signed with, or that is another key's.
    case algorithmDoesNotFitKey
    case certificateMalformed(LeafCertificateError)
    case certificateMissing
    case certificateNotBase64
    /// The certificate is not for the key that the JWK shows.
    case certificateOfAnotherKey
    case key(JSONWebKeyError)
    case keyIDMissing
    case keyIDTooLong
    case keyTypeMissing
    case useMissing
    case useUnknown

    package var description: String {
        switch self {
        case .algorithmDoesNotFitKey: "\"alg\" does not fit the key"
        case .certificateMalformed(let error): "the certificate is malformed: \(error)"
        case .certificateMissing: "\"x5c\" holds no certificate"
        case .certificateNotBase64: "\"x5c\" is not a certificate in base 64"
        case .certificateOfAnotherKey: "the certificate is for another key than the JWK"
        case .key(let error): error.description
        case .keyIDMissing: "\"kid\" is missing or empty"
        case .keyIDTooLong: "\"kid\" has more than \(JWTAuthority.keyIDBytesMax) bytes"
        case .keyTypeMissing: "\"kty\" is missing"
        case .useMissing: "\"use\" is missing"
        case .useUnknown: "\"use\" is neither x509-svid nor jwt-svid"
        }
    }
}

/// Why a bundle document is refused, or not written.
package enum BundleDocumentError: Error, Hashable, Sendable, CustomStringConvertible {
    case authoritiesTooMany
    /// An authority to be written, counted from 0, has no key that a JWK can show.
    case authorityUnreadable(index: Int)
    /// Two keys for JWT-SVIDs have one ID: readers would differ in which one they take.
    case keyIDTwice
    case keyNotObject(index: Int)
    case keysMissing
    case keysNotList
    case keysTooMany
    case notJSON(JSONError)
    case notObject
    /// A member of ours, by name, is not a whole number from 0 to 2^64 - 1.
    case notWholeNumber(String)

    package var description: String {
        switch self {
        case .authoritiesTooMany:
            "the bundle has more than \(TrustBundle.authoritiesMax) authorities of one kind"
        case .authorityUnreadable(let index):
            "X.509 authority \(index) is no certificate of a P-256, P-384, P-521 or RSA key"
        case .keyIDTwice: "two keys of the bundle have the same \"kid\""
        case .keyNotObject(let index): "key \(index) of the bundle is not a JSON object"
        case .keysMissing: "the bundle has no \"keys\""
        case .keysNotList: "\"keys\" of the bundle is not a list"
        case .keysTooMany: "the bundle has more than \(BundleDocument.keysMax) keys"
        case .notJSON(let error): "the bundle: \(error)"
        case .notObject: "the bundle is not a JSON object"
        case .notWholeNumber(let name): "\"\(name)\" is not a whole number from 0 to 2^64 - 1"
        }
    }
}
