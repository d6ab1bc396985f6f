// SPDX-License-Identifier: Apache-2.0

internal import Crypto
package import FoundationEssentials
package import SPIFFE

/// A token that is complete but not signed: the server commits this intent, with the audit leaf,
/// before the signature exists.
package struct PreparedToken: Hashable, Sendable {
    /// Random bytes in a token's ID: two tokens never have the same.
    static let tokenIDBytes = 16

    /// The workload that the token is issued to: in one "A, through B", B.
    package let id: SPIFFEID
    package let entry: EntryReference
    package let audiences: [String]
    /// The `jti` claim, by which the audit log and a verifier's own log name the same token.
    package let tokenID: String
    package let keyID: String
    package let issuedAt: Date
    package let notAfter: Date
    /// SHA-256 of the JWS signing input: header and payload exactly as they will be signed.
    package let signingInputSHA256: [UInt8]
    /// What makes it a token "A, through B"; nil for a JWT-SVID.
    package let delegation: Delegation?
    let algorithm: JWSAlgorithm
    let signingInput: [UInt8]

    /// Writes header and claims, and reads them again as a verifier would.
    ///
    /// - Throws: `TokenError.authorityChanged` or `.readsDifferently`: the fault is ours, never the
    ///   requester's.
    init(
        _ warrant: consuming TokenWarrant,
        issuer: TokenIssuer,
        using generator: inout some RandomNumberGenerator
    ) throws(TokenError) {
        let authority = issuer.authority
        guard warrant.keyID == authority.keyID else { throw .authorityChanged }
        let random = (0..<Self.tokenIDBytes).map { _ in
            UInt8.random(in: .min ... .max, using: &generator)
        }
        let tokenID = Base64Form.url.text(random)
        let header = JSONValue.object([
            "alg": .string(authority.algorithm.rawValue),
            "kid": .string(authority.keyID),
            "typ": .string(Self.type(of: warrant.delegation)),
        ])
        var claims: [String: JSONValue] = [
            "aud": .array(warrant.audiences.map { .string($0) }),
            "exp": .number(JSONNumber(warrant.notAfter.secondsSince1970)),
            "iat": .number(JSONNumber(warrant.issuedAt.secondsSince1970)),
            "jti": .string(tokenID),
        ]
        if let delegation = warrant.delegation {
            claims["iss"] = .string(delegation.issuer)
            claims.merge(delegation.chain.claims) { _, chain in chain }
        } else {
            claims["sub"] = .string(warrant.id.description)
            if let name = issuer.issuer { claims["iss"] = .string(name) }
        }
        let payload = JSONValue.object(claims).encoded
        id = warrant.id
        entry = warrant.entry
        audiences = warrant.audiences
        self.tokenID = tokenID
        keyID = warrant.keyID
        issuedAt = warrant.issuedAt.date
        notAfter = warrant.notAfter.date
        delegation = warrant.delegation
        algorithm = authority.algorithm
        signingInput = Array(
            "\(Base64Form.url.text(header.encoded)).\(Base64Form.url.text(payload))".utf8
        )
        signingInputSHA256 = Array(SHA256.hash(data: signingInput))
        guard readsAsWritten(payload) else { throw .readsDifferently }
    }

    /// The header's `typ`.
    var type: String { Self.type(of: delegation) }

    private static func type(of delegation: Delegation?) -> String {
        delegation == nil ? "JWT" : DelegationClaims.type
    }

    /// Whether a verifier of this kind of token reads what was meant.
    private func readsAsWritten(_ payload: [UInt8]) -> Bool {
        guard let delegation else {
            return (try? JWTClaims(parsing: payload)).map { agrees(with: $0) } ?? false
        }
        guard let claims = try? DelegationClaims(parsing: payload) else { return false }
        return claims.chain == delegation.chain && claims.chain.actor == id
            && audiences.count == 1 && claims.names(audience: audiences[0])
            && claims.expiresAt == notAfter && claims.issuedAt == issuedAt
            && claims.notBefore == nil && claims.tokenID == tokenID
            && claims.issuer.utf8.elementsEqual(delegation.issuer.utf8)
    }

    /// Whether claims that were read are those that were written.
    func agrees(with claims: JWTClaims) -> Bool {
        claims.subject == id && claims.audiences == audiences && claims.expiresAt == notAfter
            && claims.issuedAt == issuedAt && claims.notBefore == nil && claims.tokenID == tokenID
    }
}

