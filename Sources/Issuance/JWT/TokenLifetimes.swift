// SPDX-License-Identifier: Apache-2.0

/// How long JWT-SVIDs live; whole seconds.
package struct TokenLifetimes: Hashable, Sendable {
    /// Agents give out no token in its last 10 s: what lives less than this would be signed anew for
    /// each who asks.
    package static let tokenMin: Duration = .seconds(30)
    /// What is left of a token at least that ends early, with its entry or its key: agents give it out
    /// for some seconds, and authorities are replaced 20 s before their end as a rule.
    package static let cutMin: Duration = .seconds(15)
    /// Whoever has a token is the workload, and verifiers that are not ours learn of no revocation:
    /// beyond an hour it would be a password.
    package static let tokenMax: Duration = .seconds(3600)

    /// What a workload gets when its entry does not say.
    package let token: Duration
    /// The most that an entry gets.
    package let entryMax: Duration

    /// Five minutes, and an hour at most.
    package static let standard = Self()

    private init() {
        token = .seconds(300)
        entryMax = Self.tokenMax
    }

    /// Takes the given lifetimes, the others from `standard`.
    ///
    /// - Throws: `TokenLifetimeError` naming the relation that does not hold.
    package init(
        token: Duration = standard.token,
        entryMax: Duration = standard.entryMax
    ) throws(TokenLifetimeError) {
        guard token.components.attoseconds == 0, entryMax.components.attoseconds == 0 else {
            throw .notWholeSeconds
        }
        guard token >= Self.tokenMin else { throw .tooShort }
        guard entryMax <= Self.tokenMax else { throw .tooLong }
        guard token <= entryMax else { throw .tokenExceedsMax }
        self.token = token
        self.entryMax = entryMax
    }
}

/// The relation between the lifetimes of JWT-SVIDs that does not hold.
package enum TokenLifetimeError: Error, Hashable, Sendable, CustomStringConvertible {
    case notWholeSeconds
    case tokenExceedsMax
    case tooLong
    case tooShort

    package var description: String {
        switch self {
        case .notWholeSeconds: "lifetimes are whole seconds"
        case .tokenExceedsMax: "the default lifetime of a JWT-SVID exceeds the longest allowed"
        case .tooLong:
            "a JWT-SVID lives at most \(SVIDLifetimes.text(TokenLifetimes.tokenMax))"
        case .tooShort:
            "a JWT-SVID lives at least \(SVIDLifetimes.text(TokenLifetimes.tokenMin))"
        }
    }
}
