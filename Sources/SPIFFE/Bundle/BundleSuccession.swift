// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials

/// Whether what the bundle endpoint of another trust domain serves takes the place of what is
/// believed (docs/decisions/0021-federation.md).
///
/// An endpoint can bring back an old bundle, and with it a key that was revoked, as often as it
/// likes; only a number that rises tells old from new.
package enum BundleSuccession {
    /// Most bytes of certificates in one bundle: those of 64 trust domains, which one workload may
    /// federate with, are 2 MiB.
    package static let certificateBytesMax = 32 << 10
    /// Most bytes of the keys that sign JWT-SVIDs, as a JWK Set, for the same reason.
    package static let tokenKeyBytesMax = 32 << 10
    /// How long after new keys were taken others are taken: every agent is told of each change, and
    /// the partner decides when there is one.
    package static let newKeysInterval: Duration = .seconds(300)

    /// Who asked for a fetch.
    package enum Asking: Hashable, Sendable {
        case schedule
        /// An admin, for whom nothing is postponed.
        case admin
        /// An admin who takes what its sequence alone forbids.
        case adminAcceptingOlder
    }

    /// Judges a document that was fetched.
    ///
    /// - Parameters:
    ///   - stored: What is believed, or stands for it at a first fetch; nil: nothing.
    ///   - fetched: What the endpoint serves.
    ///   - asking: Who asked for it.
    ///   - now: The wall clock, which is believed.
    /// - Returns: What to do with it. Whatever it is, `stored` stays in force until a taking is
    ///   committed.
    package static func judge(
        _ stored: BelievedBundle?,
        _ fetched: BundleDocument,
        asking: Asking = .schedule,
        now: Date
    ) -> BundleVerdict {
        guard fetched.x509Authorities.reduce(0, { $0 + $1.count }) <= certificateBytesMax,
            fetched.jwtAuthorities.keySet.count <= tokenKeyBytesMax
        else { return .refused(.bundleTooLarge) }
        let sequence = fetched.sequenceNumber
        guard let stored else { return .taken(.init(sequenceNumber: sequence)) }
        let acceptsOlder = asking == .adminAcceptingOlder
        if stored.keys == BundleKeys(fetched) {
            // Of two numbers of one content the higher: with the lower, what lies between could be
            // brought back.
            let highest = [stored.sequenceNumber, sequence].compactMap(\.self).max()
            let remembered = acceptsOlder ? sequence : highest
            return stored.isFetched
                ? .confirmed(sequenceNumber: remembered)
                : .taken(
                    .init(sequenceNumber: remembered, isOlderAccepted: remembered != highest)
                )
        }
        let order = Order(sequence, after: stored.sequenceNumber)
        if !acceptsOlder {
            switch order {
            case .older: return .refused(.sequenceWentBack)
            case .missing: return .refused(.sequenceMissing)
            case .newer, .same: break
            }
        }
        // What was configured was given to nobody.
        let hasNewKeys = !stored.isFetched || !stored.keys.contains(BundleKeys(fetched))
        if asking == .schedule, hasNewKeys, let next = stored.nextNewKeys(after: now) {
            return .postponed(until: next)
        }
        return .taken(
            .init(
                sequenceNumber: sequence,
                hasNewKeys: hasNewKeys,
                isSequenceReused: order == .same,
                isOlderAccepted: order == .older || order == .missing
            )
        )
    }

    /// How the number of a document with other keys is to the one that is remembered.
    private enum Order {
        case missing
        case newer
        case older
        case same

        init(_ fetched: UInt64?, after stored: UInt64?) {
            self =
                switch (fetched, stored) {
                case (_, nil): .newer
                case (nil, .some): .missing
                case (let fetched?, let stored?):
                    fetched > stored ? .newer : fetched == stored ? .same : .older
                }
        }
    }
}

/// The keys of a bundle, in whatever order they are published.
package struct BundleKeys: Hashable, Sendable {
    /// DER of each X.509 authority.
    package let x509Authorities: Set<[UInt8]>
    package let jwtAuthorities: Set<JWTAuthority>

    package init(_ document: BundleDocument) {
        x509Authorities = Set(document.x509Authorities)
        jwtAuthorities = Set(document.jwtAuthorities)
    }

    /// Whether another set has no key that is not here.
    package func contains(_ other: Self) -> Bool {
        other.x509Authorities.isSubset(of: x509Authorities)
            && other.jwtAuthorities.isSubset(of: jwtAuthorities)
    }
}

