// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Crypto
package import FoundationEssentials
package import SPIFFE

/// Reads from the records that follow a backup what has to be done to its database, so that it is
/// what the server's was (docs/decisions/0022-backup-and-restore.md, "Restore", step 3).
///
/// It is told each record once, in order, after the record was found under a signed checkpoint. What
/// it knows of the database comes from records alone; whoever performs its steps has the rest.
package struct LogReplay: Sendable {
    /// What a document became last; nil: it was deleted.
    package typealias DocumentHash = [UInt8]?

    /// The documents that changed since the backup, with the SHA-256 of what each became last: the
    /// log has no bodies.
    package private(set) var documents: [DocumentKey: DocumentHash] = [:]
    /// The time of the last signature, if something was signed since the backup; the clock's mark.
    package private(set) var lastSignature: Date?
    /// Whether somebody said since the backup that the clock was ahead before: the mark of the backup
    /// counts no more then.
    package private(set) var isMarkLowered = false
    /// The time of the last record after which nothing is known, which may be of a clock that was not
    /// believed.
    ///
    /// What a log has that a restore began is no such record until somebody has looked at what may be
    /// missing: what the former log lacked is missing still.
    package private(set) var lastTime: Date?
    /// How many records an agent has seen of a server that was set back, if nobody has looked yet at
    /// what may be missing: of them some are, from a moment on that nobody knows.
    package private(set) var seenSize: UInt64?
    /// Whether a hold of after the backup was ended.
    package private(set) var isRecovered = false
    /// How many records were brought forward.
    package private(set) var records: UInt64 = 0
    /// SHA-256 of the backup's file, if the log has its record.
    package private(set) var backupSHA256: [UInt8]?

    private var isHeld = false
    private let serverID: String
    private let backupID: [UInt8]
    private let longest: TimeInterval
    private let skew: TimeInterval
    private var next: UInt64

    /// Begins after the records that the backup's database is of.
    ///
    /// - Parameters:
    ///   - serverID: The server whose log it is.
    ///   - backupID: The backup's; its record gives the hash of its file.
    ///   - first: The index of the first record to come: the size of the log at the backup.
    ///   - longest: The longest that anything signed for an entry may last.
    ///   - skew: How wrong a verifier's clock may be, in seconds.
    package init(
        serverID: String,
        backupID: [UInt8],
        from first: UInt64,
        longest: Duration,
        skew: TimeInterval
    ) {
        self.serverID = serverID
        self.backupID = backupID
        self.longest = longest / .seconds(1)
        self.skew = skew
        next = first
    }

    /// Takes the next record.
    ///
    /// - Parameters:
    ///   - leaf: Its bytes as the log has them.
    ///   - index: Its place.
    /// - Returns: What to do, in this order.
    /// - Throws: `LogReplayError`; nothing of the record counts then.
    package mutating func take(
        _ leaf: [UInt8],
        at index: UInt64
    ) throws(LogReplayError) -> [ReplayStep] {
        guard index == next else { throw .outOfOrder(expected: next, got: index) }
        let record: AuditRecord
        do throws(AuditRecordParsingError) {
            record = try AuditRecord(parsing: leaf)
        } catch {
            throw .unreadable(index: index, reason: "\(error)")
        }
        let steps = try steps(of: record, at: index)
        next += 1
        records += 1
        switch record.event {
        case .rollbackProved(let proof): seenSize = proof.seenSize
        case .serverRestored: isHeld = true
        case .serverRecovered: (isHeld, isRecovered, seenSize) = (false, true, nil)
        default: break
        }
        if !isHeld { lastTime = record.time.date }
        return steps
    }

    /// The log goes on as another one, which a restore began: its first record comes next.
    package mutating func followed() { next = 0 }

    // One switch over all events: a new one has to say here what it made of the database.
    private mutating func steps(
        of record: AuditRecord,
        at index: UInt64
    ) throws(LogReplayError) -> [ReplayStep] {
        let time = record.time.date
        switch record.event {
        case .authorityPrepared, .authorityActivated, .authorityRetired, .authorityTainted,
            .authorityRevoked, .authorityRemoved, .authorityForgotten, .upstreamKeysForgotten,
            .upstreamKeysRevoked, .upstreamRevoked, .upstreamTainted:
            return try authoritySteps(of: record, at: index)
        case .nodeAttested, .nodeAttestationRepeated, .nodeReadmitted, .nodeRenewed, .nodeBanned,
            .nodeUnbanned, .nodeEvicted, .nodeCertificatesRevoked:
            return nodeSteps(of: record)
        case .downstreamAuthorityCertified(let event):
            signed(at: time)
            return [.downstreamCertified(ReplayedDownstream(event, at: time))]
        case .downstreamAuthorityRevoked(let event):
            return [revocation(event, why(event.reason, record))]
        case .svidsIssued(let event):
            signed(at: time)
            return [.certificates(ReplayedCertificates(event, leaf: index, at: time))]
        case .jwtSVIDsIssued(let event):
            signed(at: time)
            return [.tokens(ReplayedTokens(event, at: time))]
        case .delegatedTokenIssued(let event):
            signed(at: time)
            return try delegation(event, time, index)
        case .federatedBundleChanged(let event):
            return [.foreignBundleChanged(event.trustDomain, sequence: event.sequenceNumber)]
        case .identityRevoked(let event): return [revocation(event, why(event.reason, record))]
        case .certificateRevoked(let event):
            return [.certificateRevoked(serial: event.serial, why(event.reason, record))]
        case .revocationListSigned(let event):
            signed(at: time)
            return [ReplayStep(event)]
        case .clockAccepted(let event):
            // Only of a clock that was behind: else it says nothing of what was signed before.
            guard event.lastSignature != nil else { return [] }
            (lastSignature, isMarkLowered) = (time, true)
            return [.clockLowered(to: time)]
        case .documentsApplied(let event):
            for change in event.documents { documents[change.key] = .some(change.sha256) }
            return []
        case .backupMade(let event):
            if event.id == backupID { backupSHA256 = event.sha256 }
            return []
        case .serverStarted(let event):
            guard event.serverID == serverID else {
                throw .otherServer(event.serverID, index: index)
            }
            return []
        // Nothing of these is in the database, or (tokens for nodes, what others were asked to
        // approve) it must not come back, or (roots) the configuration says it at the start; what a
        // restore made of it is `followed`.
        case .changeApproved, .changeDropped, .changeProposed, .clockRefused, .decisionDigest,
            .federatedBundleRefused, .requestRefused, .rollbackProved, .rootPublished, .rootRemoved,
            .serverRecovered, .serverRestored, .tokenCreated, .tokensDeleted,
            .unauthenticatedSummary:
            return []
        }
    }

    private mutating func authoritySteps(
        of record: AuditRecord,
        at index: UInt64
    ) throws(LogReplayError) -> [ReplayStep] {
        let time = record.time.date
        switch record.event {
        case .authorityPrepared(let event):
            signed(at: time)
            return [.authorityPublished(try authority(event, time, index))]
        case .authorityActivated(let event): return [.authorityActivated(event.authority, at: time)]
        case .authorityRetired(let event): return [.authorityRetired(event.authority)]
        case .authorityTainted(let event):
            return [.authorityTainted(event.authority, why(event.reason, record))]
        case .authorityRevoked(let event):
            return [.authorityRevoked(event.authority, why(event.reason, record))]
        case .authorityRemoved(let event): return [.authorityRemoved(event.authority)]
        case .authorityForgotten(let event): return [.authorityForgotten(event.authority)]
        case .upstreamKeysForgotten(let event): return [.upstreamKeysForgotten(event.keys)]
        case .upstreamKeysRevoked(let event):
            return [.upstreamKeysNamed(event.keys, waiting: event.waiting, at: time)]
        case .upstreamTainted(let event):
            return [distrust(event, isRevoked: false, why(event.reason, record))]
        case .upstreamRevoked(let event):
            return [distrust(event, isRevoked: true, why(event.reason, record))]
        default: return []
        }
    }

    private func nodeSteps(of record: AuditRecord) -> [ReplayStep] {
        let time = record.time.date
        switch record.event {
        case .nodeAttested(let event): return [.nodeAttested(ReplayedNode(event, at: time))]
        case .nodeAttestationRepeated(let event):
            return [key(event.publicKeySHA256, of: event.agent, time)]
        case .nodeReadmitted(let event): return [key(event.publicKeySHA256, of: event.agent, time)]
        case .nodeRenewed(let event): return [key(event.publicKeySHA256, of: event.agent, time)]
        case .nodeBanned(let event):
            return [.nodeBanned(agent: event.agent, why(event.reason, record))]
        case .nodeUnbanned(let event): return [.nodeUnbanned(agent: event.agent)]
        case .nodeEvicted(let event): return [.nodeEvicted(agent: event.agent, at: time)]
        case .nodeCertificatesRevoked(let event):
            guard event.certificates > 0 else { return [] }
            return [.holdingsRevoked(agent: event.agent, why(event.reason, record))]
        default: return []
        }
    }

    private func why(_ reason: String, _ record: AuditRecord) -> ReplayedReason {
        ReplayedReason(reason: reason, actor: record.actor, time: record.time.date)
    }

    /// Only signatures raise the mark: other records may have a time that was not believed.
    private mutating func signed(at time: Date) {
        lastSignature = max(lastSignature ?? time, time)
    }

    private func authority(
        _ event: AuthorityPreparation,
        _ time: Date,
        _ index: UInt64
    ) throws(LogReplayError) -> ReplayedAuthority {
        guard event.serverID == serverID else { throw .otherServer(event.serverID, index: index) }
        if let certificate = event.certificate {
            guard Array(SHA256.hash(data: certificate)) == event.certificateSHA256 else {
                throw .unreadable(
                    index: index,
                    reason: "the authority's certificate has another hash"
                )
            }
        }
        return ReplayedAuthority(
            keyID: event.authority,
            serverID: event.serverID,
            certificate: event.certificate,
            tokenKey: event.tokenKey,
            publishedAt: time,
            notBefore: event.notBefore.date,
            notAfter: event.notAfter.date,
            above: event.above
        )
    }

    private func distrust(
        _ event: UpstreamDistrustAct,
        isRevoked: Bool,
        _ why: ReplayedReason
    ) -> ReplayStep {
        .upstreamDistrusted(
            event.upstream,
            ReplayedUpstreamDistrust(
                certificate: event.certificate,
                isRevoked: isRevoked,
                why: why
            )
        )
    }

    /// Who holds a token "A, through B", and who is named in it besides.
    private func delegation(
        _ event: DelegatedTokenIssuance,
        _ time: Date,
        _ index: UInt64
    ) throws(LogReplayError) -> [ReplayStep] {
        guard let holder = event.actors.last else {
            throw .unreadable(index: index, reason: "nobody holds the token")
        }
        let issuedAt = time.wholeSeconds
        let notAfter = event.notAfter.date
        return [
            .tokens(
                ReplayedTokens(
                    agent: event.agent,
                    authority: event.authority,
                    holders: [
                        .init(spiffeID: holder, entryID: event.entry.id, notAfter: notAfter)
                    ],
                    issuedAt: issuedAt
                )
            ),
            .delegationParties(
                [event.subject] + event.actors.dropLast(),
                issuedAt: issuedAt,
                notAfter: notAfter
            ),
        ]
    }

    private func key(_ sha256: [UInt8], of agent: SPIFFEID, _ time: Date) -> ReplayStep {
        .nodeKey(agent: agent, keySHA256: sha256, at: time)
    }

    private func revocation(_ event: DownstreamRevocation, _ why: ReplayedReason) -> ReplayStep {
        .downstreamRevoked(event.authority, why)
    }

    private func revocation(_ event: IdentityRevocation, _ why: ReplayedReason) -> ReplayStep {
        let before = event.issuedBefore.date
        return .identityRevoked(
            ReplayedRevocation(
                spiffeID: event.spiffeID,
                issuedBefore: before,
                // What was issued until that moment may last as long as anything does.
                ends: max(before, why.time).addingTimeInterval(longest + skew),
                why: why
            )
        )
    }
}

