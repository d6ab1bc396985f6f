// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Datastore
internal import FoundationEssentials
internal import SPIFFE

/// A start of the server, by its place: two of them may say the same.
struct RecheckStart: Hashable, Sendable {
    let leafIndex: UInt64
    /// When, as its leaf says.
    let time: Date
    let value: ServerStart
}

/// One record of issued SVIDs as the log has it, whole, whatever number of leaves it takes.
struct RecheckRecord: Hashable, Sendable {
    /// The index of its first leaf, which intents name.
    let first: UInt64
    /// One more than that of its last.
    var end: UInt64
    let time: Date
    var issuance: SVIDIssuance
    /// The start of the server under which it was written.
    let start: RecheckStart?
    /// The key identifier of the authority that signed then; nil if the log does not say.
    let active: [UInt8]?
    /// Whether a checkpoint holds all of it.
    var isPublished: Bool
    /// Of how many leaves some are still to come; 0 if none.
    var partsLeft: Int
}

/// A certificate with everything that it is compared with.
struct RecheckSubject: Hashable, Sendable {
    let svid: IssuedSVID
    let record: RecheckRecord.Facts
    let intent: IssuanceIntent
    /// The entry at the revision that it was issued for; nil if that is forgotten.
    let entry: RegistrationEntry?
}

extension RecheckRecord {
    /// What a record says of all of its certificates.
    struct Facts: Hashable, Sendable {
        let first: UInt64
        let time: Date
        let agent: SPIFFEID?
        let authority: [UInt8]
        let profile: SVIDIssuance.Profile
        let start: RecheckStart?
        let active: [UInt8]?
        let isPublished: Bool
    }

    var facts: Facts {
        Facts(
            first: first,
            time: time,
            agent: issuance.agent,
            authority: issuance.authority,
            profile: issuance.profile,
            start: start,
            active: active,
            isPublished: isPublished
        )
    }
}

/// What one reading has found to compare.
struct RecheckPage: Sendable {
    var subjects: [RecheckSubject] = []
    var findings: [RecheckFinding] = []
    /// Findings that were only counted.
    var unlisted: UInt64 = 0
    /// Intents of a log that a restore has ended.
    var earlierLog: UInt64 = 0
    /// Certificates of the log that have no intent: it was trimmed, or is missing.
    var withoutIntent: [(svid: IssuedSVID, first: UInt64)] = []
    /// The authorities that there are.
    var authorities: [AuthorityRecord] = []
}