/// What is believed of another trust domain when its bundle is fetched.
package struct BelievedBundle: Hashable, Sendable {
    package let keys: BundleKeys
    /// The highest number that came with them, or what an admin has accepted instead; nil if there
    /// was none.
    package let sequenceNumber: UInt64?
    /// Whether they were fetched; else they are those that an admin configured, which verify the
    /// endpoint and nothing else.
    package let isFetched: Bool
    /// When new keys were taken last.
    package let newKeysAt: Date?

    /// What was fetched last.
    ///
    /// - Parameters:
    ///   - document: The last good one.
    ///   - sequenceNumber: The number that is remembered, not the document's own.
    ///   - newKeysAt: When new keys were taken last.
    package init(fetched document: BundleDocument, sequenceNumber: UInt64?, newKeysAt: Date?) {
        keys = BundleKeys(document)
        self.sequenceNumber = sequenceNumber
        isFetched = true
        self.newKeysAt = newKeysAt
    }

    /// What an admin has configured, before the first fetch.
    package init(configured document: BundleDocument) {
        keys = BundleKeys(document)
        sequenceNumber = document.sequenceNumber
        isFetched = false
        newKeysAt = nil
    }

    /// When new keys may be taken again; nil: at once.
    ///
    /// A time after now is one of a clock that was wrong, and holds nothing up.
    fileprivate func nextNewKeys(after now: Date) -> Date? {
        guard let newKeysAt, newKeysAt <= now else { return nil }
        let next = newKeysAt.addingTimeInterval(BundleSuccession.newKeysInterval / .seconds(1))
        return now < next ? next : nil
    }
}

/// What becomes of a document that was fetched.
package enum BundleVerdict: Hashable, Sendable {
    /// It has the keys that are believed already; this number is to be remembered.
    case confirmed(sequenceNumber: UInt64?)
    /// It is believed from now on.
    case taken(BundleTaking)
    /// It is neither believed nor refused: it is to be fetched again then.
    case postponed(until: Date)
    /// What is believed stays.
    case refused(BundleRefusal)
}

/// How a document is taken.
package struct BundleTaking: Hashable, Sendable {
    /// The number to remember; nil: none.
    package let sequenceNumber: UInt64?
    /// Whether it has keys that what was believed had not.
    package let hasNewKeys: Bool
    /// Whether its content changed and its number did not, which breaks row B-2: the next change
    /// cannot be told from an old document.
    package let isSequenceReused: Bool
    /// Whether only an admin's word let it through, or let its number be remembered.
    package let isOlderAccepted: Bool

    package init(
        sequenceNumber: UInt64?,
        hasNewKeys: Bool = true,
        isSequenceReused: Bool = false,
        isOlderAccepted: Bool = false
    ) {
        self.sequenceNumber = sequenceNumber
        self.hasNewKeys = hasNewKeys
        self.isSequenceReused = isSequenceReused
        self.isOlderAccepted = isOlderAccepted
    }
}

/// Why a document that was read is not believed.
package enum BundleRefusal: String, CaseIterable, Hashable, Sendable, CustomStringConvertible {
    case bundleTooLarge
    case sequenceMissing
    case sequenceWentBack

    package var description: String {
        switch self {
        case .bundleTooLarge:
            "the bundle has more than \(BundleSuccession.certificateBytesMax) bytes of "
                + "certificates, or more than \(BundleSuccession.tokenKeyBytesMax) of keys for tokens"
        case .sequenceMissing:
            "the bundle has other keys and no spiffe_sequence, which the one before had"
        case .sequenceWentBack:
            "the bundle has other keys and a lower spiffe_sequence than the one before"
        }
    }
}

/// Until when a bundle that was fetched is believed.
package enum BundleFreshness {
    /// How far ahead of the clock a confirmation may be dated: clocks are set back a little while
    /// they run, and nobody is to lose a partner by it.
    package static let clockStepMax: Duration = .seconds(60)

    /// Asks, when a fetch has failed, whether validators may believe it no longer.
    ///
    /// Else who keeps us from fetching keeps a revoked key alive.
    ///
    /// - Parameters:
    ///   - confirmedAt: When the endpoint served it last.
    ///   - limit: How long it may be believed after that.
    ///   - now: The wall clock, which is believed.
    /// - Returns: Whether it is to be withheld; so it is if it was confirmed more than
    ///   `clockStepMax` after now: by a clock that was wrong, so nobody knows how long ago.
    package static func isStale(confirmedAt: Date, limit: Duration, now: Date) -> Bool {
        let age = now.timeIntervalSince(confirmedAt)
        return age < -(clockStepMax / .seconds(1)) || age > limit / .seconds(1)
    }
}
