// SPDX-License-Identifier: Apache-2.0

/// Everything the audit log records: one case per kind of act, each described in docs/audit.md.
///
/// A new event is a new case, a payload, a name, a golden line and a section of the document; the
/// compiler asks for the first three and the tests for the others.
package enum AuditEvent: Hashable, Sendable {
    case authorityActivated(AuthorityActivation)
    /// The record of a revoked authority, or of what was above or below ones, is gone: nothing of it
    /// can be open any more.
    case authorityForgotten(AuthorityStep)
    case authorityPrepared(AuthorityPreparation)
    /// The authority left the bundle: nothing it signed is valid any more.
    case authorityRemoved(AuthorityStep)
    /// Another authority signs now; this one stays in the bundle until its last SVID expired.
    case authorityRetired(AuthorityStep)
    /// The authority left the bundle although what it signed had not expired.
    case authorityRevoked(AuthorityDistrustAct)
    /// What the authority signed is being replaced.
    case authorityTainted(AuthorityDistrustAct)
    /// A backup was made, and all of it was sent to whoever asked for it. One that breaks off has no
    /// record, only a line of the server's log with actor and bytes.
    case backupMade(BackupMaking)
    case certificateRevoked(CertificateRevocation)
    /// Somebody approved what another has proposed.
    case changeApproved(ChangeApproval)
    /// A proposal ended without having been done.
    case changeDropped(ChangeDrop)
    /// An act was asked for that others have to approve.
    case changeProposed(ChangeProposal)
    /// Somebody said that the server's wall clock is right.
    case clockAccepted(ClockAcceptance)
    case clockRefused(ClockRefusal)
    case decisionDigest(DecisionDigest)
    case delegatedTokenIssued(DelegatedTokenIssuance)
    case documentsApplied(DocumentChanges)
    /// An authority of a server below this one was certified.
    case downstreamAuthorityCertified(DownstreamCertification)
    /// Nobody is to believe one any more.
    case downstreamAuthorityRevoked(DownstreamRevocation)
    case federatedBundleChanged(FederatedBundleChange)
    case federatedBundleRefused(FederatedBundleRefusal)
    case identityRevoked(IdentityRevocation)
    case jwtSVIDsIssued(JWTSVIDIssuance)
    case nodeAttestationRepeated(NodeAttestationRepetition)
    case nodeAttested(NodeAttestation)
    case nodeBanned(NodeStanding)
    case nodeCertificatesRevoked(NodeCertificates)
    case nodeEvicted(NodeStanding)
    case nodeReadmitted(NodeReadmission)
    case nodeRenewed(NodeRenewal)
    case nodeUnbanned(NodeStanding)
    case requestRefused(RequestRefusal)
    /// A revocation list was signed, and agents are told of it.
    case revocationListSigned(RevocationListSigning)
    /// The server was set back to an older state.
    case rollbackProved(SetBackProof)
    case rootPublished(RootPublication)
    /// A root is configured no more, and nothing is below it.
    case rootRemoved(RootRemoval)
    /// Somebody ended the hold of a server that was restored.
    case serverRecovered(ServerRecovery)
    /// The first record of a log that a restore began.
    case serverRestored(ServerRestoration)
    case serverStarted(ServerStart)
    case svidsIssued(SVIDIssuance)
    case tokenCreated(TokenCreation)
    /// Join tokens that nobody had used were taken back.
    case tokensDeleted(TokenDeletion)
    case unauthenticatedSummary(UnauthenticatedSummary)
    /// Keys that the upstream named as revoked are refused no more.
    case upstreamKeysForgotten(UpstreamKeys)
    /// Keys that nothing here has are refused, as the upstream says, and others are to be.
    case upstreamKeysRevoked(UpstreamKeys)
    /// What is above authorities is trusted no more, nor are these.
    case upstreamRevoked(UpstreamDistrustAct)
    /// What authorities below it signed is being replaced.
    case upstreamTainted(UpstreamDistrustAct)

    /// The names of the cases, as leaves write them.
    package enum Name: String, CaseIterable, Sendable {
        case authorityActivated
        case authorityForgotten
        case authorityPrepared
        case authorityRemoved
        case authorityRetired
        case authorityRevoked
        case authorityTainted
        case backupMade
        case certificateRevoked
        case changeApproved
        case changeDropped
        case changeProposed
        case clockAccepted
        case clockRefused
        case decisionDigest
        case delegatedTokenIssued
        case documentsApplied
        case downstreamAuthorityCertified
        case downstreamAuthorityRevoked
        case federatedBundleChanged
        case federatedBundleRefused
        case identityRevoked
        case jwtSVIDsIssued
        case nodeAttestationRepeated
        case nodeAttested
        case nodeBanned
        case nodeCertificatesRevoked
        case nodeEvicted
        case nodeReadmitted
        case nodeRenewed
        case nodeUnbanned
        case requestRefused
        case revocationListSigned
        case rollbackProved
        case rootPublished
        case rootRemoved
        case serverRecovered
        case serverRestored
        case serverStarted
        case svidsIssued
        case tokenCreated
        case tokensDeleted
        case unauthenticatedSummary
        case upstreamKeysForgotten
        case upstreamKeysRevoked
        case upstreamRevoked
        case upstreamTainted
    }

    package var name: Name {
        switch self {
        case .authorityActivated: .authorityActivated
        case .authorityForgotten: .authorityForgotten
        case .authorityPrepared: .authorityPrepared
        case .authorityRemoved: .authorityRemoved
        case .authorityRetired: .authorityRetired
        case .authorityRevoked: .authorityRevoked
        case .authorityTainted: .authorityTainted
        case .backupMade: .backupMade
        case .certificateRevoked: .certificateRevoked
        case .changeApproved: .changeApproved
        case .changeDropped: .changeDropped
        case .changeProposed: .changeProposed
        case .clockAccepted: .clockAccepted
        case .clockRefused: .clockRefused
        case .decisionDigest: .decisionDigest
        case .delegatedTokenIssued: .delegatedTokenIssued
        case .documentsApplied: .documentsApplied
        case .downstreamAuthorityCertified: .downstreamAuthorityCertified
        case .downstreamAuthorityRevoked: .downstreamAuthorityRevoked
        case .federatedBundleChanged: .federatedBundleChanged
        case .federatedBundleRefused: .federatedBundleRefused
        case .identityRevoked: .identityRevoked
        case .jwtSVIDsIssued: .jwtSVIDsIssued
        case .nodeAttestationRepeated: .nodeAttestationRepeated
        case .nodeAttested: .nodeAttested
        case .nodeBanned: .nodeBanned
        case .nodeCertificatesRevoked: .nodeCertificatesRevoked
        case .nodeEvicted: .nodeEvicted
        case .nodeReadmitted: .nodeReadmitted
        case .nodeRenewed: .nodeRenewed
        case .nodeUnbanned: .nodeUnbanned
        case .requestRefused: .requestRefused
        case .revocationListSigned: .revocationListSigned
        case .rollbackProved: .rollbackProved
        case .rootPublished: .rootPublished
        case .rootRemoved: .rootRemoved
        case .serverRecovered: .serverRecovered
        case .serverRestored: .serverRestored
        case .serverStarted: .serverStarted
        case .svidsIssued: .svidsIssued
        case .tokenCreated: .tokenCreated
        case .tokensDeleted: .tokensDeleted
        case .unauthenticatedSummary: .unauthenticatedSummary
        case .upstreamKeysForgotten: .upstreamKeysForgotten
        case .upstreamKeysRevoked: .upstreamKeysRevoked
        case .upstreamRevoked: .upstreamRevoked
        case .upstreamTainted: .upstreamTainted
        }
    }

    var payload: any AuditPayload {
        switch self {
        case .authorityActivated(let payload): payload
        case .authorityPrepared(let payload): payload
        case .authorityForgotten(let payload), .authorityRemoved(let payload),
            .authorityRetired(let payload):
            payload
        case .authorityRevoked(let payload), .authorityTainted(let payload): payload
        case .backupMade(let payload): payload
        case .certificateRevoked(let payload): payload
        case .changeApproved(let payload): payload
        case .changeDropped(let payload): payload
        case .changeProposed(let payload): payload
        case .clockAccepted(let payload): payload
        case .clockRefused(let payload): payload
        case .decisionDigest(let payload): payload
        case .delegatedTokenIssued(let payload): payload
        case .documentsApplied(let payload): payload
        case .downstreamAuthorityCertified(let payload): payload
        case .downstreamAuthorityRevoked(let payload): payload
        case .federatedBundleChanged(let payload): payload
        case .federatedBundleRefused(let payload): payload
        case .identityRevoked(let payload): payload
        case .jwtSVIDsIssued(let payload): payload
        case .nodeAttestationRepeated(let payload): payload
        case .nodeAttested(let payload): payload
        case .nodeBanned(let payload), .nodeEvicted(let payload), .nodeUnbanned(let payload):
            payload
        case .nodeCertificatesRevoked(let payload): payload
        case .nodeReadmitted(let payload): payload
        case .nodeRenewed(let payload): payload
        case .requestRefused(let payload): payload
        case .revocationListSigned(let payload): payload
        case .rollbackProved(let payload): payload
        case .rootPublished(let payload): payload
        case .rootRemoved(let payload): payload
        case .serverRecovered(let payload): payload
        case .serverRestored(let payload): payload
        case .serverStarted(let payload): payload
        case .svidsIssued(let payload): payload
        case .tokenCreated(let payload): payload
        case .tokensDeleted(let payload): payload
        case .unauthenticatedSummary(let payload): payload
        case .upstreamKeysForgotten(let payload), .upstreamKeysRevoked(let payload): payload
        case .upstreamRevoked(let payload), .upstreamTainted(let payload): payload
        }
    }

    init(_ name: Name, _ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self =
            switch name {
            case .authorityActivated: .authorityActivated(try .init(&fields))
            case .authorityForgotten: .authorityForgotten(try .init(&fields))
            case .authorityPrepared: .authorityPrepared(try .init(&fields))
            case .authorityRemoved: .authorityRemoved(try .init(&fields))
            case .authorityRetired: .authorityRetired(try .init(&fields))
            case .authorityRevoked: .authorityRevoked(try .init(&fields))
            case .authorityTainted: .authorityTainted(try .init(&fields))
            case .backupMade: .backupMade(try .init(&fields))
            case .certificateRevoked: .certificateRevoked(try .init(&fields))
            case .changeApproved: .changeApproved(try .init(&fields))
            case .changeDropped: .changeDropped(try .init(&fields))
            case .changeProposed: .changeProposed(try .init(&fields))
            case .clockAccepted: .clockAccepted(try .init(&fields))
            case .clockRefused: .clockRefused(try .init(&fields))
            case .decisionDigest: .decisionDigest(try .init(&fields))
            case .delegatedTokenIssued: .delegatedTokenIssued(try .init(&fields))
            case .documentsApplied: .documentsApplied(try .init(&fields))
            case .downstreamAuthorityCertified:
                .downstreamAuthorityCertified(try .init(&fields))
            case .downstreamAuthorityRevoked: .downstreamAuthorityRevoked(try .init(&fields))
            case .federatedBundleChanged: .federatedBundleChanged(try .init(&fields))
            case .federatedBundleRefused: .federatedBundleRefused(try .init(&fields))
            case .identityRevoked: .identityRevoked(try .init(&fields))
            case .jwtSVIDsIssued: .jwtSVIDsIssued(try .init(&fields))
            case .nodeAttestationRepeated: .nodeAttestationRepeated(try .init(&fields))
            case .nodeAttested: .nodeAttested(try .init(&fields))
            case .nodeBanned: .nodeBanned(try .init(&fields))
            case .nodeCertificatesRevoked: .nodeCertificatesRevoked(try .init(&fields))
            case .nodeEvicted: .nodeEvicted(try .init(&fields))
            case .nodeReadmitted: .nodeReadmitted(try .init(&fields))
            case .nodeRenewed: .nodeRenewed(try .init(&fields))
            case .nodeUnbanned: .nodeUnbanned(try .init(&fields))
            case .requestRefused: .requestRefused(try .init(&fields))
            case .revocationListSigned: .revocationListSigned(try .init(&fields))
            case .rollbackProved: .rollbackProved(try .init(&fields))
            case .rootPublished: .rootPublished(try .init(&fields))
            case .rootRemoved: .rootRemoved(try .init(&fields))
            case .serverRecovered: .serverRecovered(try .init(&fields))
            case .serverRestored: .serverRestored(try .init(&fields))
            case .serverStarted: .serverStarted(try .init(&fields))
            case .svidsIssued: .svidsIssued(try .init(&fields))
            case .tokenCreated: .tokenCreated(try .init(&fields))
            case .tokensDeleted: .tokensDeleted(try .init(&fields))
            case .unauthenticatedSummary: .unauthenticatedSummary(try .init(&fields))
            case .upstreamKeysForgotten: .upstreamKeysForgotten(try .init(&fields))
            case .upstreamKeysRevoked: .upstreamKeysRevoked(try .init(&fields))
            case .upstreamRevoked: .upstreamRevoked(try .init(&fields))
            case .upstreamTainted: .upstreamTainted(try .init(&fields))
            }
    }

    /// How many items the event's list has; 1 for an event without list.
    var itemCount: Int {
        switch self {
        case .changeProposed(let payload): payload.documents.count
        case .documentsApplied(let payload): payload.documents.count
        case .jwtSVIDsIssued(let payload): payload.tokens.count
        case .svidsIssued(let payload): payload.svids.count
        default: 1
        }
    }

    /// The event with only these items of its list.
    func keeping(items: Range<Int>) -> Self {
        switch self {
        case .changeProposed(var payload):
            payload.documents = Array(payload.documents[items])
            return .changeProposed(payload)
        case .documentsApplied(var payload):
            payload.documents = Array(payload.documents[items])
            return .documentsApplied(payload)
        case .jwtSVIDsIssued(var payload):
            payload.tokens = Array(payload.tokens[items])
            return .jwtSVIDsIssued(payload)
        case .svidsIssued(var payload):
            payload.svids = Array(payload.svids[items])
            return .svidsIssued(payload)
        default: return self
        }
    }
}

