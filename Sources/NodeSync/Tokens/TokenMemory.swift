// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
package import SPIFFE

/// What a kept JWT-SVID was asked for; another entry, or another word in it, is another token.
package struct TokenKey: Hashable, Sendable {
    package let entryID: String
    package let entryRevision: UInt64
    package let spiffeID: SPIFFEID
    package let audiences: TokenAudiences

    package init(
        entryID: String,
        entryRevision: UInt64,
        spiffeID: SPIFFEID,
        audiences: TokenAudiences
    ) {
        self.entryID = entryID
        self.entryRevision = entryRevision
        self.spiffeID = spiffeID
        self.audiences = audiences
    }
}

/// A JWT-SVID that was verified when it came.
///
/// Whoever has the token is the workload until it expires, so its descriptions leave it out.
package struct KeptToken: Hashable, Sendable {
    package let token: String
    package let issuedAt: Date
    package let notAfter: Date
    /// Whose key signed it.
    package let keyID: String
    /// When it came, in time since boot: wall clocks disagree on what is young.
    package let receivedAt: Duration

    package init(
        token: String,
        issuedAt: Date,
        notAfter: Date,
        keyID: String,
        receivedAt: Duration
    ) {
        self.token = token
        self.issuedAt = issuedAt
        self.notAfter = notAfter
        self.keyID = keyID
        self.receivedAt = receivedAt
    }

    /// When a new one is asked for beside, in time since boot.
    var halfLife: Duration { receivedAt + .seconds(notAfter.timeIntervalSince(issuedAt) / 2) }

    /// Whether it may be given to a process, to which it still has to be of use.
    package func isLasting(now: Date) -> Bool {
        now.addingTimeInterval(TokenMemory.lifeMin) < notAfter
    }
}

extension KeptToken: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package var description: String { "KeptToken(until \(notAfter))" }

    package var debugDescription: String { description }

    package var customMirror: Mirror { Mirror(self, children: ["notAfter": notAfter]) }
}

/// The JWT-SVIDs that an agent keeps, in memory alone (docs/decisions/0017-jwt-keys-and-services.md).
package struct TokenMemory: Sendable {
    /// Most tokens kept, each some hundred bytes to a few KiB.
    package static let countMax = 4_096
    /// Most tokens kept for one user: a few hundred workloads and audiences.
    package static let perUserMax = 256
    /// What a token must have left to be given to a process: it still has to reach its verifier.
    package static let lifeMin: TimeInterval = 10

    /// How a kept token stands with what is known by now.
    package enum Standing: Hashable, Sendable {
        /// It counts no more: its identity or authority was revoked, or its key has left the bundle.
        case withheld
        /// It counts, and is to be replaced.
        case tainted
        case good
    }

    /// What there is for a request.
    package enum Answer: Hashable, Sendable {
        case none
        /// It is the answer; `isFresh`: nothing needs to be asked for.
        case token(KeptToken, isFresh: Bool)
    }

    private struct Place: Sendable {
        let token: KeptToken
        let uid: UInt32
        var usedAt: UInt64
    }

    private var places: [TokenKey: Place] = [:]
    private var countByUser: [UInt32: Int] = [:]
    private var uses: UInt64 = 0

    package init() {}

    package var count: Int { places.count }

    /// Looks for a token; one that counts no more is forgotten.
    ///
    /// - Parameters:
    ///   - key: What is asked for.
    ///   - now: The wall clock, which says when a token ends.
    ///   - boot: Time since boot, which says how long it has been here.
    ///   - judge: How a token stands.
    /// - Returns: What there is.
    package mutating func answer(
        for key: TokenKey,
        now: Date,
        boot: Duration,
        _ judge: (TokenKey, KeptToken) -> Standing
    ) -> Answer {
        guard let place = places[key] else { return .none }
        let token = place.token
        let standing = judge(key, token)
        guard token.isLasting(now: now), standing != .withheld else {
            remove(key)
            return .none
        }
        uses += 1
        places[key]?.usedAt = uses
        return .token(token, isFresh: standing == .good && boot < token.halfLife)
    }

    /// Keeps a token for the user who asked; whichever was used longest ago makes room.
    package mutating func keep(_ token: KeptToken, for key: TokenKey, uid: UInt32) {
        remove(key)
        if countByUser[uid, default: 0] >= Self.perUserMax { removeOldest { $0.uid == uid } }
        // Whoever has most makes room.
        if places.count >= Self.countMax,
            let most = countByUser.max(by: { $0.value < $1.value })?.key
        {
            removeOldest { $0.uid == most }
        }
        uses += 1
        places[key] = Place(token: token, uid: uid, usedAt: uses)
        countByUser[uid, default: 0] += 1
    }

    /// Forgets what has ended.
    package mutating func expire(now: Date) {
        for (key, place) in places where place.token.notAfter <= now { remove(key) }
    }

    private mutating func removeOldest(where isMeant: (Place) -> Bool) {
        let oldest = places.filter { isMeant($0.value) }.min { $0.value.usedAt < $1.value.usedAt }
        if let oldest { remove(oldest.key) }
    }

    private mutating func remove(_ key: TokenKey) {
        guard let place = places.removeValue(forKey: key) else { return }
        let left = countByUser[place.uid, default: 1] - 1
        countByUser[place.uid] = left > 0 ? left : nil
    }
}
