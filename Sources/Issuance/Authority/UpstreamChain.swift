// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
package import SPIFFE

/// A chain from an upstream that an authority may be published with; nothing else can make one
/// (docs/decisions/0020-authorities-under-another.md, "One check for all").
package struct UpstreamChain: Hashable, Sendable {
    /// Most certificates above a leaf that are delivered with it: as many as verifiers take.
    package static let countMax = PeerVerifier.chainCountMax - 1
    /// Most bytes above a leaf that are delivered with it: 500 leaves go into one message.
    package static let bytesMax = 4 * 1024
    /// How many times the longest SVID an authority lives at least from now.
    package static let lifetimePerSVIDMin = 5
    /// How much longer than `authorityTTL` it may live, for clocks that differ.
    package static let lifetimeSlack: Duration = .seconds(60)

    /// DER of the authority.
    package let certificate: [UInt8]
    package let ancestry: AuthorityAncestry
    /// DER of the root.
    package let root: [UInt8]
    package let notBefore: Date
    package let notAfter: Date

    /// What the server knows and the chain is held to.
    package struct Expectation: Sendable {
        package var trustDomain: TrustDomain
        /// How long from now it lives at least, and at most.
        package var lifetime: ClosedRange<Duration>
        /// DER of the SubjectPublicKeyInfo of the new authority.
        package var spki: [UInt8]
        /// DER of the subjects of all authorities that are known.
        package var subjectsTaken: Set<[UInt8]>
        /// The key IDs of all that is or was an authority.
        package var keysTaken: Set<String>
        /// The key IDs of all that is tainted or revoked.
        package var distrusted: Set<String>

        package init(
            trustDomain: TrustDomain,
            lifetimes: SVIDLifetimes,
            spki: [UInt8],
            subjectsTaken: Set<[UInt8]> = [],
            keysTaken: Set<String> = [],
            distrusted: Set<String> = []
        ) {
            self.trustDomain = trustDomain
            let least = lifetimes.longestSVID * UpstreamChain.lifetimePerSVIDMin
            // `SVIDLifetimes` has it so; a range must not trap for another.
            let most = max(least, lifetimes.authority + UpstreamChain.lifetimeSlack)
            lifetime = least...most
            self.spki = spki
            self.subjectsTaken = subjectsTaken
            self.keysTaken = keysTaken
            self.distrusted = distrusted
        }
    }

    /// Checks what an upstream answered.
    ///
    /// - Parameters:
    ///   - chain: DER of the authority and of what is between it and its root, in order.
    ///   - roots: DER of the roots that are trusted.
    ///   - expectation: What it is held to.
    ///   - now: The wall clock.
    /// - Throws: `UpstreamRefusal` with the rule's name.
    package init(
        checking chain: [[UInt8]],
        below roots: [[UInt8]],
        expecting expectation: Expectation,
        now: Date
    ) async throws(UpstreamRefusal) {
        guard let certificate = chain.first else { throw .chainEmpty }
        guard chain.count <= Self.countMax else { throw .chainTooLong }
        guard chain.reduce(0, { $0 + $1.count }) <= Self.bytesMax else { throw .chainTooLarge }
        let links = try chain.map { der throws(UpstreamRefusal) in try Link(der) }
        let (root, rootLink) = try Self.root(of: links[links.count - 1], among: roots)
        let path = links + [rootLink]
        try path[0].check(as: expectation, now: now)
        try Self.checkAbove(path, expectation)
        do throws(PeerVerificationError) {
            try await AuthorityPath.check(
                chain,
                to: root,
                of: expectation.trustDomain,
                now: now
            )
        } catch { throw .pathRefused("\(error)") }
        do throws(LeafCertificateError) {
            ancestry = try AuthorityAncestry(
                chain: Array(chain.dropFirst()),
                rootID: rootLink.read.keyIdentifier.description
            )
        } catch { throw .certificateMalformed }
        self.certificate = certificate
        self.root = root
        notBefore = path[0].read.notBefore
        notAfter = path[0].read.notAfter
    }

    /// What is wrong with a root that somebody wants published; nil if nothing is.
    ///
    /// A root in a bundle is the trust domain, with every CA below it: hence its URI.
    ///
    /// Nobody verifies the signature of an anchor later.
    package static func problem(ofRoot der: [UInt8], trustDomain: TrustDomain) -> UpstreamRefusal? {
        if let problem = problem(saidByRoot: der, trustDomain: trustDomain) { return problem }
        return AuthorityPath.isSelfSigned(der) ? nil : .signatureDiffers
    }

    /// The same by what it says, whoever signed it.
    package static func problem(
        saidByRoot der: [UInt8],
        trustDomain: TrustDomain
    ) -> UpstreamRefusal? {
        guard let link = try? Link(der) else { return .certificateMalformed }
        guard link.read.isCA, let usage = link.read.keyUsage, usage.contains(.keyCertSign) else {
            return .mayNotSign
        }
        guard link.subject == link.issuer, link.read.uriNames == [trustDomain.id.description] else {
            return .rootOfAnother
        }
        guard link.read.subjectKeyID?.count == KeyIdentifier.bytesCount else {
            return .subjectKeyIdentifierLength
        }
        return link.read.constrainsOtherNames ? .nameConstraints : nil
    }

    /// DER of a certificate's subject; nil if it cannot be read.
    package static func subject(of der: [UInt8]) -> [UInt8]? { try? Link(der).subject }

    /// Whether a certificate names itself as its issuer.
    package static func isSelfIssued(_ der: [UInt8]) -> Bool {
        (try? Link(der)).map { $0.subject == $0.issuer } ?? false
    }

    /// The root whose name and key a certificate states as its issuer's.
    ///
    /// - Parameters:
    ///   - der: The last of a chain.
    ///   - roots: DER of those that are trusted.
    /// - Returns: DER of the root; nil if it is none of them.
    package static func root(above der: [UInt8], among roots: [[UInt8]]) -> [UInt8]? {
        guard let link = try? Link(der) else { return nil }
        return try? root(of: link, among: roots).0
    }

    /// The root that signed the last of the chain: by name and by the key it states.
    private static func root(
        of last: Link,
        among roots: [[UInt8]]
    ) throws(UpstreamRefusal) -> ([UInt8], Link) {
        for der in roots {
            guard let link = try? Link(der), link.subject == last.issuer,
                link.read.subjectKeyID == last.read.authorityKeyID
            else { continue }
            return (der, link)
        }
        throw .rootUnknown
    }

    private static func checkAbove(
        _ path: [Link],
        _ expectation: Expectation
    ) throws(UpstreamRefusal) {
        let uri = expectation.trustDomain.id.description
        for (below, above) in zip(path, path.dropFirst()) {
            guard above.read.subjectKeyID?.count == KeyIdentifier.bytesCount else {
                throw .subjectKeyIdentifierLength
            }
            guard below.read.authorityKeyID == above.read.subjectKeyID else {
                throw .authorityKeyIdentifierDiffers
            }
            guard below.issuer == above.subject else { throw .issuerDiffers }
            guard !above.read.constrainsOtherNames else { throw .nameConstraints }
            // Nothing outlives what is above it.
            guard path[0].read.notAfter <= above.read.notAfter else { throw .outlivesIssuer }
        }
        guard let root = path.last, root.subject == root.issuer, root.read.uriNames == [uri] else {
            throw .rootOfAnother
        }
        guard path.dropLast().allSatisfy({ $0.subject != $0.issuer }) else { throw .selfIssued }
        guard
            path.allSatisfy({
                !expectation.distrusted.contains($0.read.keyIdentifier.description)
            })
        else { throw .distrusted }
        let keys = path.map(\.read.spkiBytes)
        guard Set(keys).count == keys.count else { throw .keyTwice }
    }

    /// One certificate of the path, read twice.
    private struct Link {
        let read: LeafCertificate
        /// Encoded Names.
        let subject: [UInt8]
        let issuer: [UInt8]

        init(_ der: [UInt8]) throws(UpstreamRefusal) {
            guard let read = try? LeafCertificate(der: der),
                let reading = try? CertificateReading(certificate: der)
            else { throw .certificateMalformed }
            self.read = read
            subject = Array(reading.subject)
            issuer = Array(reading.issuer)
        }

        /// The rules for the authority itself.
        func check(as expectation: Expectation, now: Date) throws(UpstreamRefusal) {
            guard read.spkiBytes == expectation.spki else { throw .keyDiffers }
            let keyID = read.keyIdentifier
            guard !expectation.keysTaken.contains(keyID.description) else { throw .keyTaken }
            guard read.isCA, let usage = read.keyUsage,
                usage.isSuperset(of: [.keyCertSign, .cRLSign])
            else { throw .mayNotSign }
            guard read.uriNames == [expectation.trustDomain.id.description] else {
                throw .trustDomainDiffers
            }
            guard read.subjectKeyID == keyID.bytes else { throw .subjectKeyIdentifierDiffers }
            guard subject != CertificateTemplate.emptyName,
                !expectation.subjectsTaken.contains(subject)
            else { throw .subjectTaken }
            guard read.notBefore <= now else { throw .notYetValid }
            let left = Duration.seconds(read.notAfter.timeIntervalSince(now))
            guard left >= expectation.lifetime.lowerBound else { throw .lifetimeTooShort }
            guard left <= expectation.lifetime.upperBound else { throw .lifetimeTooLong }
        }
    }
}

