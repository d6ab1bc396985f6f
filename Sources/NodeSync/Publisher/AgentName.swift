// SPDX-License-Identifier: Apache-2.0

/// The name an agent was attested under; its SPIFFE ID ends in it.
package struct AgentName: Hashable, Sendable, Comparable, CustomStringConvertible {
    package let name: String

    package init(_ name: String) {
        self.name = name
    }

    package var description: String { name }

    package static func < (lhs: Self, rhs: Self) -> Bool { lhs.name < rhs.name }
}

/// One open stream of an agent; numbers are given by the shell and never used again.
package struct SessionID: Hashable, Sendable, Comparable, CustomStringConvertible {
    package let number: UInt64

    package init(_ number: UInt64) {
        self.number = number
    }

    package var description: String { "session \(number)" }

    package static func < (lhs: Self, rhs: Self) -> Bool { lhs.number < rhs.number }
}

/// Somebody waiting until a change has reached its agents; numbers are given by the shell.
package struct WaitID: Hashable, Sendable, Comparable {
    package let number: UInt64

    package init(_ number: UInt64) {
        self.number = number
    }

    package static func < (lhs: Self, rhs: Self) -> Bool { lhs.number < rhs.number }
}

/// Whom a change concerns.
package enum AffectedAgents: Hashable, Sendable {
    /// Every agent, for example by a change of the trust domain's own bundle.
    case all
    /// The named agents; others only learn that the number went up.
    case agents(Set<AgentName>)
}
