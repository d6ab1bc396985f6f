// SPDX-License-Identifier: Apache-2.0

/// What `signet ca recheck` finds; a closed set, described in docs/operations.md.
package enum RecheckFindingName: String, Hashable, Sendable, CaseIterable {
    /// Another authority signed when the certificate was issued, by the log.
    case authorityDidNotSign
    /// Its authority has no record, although the certificate has not ended.
    case authorityMissing
    /// The record of its authority cannot be read.
    case authorityUnreadable
    /// What is made again of the record is not what was meant to be signed.
    case certificateDiffers
    /// The entry's revision could not have granted it.
    case entryDoesNotGrant
    /// The log has a certificate that is not on record, although it is to be.
    case intentMissing
    /// The database has another record than was published, or none.
    case leafChanged
    /// The record of the log says something else.
    case leafDiffers
    /// A published record of the log that this server has not written: a start after its own, or a
    /// time long before that of a record before it.
    case leafImplausible
    /// The record of the log does not have it.
    case leafMissing
    /// A record of the log cannot be read, or is not what its hash says.
    case leafUnreadable
    /// Today's rules would not have it signed.
    case lint
    /// The files of the log do not lead to the root that the server signed, so that nothing proves
    /// which records were published.
    case logUnproven
}

/// Why something of a certificate was not judged; a closed set, as above.
package enum RecheckOmission: String, Hashable, Sendable, CaseIterable {
    /// Its authority has no record any more, and it has ended.
    case authorityForgotten
    /// Its record is in the log of before a restore.
    case earlierLog
    /// A release recorded it that kept neither key nor names.
    case earlierRelease
    /// The entry, or the revision of it, has no document any more.
    case entryForgotten
    /// Before the newest start the longest lifetime may have been another.
    case otherLifetimes
    /// Profile files of other content were read when it was issued.
    case otherProfiles
    /// Another release made it.
    case otherRelease
    /// No checkpoint holds its record yet: only the database says what was issued.
    case unpublished
}

/// One thing that was found.
package struct RecheckFinding: Hashable, Sendable {
    package let name: RecheckFindingName
    /// Empty for a record of the log as a whole.
    package let serial: [UInt8]
    package let spiffeID: String
    /// The index of the record in the log.
    package let leafIndex: UInt64
    package let detail: String

    package init(
        _ name: RecheckFindingName,
        serial: [UInt8] = [],
        spiffeID: String = "",
        leafIndex: UInt64,
        detail: String
    ) {
        self.name = name
        self.serial = serial
        self.spiffeID = spiffeID
        self.leafIndex = leafIndex
        self.detail = detail
    }
}

/// What came out for some certificates.
package struct RecheckVerdict: Hashable, Sendable {
    /// Certificates that were looked at.
    package var certificates: UInt64 = 0
    package var findings: [RecheckFinding] = []
    /// Findings that are not among `findings`, which are all of a sum.
    package var unlisted: UInt64 = 0
    /// Certificates of which something was not judged.
    package var notJudged: UInt64 = 0
    package var omissions: [RecheckOmission: UInt64] = [:]

    package init() {}

    /// Adds what one certificate lacks to be judged wholly.
    mutating func omit(_ reasons: Set<RecheckOmission>) {
        guard !reasons.isEmpty else { return }
        notJudged += 1
        for reason in reasons { omissions[reason, default: 0] += 1 }
    }

    /// Adds certificates of which nothing is judged.
    mutating func omit(_ count: UInt64, for reason: RecheckOmission) {
        guard count > 0 else { return }
        certificates += count
        notJudged += count
        omissions[reason, default: 0] += count
    }

    /// Adds the numbers of another, and none of its findings.
    mutating func count(_ other: Self) {
        certificates += other.certificates
        unlisted += other.unlisted + UInt64(other.findings.count)
        notJudged += other.notJudged
        omissions.merge(other.omissions, uniquingKeysWith: +)
    }
}
