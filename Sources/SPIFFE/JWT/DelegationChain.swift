// SPDX-License-Identifier: Apache-2.0

/// Whose request it is, and through whom it came (RFC 8693 section 4.1,
/// docs/decisions/0024-token-exchange.md).
///
/// All are workloads of one trust domain, each named once.
package struct DelegationChain: Hashable, Sendable {
    /// Most actors: each was asked for by a policy of its own, and services that call through more
    /// are not known.
    package static let actorsMax = 4
    /// Most bytes of all IDs together as a token has them, the last actor twice: with the longest
    /// audience and issuer a token stays below `DelegationClaims.tokenBytesMax`.
    package static let bytesMax = 2 * 1024
    /// What stands before an ID without `spiffe://` in `sub`: no verifier of SPIFFE reads it, and
    /// none that cuts `spiffe://` off before it compares takes an actor for the subject.
    package static let subjectPrefix = "delegated:"
    private static let scheme = "spiffe://"

    /// Whose request it is.
    package let subject: SPIFFEID
    /// Who acted for it, in the order of time.
    ///
    /// The last one acts now; there is none while the subject asks itself.
    package let actors: [SPIFFEID]

    /// The chain of who asks for itself.
    ///
    /// - Throws: `DelegationChainError.idReserved`, `.idWithoutPath` or `.tooLong`.
    package init(subject: SPIFFEID) throws(DelegationChainError) {
        try self.init(subject: subject, actors: [])
    }

    private init(subject: SPIFFEID, actors: [SPIFFEID]) throws(DelegationChainError) {
        self.subject = subject
        self.actors = actors
        let newest = actors.last ?? subject
        guard newest.trustDomain == subject.trustDomain else { throw .trustDomainDiffers }
        guard !newest.path.isEmpty else { throw .idWithoutPath }
        guard !newest.isReserved else { throw .idReserved }
        guard writtenBytes <= Self.bytesMax else { throw .tooLong }
    }

    /// The chain in which one more acts.
    ///
    /// - Throws: `DelegationChainError` naming the first rule that the actor breaks.
    package func appending(_ actor: SPIFFEID) throws(DelegationChainError) -> Self {
        guard actors.count < Self.actorsMax else { throw .tooManyActors }
        guard actor != subject, !actors.contains(actor) else { throw .actorRepeated }
        return try Self(subject: subject, actors: actors + [actor])
    }

    /// Who acts now; nil if nobody does yet.
    package var actor: SPIFFEID? { actors.last }

    package var trustDomain: TrustDomain { subject.trustDomain }

    /// The subject as `sub` has it.
    package var subjectClaim: String {
        "\(Self.subjectPrefix)\(subject.trustDomain.name)\(subject.path)"
    }

    private var writtenBytes: Int {
        // `client_id` is the last actor once more.
        (actors + actors.suffix(1)).reduce(subjectClaim.utf8.count) {
            $0 + $1.description.utf8.count
        }
    }

    /// The claims that say the chain: `sub`, and once somebody acts `act` and `client_id`
    /// (RFC 8693 sections 4.1 and 4.3).
    package var claims: [String: JSONValue] {
        var claims: [String: JSONValue] = ["sub": .string(subjectClaim)]
        var act: JSONValue?
        for actor in actors {
            var members: [String: JSONValue] = ["sub": .string(actor.description)]
            members["act"] = act
            act = .object(members)
        }
        claims["act"] = act
        claims["client_id"] = actor.map { JSONValue.string($0.description) }
        return claims
    }

    /// Reads what `claims` writes, and nothing else.
    ///
    /// - Throws: `DelegationClaimsError`, which quotes nothing of the claims.
    init(claims: [String: JSONValue]) throws(DelegationClaimsError) {
        guard let text = claims["sub"]?.text else { throw .subjectMissing }
        guard text.utf8.starts(with: Self.subjectPrefix.utf8) else { throw .subjectNotDelegated }
        let rest = text.utf8.dropFirst(Self.subjectPrefix.utf8.count)
        let subject: SPIFFEID
        do throws(SPIFFEIDError) {
            subject = try SPIFFEID(Self.scheme + String(Substring(rest)))
        } catch {
            throw .subjectMalformed(error)
        }
        let actors = try Self.actors(of: claims)
        do throws(DelegationChainError) {
            var chain = try Self(subject: subject)
            for actor in actors { chain = try chain.appending(actor) }
            self = chain
        } catch {
            throw .chain(error)
        }
        guard let client = claims["client_id"]?.text, let actor,
            client.utf8.elementsEqual(actor.description.utf8)
        else { throw .clientIsNotActor }
    }

    /// The actors in the order of time; at least one.
    private static func actors(
        of claims: [String: JSONValue]
    ) throws(DelegationClaimsError) -> [SPIFFEID] {
        var newestFirst: [SPIFFEID] = []
        var next = claims["act"]
        guard next != nil else { throw .actorMissing }
        while let value = next {
            guard newestFirst.count < actorsMax else { throw .chain(.tooManyActors) }
            guard case .object(let members) = value, let text = members["sub"]?.text else {
                throw .actorNotNamed
            }
            next = members["act"]
            // Whatever else would narrow who is meant, and would not be looked at.
            guard members.count == (next == nil ? 1 : 2) else { throw .actorHasOtherClaims }
            do throws(SPIFFEIDError) { newestFirst.append(try SPIFFEID(text)) } catch {
                throw .actorNotSPIFFEID(error)
            }
        }
        return newestFirst.reversed()
    }
}

/// The rule that a chain of actors breaks.
package enum DelegationChainError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Who acts is the subject, or has acted before.
    case actorRepeated
    case idReserved
    case idWithoutPath
    /// All IDs together.
    case tooLong
    case tooManyActors
    case trustDomainDiffers

    package var description: String {
        switch self {
        case .actorRepeated: "the actor is in the chain already"
        case .idReserved:
            "what lies below \(SPIFFEID.reservedPathPrefix) neither delegates nor acts"
        case .idWithoutPath: "a trust domain is no workload"
        case .tooLong: "the IDs of the chain have more than \(DelegationChain.bytesMax) bytes"
        case .tooManyActors: "the chain has more than \(DelegationChain.actorsMax) actors"
        case .trustDomainDiffers: "the chain leaves its trust domain"
        }
    }
}