/// Why records cannot be brought forward; a restore ends there.
package enum LogReplayError: Error, Hashable, Sendable, CustomStringConvertible {
    /// A record of a server that is not the backup's.
    case otherServer(String, index: UInt64)
    /// Records are missing, or were told twice.
    case outOfOrder(expected: UInt64, got: UInt64)
    /// This release does not know what it says.
    case unreadable(index: UInt64, reason: String)

    package var description: String {
        switch self {
        case .otherServer(let id, let index):
            "record \(index) of the log is of server \(id.prefix(64)), not of the backup's"
        case .outOfOrder(let expected, let got):
            "record \(expected) of the log was expected, and \(got) came"
        case .unreadable(let index, let reason):
            "record \(index) of the log cannot be read: \(reason); restore with the release that "
                + "wrote it, or a newer one"
        }
    }
}

extension ReplayStep {
    fileprivate init(_ event: RevocationListSigning) {
        self = .listSigned(
            authority: event.authority,
            thisUpdate: event.thisUpdate.date,
            nextUpdate: event.nextUpdate.date
        )
    }
}

extension ReplayedDownstream {
    fileprivate init(_ event: DownstreamCertification, at time: Date) {
        self.init(
            keyID: event.authority,
            certificate: event.certificate,
            above: event.above,
            agent: event.agent,
            entry: event.entry,
            entryName: event.entryName,
            spiffeID: event.spiffeID,
            serverID: event.serverID,
            at: time,
            notBefore: event.notBefore.date,
            notAfter: event.notAfter.date
        )
    }
}

extension ReplayedNode {
    fileprivate init(_ event: NodeAttestation, at time: Date) {
        self.init(
            agent: event.agent,
            selectors: Set(event.selectors),
            method: event.attestor,
            keySHA256: event.publicKeySHA256,
            at: time
        )
    }
}

extension ReplayedCertificates {
    fileprivate init(_ event: SVIDIssuance, leaf: UInt64, at time: Date) {
        self.init(
            profile: event.profile,
            agent: event.agent,
            authority: event.authority,
            svids: event.svids,
            leaf: leaf,
            at: time
        )
    }
}

extension ReplayedTokens {
    fileprivate init(_ event: JWTSVIDIssuance, at time: Date) {
        self.init(
            agent: event.agent,
            authority: event.authority,
            holders: event.tokens.map {
                Holder(
                    spiffeID: $0.spiffeID,
                    entryID: $0.entry.id,
                    notAfter: $0.notAfter.date
                )
            },
            issuedAt: time.wholeSeconds
        )
    }
}

extension Date {
    /// As tokens say when they were issued.
    fileprivate var wholeSeconds: Date {
        Date(timeIntervalSince1970: timeIntervalSince1970.rounded(.down))
    }
}