/// Tokens of one key on their way: prepared one by one, committed together as intent, then
/// signed together, once.
///
/// The batch cannot be copied and signing uses it up, so nothing prepared is signed twice.
package struct TokenBatch: ~Copyable, Sendable {
    /// Most tokens in one batch: a workload asks for one per identity, and each is verified again.
    package static let tokensMax = 100

    private let issuer: TokenIssuer
    /// What has been prepared so far, in order: the content of intent and audit leaf.
    package private(set) var tokens: [PreparedToken] = []

    package init(issuer: TokenIssuer) {
        self.issuer = issuer
    }

    /// Writes and appends the token of a warrant.
    ///
    /// - Parameters:
    ///   - warrant: Used up even if preparing fails.
    ///   - generator: The system's random numbers in production; they make the token's ID.
    /// - Returns: The token as appended.
    /// - Throws: `TokenError.batchFull`, `.authorityChanged` or `.readsDifferently`.
    @discardableResult
    package mutating func prepare(
        _ warrant: consuming TokenWarrant,
        using generator: inout some RandomNumberGenerator
    ) throws(TokenError) -> PreparedToken {
        guard tokens.count < Self.tokensMax else { throw .batchFull }
        let token = try PreparedToken(warrant, issuer: issuer, using: &generator)
        tokens.append(token)
        return token
    }

    /// Signs all tokens, verifies every signature and compares what was signed with what was
    /// prepared.
    ///
    /// - Parameter signer: The authority's key.
    /// - Returns: The tokens in the order of `tokens`.
    /// - Throws: `TokenError`; then nothing of the batch may be used.
    package consuming func sign(with signer: some Signer) throws(TokenError) -> [IssuedToken] {
        let authority = issuer.authority
        guard signer.subjectPublicKeyInfo == authority.subjectPublicKeyInfo,
            signer.signatureAlgorithm.jwsAlgorithm == authority.algorithm
        else { throw .signerIsNotAuthority }
        var issued: [IssuedToken] = []
        issued.reserveCapacity(tokens.count)
        let signatures: [[UInt8]]
        do throws(SignerError) {
            signatures = try signer.signatures(for: tokens.map(\.signingInput))
        } catch {
            throw .signer(error)
        }
        guard signatures.count == tokens.count else { throw .signatureDoesNotVerify }
        for (prepared, signature) in zip(tokens, signatures) {
            guard let signature = authority.algorithm.signature(ofX509: signature) else {
                throw .signatureDoesNotVerify
            }
            let token = prepared.signingInput + ".\(Base64Form.url.text(signature))".utf8
            issued.append(try IssuedToken(token: token, prepared: prepared, authority: authority))
        }
        return issued
    }
}

/// A signed token whose signed bytes are those that were prepared, and whose signature verifies.
///
/// Whoever has the token is the workload until it expires, so its descriptions leave the token out.
package struct IssuedToken: Hashable, Sendable {
    /// The token in compact serialization.
    package let token: String
    package let prepared: PreparedToken

    /// Reads the token again, compares and verifies.
    ///
    /// - Throws: `TokenError.signedBytesDiffer` or `.signatureDoesNotVerify`.
    package init(
        token: [UInt8],
        prepared: PreparedToken,
        authority: TokenAuthority
    ) throws(TokenError) {
        guard let jws = try? CompactJWS(parsing: token), jws.algorithm == prepared.algorithm,
            jws.keyID == prepared.keyID, jws.type == prepared.type,
            SHA256.hash(data: jws.signingInput) == prepared.signingInputSHA256
        else { throw .signedBytesDiffer }
        guard authority.keyID == prepared.keyID,
            authority.published.key.verifies(
                jws.signature,
                of: jws.signingInput,
                by: jws.algorithm
            )
        else { throw .signatureDoesNotVerify }
        self.token = String(decoding: token, as: UTF8.self)
        self.prepared = prepared
    }
}

extension IssuedToken: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package var description: String { "IssuedToken(\(prepared.id), \(prepared.tokenID))" }

    package var debugDescription: String { description }

    package var customMirror: Mirror {
        Mirror(self, children: ["id": prepared.id, "tokenID": prepared.tokenID])
    }
}

/// Why an approved token was not issued, by no fault of the requester.
package enum TokenError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The signer's algorithm is not for keys of its kind.
    case algorithmDoesNotFitKey
    /// The warrant was granted for another key than the batch's; approve again.
    case authorityChanged
    case batchFull
    /// The issuer of tokens "A, through B" is no such name, or is that of JWT-SVIDs.
    case delegatedIssuerMalformed
    case issuerMalformed
    case keyUnsupported(JSONWebKeyError)
    /// What was written reads as something else.
    case readsDifferently
    case signatureDoesNotVerify
    /// What was signed is not what was prepared.
    case signedBytesDiffer
    case signer(SignerError)
    /// The signer holds another key than the authority's.
    case signerIsNotAuthority

    package var description: String {
        switch self {
        case .algorithmDoesNotFitKey: "the signer's algorithm does not fit its key"
        case .authorityChanged: "the key for JWT-SVIDs has changed since the approval"
        case .batchFull: "a batch has at most \(TokenBatch.tokensMax) tokens"
        case .delegatedIssuerMalformed:
            """
            the issuer of exchanged tokens has not 1 to \(DelegationClaims.issuerBytesMax) bytes \
            without control characters, or is the issuer of JWT-SVIDs
            """
        case .issuerMalformed:
            """
            the issuer has not 1 to \(TokenIssuer.issuerBytesMax) bytes without control characters
            """
        case .keyUnsupported(let error): error.description
        case .readsDifferently: "the prepared token does not read as it was written"
        case .signatureDoesNotVerify: "the signer's signature does not verify"
        case .signedBytesDiffer: "the signed bytes are not the prepared ones"
        case .signer(let error): error.description
        case .signerIsNotAuthority: "the signer does not hold the authority's key"
        }
    }
}