/// The fields of one kind of event.
protocol AuditPayload: Hashable, Sendable {
    func write(to fields: inout FieldWriter)
    init(_ fields: inout FieldReader) throws(AuditRecordParsingError)
    /// What the event is found by, beside its actor.
    func index(into subjects: inout AuditSubjects)
}

/// What an event is about, collected for the query columns.
struct AuditSubjects {
    var namespaces: Set<String> = []
    var serials: Set<String> = []
    var spiffeIDs: Set<String> = []
}

/// Free text in a leaf.
///
/// One sentence and two words, each byte escaped to six, beside an actor and an ID of 2 KiB each
/// fit into a leaf: no caller escapes its record by what it says.
enum AuditText {
    /// Most bytes of a reason: enough for a sentence that quotes something.
    static let sentenceBytesMax = 1024
    /// Most bytes of a name.
    static let wordBytesMax = 256

    static func sentence(_ text: String) -> String { clipped(text, bytesMax: sentenceBytesMax) }

    static func word(_ text: String) -> String { clipped(text, bytesMax: wordBytesMax) }

    /// The text, cut at a character's end with an ellipsis if it is longer than `bytesMax`.
    private static func clipped(_ text: String, bytesMax: Int) -> String {
        guard text.utf8.count > bytesMax else { return text }
        let ellipsis = "\u{2026}"
        var clipped = ""
        var count = ellipsis.utf8.count
        for scalar in text.unicodeScalars {
            count += UTF8.width(scalar)
            guard count <= bytesMax else { break }
            clipped.unicodeScalars.append(scalar)
        }
        return clipped + ellipsis
    }
}