extension Authority {
    /// The record of an authority that an upstream certified, in state `prepared`.
    ///
    /// - Parameters:
    ///   - chain: What was checked.
    ///   - serverID: The server that holds the key.
    ///   - tokenKeySPKI: SubjectPublicKeyInfo of its second key.
    /// - Throws: `AuthorityError.certificateUnreadable`.
    package init(
        _ chain: UpstreamChain,
        serverID: String,
        tokenKeySPKI: [UInt8]?
    ) throws(AuthorityError) {
        guard let read = try? LeafCertificate(der: chain.certificate) else {
            throw .certificateUnreadable
        }
        self.init(
            id: read.keyIdentifier.description,
            serverID: serverID,
            state: .prepared,
            certificateDER: chain.certificate,
            ancestry: chain.ancestry,
            tokenKeySPKI: tokenKeySPKI,
            notBefore: chain.notBefore,
            notAfter: chain.notAfter
        )
    }
}

/// The rule that a chain from an upstream breaks; its name is what operators are told.
package enum UpstreamRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    case authorityKeyIdentifierDiffers
    case certificateMalformed
    case chainEmpty
    case chainTooLarge
    case chainTooLong
    case distrusted
    case issuerDiffers
    case keyDiffers
    case keyTaken
    case keyTwice
    case lifetimeTooLong
    case lifetimeTooShort
    case mayNotSign
    case nameConstraints
    case notYetValid
    case outlivesIssuer
    /// Our own verifiers would refuse what the authority signs, in their words.
    case pathRefused(String)
    case rootOfAnother
    case rootUnknown
    case selfIssued
    case signatureDiffers
    case subjectKeyIdentifierDiffers
    case subjectKeyIdentifierLength
    case subjectTaken
    case trustDomainDiffers

    /// The rule's name.
    package var name: String {
        switch self {
        case .authorityKeyIdentifierDiffers: "authorityKeyIdentifierDiffers"
        case .certificateMalformed: "certificateMalformed"
        case .chainEmpty: "chainEmpty"
        case .chainTooLarge: "chainTooLarge"
        case .chainTooLong: "chainTooLong"
        case .distrusted: "distrusted"
        case .issuerDiffers: "issuerDiffers"
        case .keyDiffers: "keyDiffers"
        case .keyTaken: "keyTaken"
        case .keyTwice: "keyTwice"
        case .lifetimeTooLong: "lifetimeTooLong"
        case .lifetimeTooShort: "lifetimeTooShort"
        case .mayNotSign: "mayNotSign"
        case .nameConstraints: "nameConstraints"
        case .notYetValid: "notYetValid"
        case .outlivesIssuer: "outlivesIssuer"
        case .pathRefused: "pathRefused"
        case .rootOfAnother: "rootOfAnother"
        case .rootUnknown: "rootUnknown"
        case .selfIssued: "selfIssued"
        case .signatureDiffers: "signatureDiffers"
        case .subjectKeyIdentifierDiffers: "subjectKeyIdentifierDiffers"
        case .subjectKeyIdentifierLength: "subjectKeyIdentifierLength"
        case .subjectTaken: "subjectTaken"
        case .trustDomainDiffers: "trustDomainDiffers"
        }
    }

    package var description: String { "\(name): \(sentence)" }

    private var sentence: String {
        switch self {
        case .authorityKeyIdentifierDiffers:
            "a certificate's authority key identifier is not the subject key identifier above it"
        case .certificateMalformed: "a certificate of the chain cannot be read"
        case .chainEmpty: "there is no certificate"
        case .chainTooLarge:
            "the certificates below the root have more than \(UpstreamChain.bytesMax) bytes"
        case .chainTooLong:
            "there are more than \(UpstreamChain.countMax) certificates below the root"
        case .distrusted: "something above is tainted or revoked here"
        case .issuerDiffers: "a certificate's issuer is not the subject above it"
        case .keyDiffers: "the certificate is for another key"
        case .keyTaken: "the key is or was an authority's"
        case .keyTwice: "one key is twice in the path"
        case .lifetimeTooLong: "the certificate ends later than authorityTTL and a minute from now"
        case .lifetimeTooShort:
            "the certificate ends before \(UpstreamChain.lifetimePerSVIDMin) times the longest SVID "
                + "from now"
        case .mayNotSign: "the certificate lacks cA, keyCertSign or cRLSign"
        case .nameConstraints: "above are name constraints of other names than URIs"
        case .notYetValid: "the certificate is not yet valid"
        case .outlivesIssuer: "the certificate ends after one above it"
        case .pathRefused(let reason): reason
        case .rootOfAnother: "the root is not self-signed, or its one URI is not the trust domain's"
        case .rootUnknown: "no configured root signed the last certificate of the chain"
        case .selfIssued: "a certificate below the root has its own issuer's name"
        case .signatureDiffers:
            "the root's signature is not that of its own key, or of an unknown kind"
        case .subjectKeyIdentifierDiffers:
            "the certificate's subject key identifier is not RFC 7093 method 1 of its key"
        case .subjectKeyIdentifierLength:
            "a certificate above has no subject key identifier of \(KeyIdentifier.bytesCount) bytes"
        case .subjectTaken: "the certificate's subject is empty or another authority's"
        case .trustDomainDiffers: "the certificate's one URI is not the trust domain's"
        }
    }
}
