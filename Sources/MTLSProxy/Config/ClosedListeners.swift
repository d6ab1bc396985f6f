// SPDX-License-Identifier: Apache-2.0

internal import Routing
package import SPIFFE

/// A listener of the state in force that is closed because its identity has no certificate.
package struct UnservedListener: Hashable, Sendable {
    /// Why there is none that may be presented.
    package enum Lack: String, Hashable, Sendable {
        case ended = "it has ended"
        case missing = "there is none yet"
        case notGranted = "no entry grants it to this proxy"
        case revoked = "it was revoked, and there is no newer one yet"
    }

    package let name: String
    package let identity: SPIFFEID
    package let lack: Lack

    package init(name: String, identity: SPIFFEID, lack: Lack) {
        (self.name, self.identity, self.lack) = (name, identity, lack)
    }
}

/// Which listeners are closed for want of a certificate, so that each change is told once.
package struct ClosedListeners: Sendable {
    /// Most listeners remembered, inbound and outbound ones of a document.
    ///
    /// One that a later state leaves out is remembered as far as there is room, to tell that it
    /// opens again.
    package static let rememberedMax = 2 * Proxy.listenersMax

    /// What there is to tell.
    package enum Change: Hashable, Sendable {
        case closed(UnservedListener)
        case opened(name: String, identity: SPIFFEID)
    }

    private var closed: [String: SPIFFEID] = [:]

    package init() {}

    /// Another snapshot is in force.
    ///
    /// - Parameters:
    ///   - open: The identities of its listeners by their names.
    ///   - unserved: Those that it leaves out.
    /// - Returns: What changed, sorted by name, openings first.
    package mutating func changed(
        open: [String: SPIFFEID],
        unserved: [UnservedListener]
    ) -> [Change] {
        var changes: [Change] = []
        for (name, identity) in open.sorted(by: { $0.key < $1.key })
        where closed.removeValue(forKey: name) != nil {
            changes.append(.opened(name: name, identity: identity))
        }
        for listener in unserved.sorted(by: { $0.name < $1.name })
        where closed.updateValue(listener.identity, forKey: listener.name) != listener.identity {
            changes.append(.closed(listener))
        }
        if closed.count > Self.rememberedMax {
            let named = Set(unserved.map(\.name))
            closed = closed.filter { named.contains($0.key) }
        }
        return changes
    }
}
