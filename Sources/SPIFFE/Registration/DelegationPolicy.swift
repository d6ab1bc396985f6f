// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials

/// One step of a chain: an actor that shows itself to somebody as "subject, through actor".
package struct DelegationHop: Sendable, CustomStringConvertible {
    package let subject: SPIFFEID
    package let actor: SPIFFEID
    /// At whom, compared byte by byte.
    package let audience: String

    package init(subject: SPIFFEID, actor: SPIFFEID, audience: String) {
        self.subject = subject
        self.actor = actor
        self.audience = audience
    }

    package var description: String { "\(actor) for \(subject) at \"\(audience)\"" }
}

extension DelegationHop: Hashable {
    package static func == (one: Self, other: Self) -> Bool {
        one.subject == other.subject && one.actor == other.actor
            && one.audience.utf8.elementsEqual(other.audience.utf8)
    }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(subject)
        hasher.combine(actor)
        hasher.combine(Array(audience.utf8))
    }
}

extension DelegationChain {
    /// What has to be permitted for the chain's last actor to go to `audience`, in the order of
    /// time: those before went to the next one by its ID, or no token of the chain were theirs.
    package func hops(to audience: String) -> [DelegationHop] {
        let audiences = actors.dropFirst().map(\.description) + [audience]
        return zip(actors, audiences).map {
            DelegationHop(subject: subject, actor: $0, audience: $1)
        }
    }
}

/// Who may act for whom at whom: every combination of the three, and nothing else.
package struct DelegationPolicy: Hashable, Sendable, Identifiable {
    /// Most of a trust domain: they are read by people, and looked up while others wait to write.
    package static let countMax = 1_000

    /// The document's uid; never used again after deletion.
    package let id: String
    package let namespace: String
    package let name: String
    /// The document's version: which wording of it permitted something.
    package let version: UInt64
    package let subjects: Set<SPIFFEID>
    package let actors: Set<SPIFFEID>
    /// UTF-8, compared byte by byte.
    package let audiences: Set<[UInt8]>
    /// From here on the policy permits nothing.
    package let expires: Date?

    package init(
        id: String,
        namespace: String,
        name: String,
        version: UInt64,
        subjects: Set<SPIFFEID>,
        actors: Set<SPIFFEID>,
        audiences: [String],
        expires: Date? = nil
    ) {
        self.id = id
        self.namespace = namespace
        self.name = name
        self.version = version
        self.subjects = subjects
        self.actors = actors
        self.audiences = Set(audiences.map { Array($0.utf8) })
        self.expires = expires
    }

    /// Whether the policy names the hop; its end is not looked at.
    package func names(_ hop: DelegationHop) -> Bool {
        subjects.contains(hop.subject) && actors.contains(hop.actor)
            && audiences.contains(Array(hop.audience.utf8))
    }
}
