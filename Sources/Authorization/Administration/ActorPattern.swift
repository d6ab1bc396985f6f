// SPDX-License-Identifier: Apache-2.0

package import SPIFFE

/// A subject of a role binding: `uid:0` (that user on any server), `uid:0@host`, or one whole
/// SPIFFE ID.
///
/// There are no wildcards: an admin is named, never guessed from a prefix.
package enum ActorPattern: Hashable, Sendable, CustomStringConvertible {
    /// A process on the server's own machine; a nil host is any server's host.
    case localUser(uid: UInt32, host: String?)
    case spiffe(SPIFFEID)

    /// Longest host name in bytes (RFC 1035 section 2.3.4, in text form).
    package static let hostBytesMax = 253

    /// Parses a subject.
    ///
    /// - Throws: `ActorPatternError` naming the rule that the text breaks.
    package init(_ text: String) throws(ActorPatternError) {
        if text.utf8.starts(with: "uid:".utf8) {
            self = try Self.localUser(parsing: text.dropFirst("uid:".count))
            return
        }
        guard text.utf8.starts(with: "spiffe:".utf8) else { throw .kindUnknown }
        let id: SPIFFEID
        do throws(SPIFFEIDError) { id = try SPIFFEID(text) } catch { throw .spiffeID(error) }
        guard !id.path.isEmpty else { throw .trustDomainItself }
        guard !id.isReserved else { throw .reserved }
        self = .spiffe(id)
    }

    private static func localUser(parsing text: Substring) throws(ActorPatternError) -> Self {
        let parts = text.split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false)
        // Only digits in their shortest form: Swift's parser alone would also take "+0" and "007".
        guard let digits = parts.first, let uid = UInt32(digits), "\(uid)" == digits else {
            throw .uidMalformed
        }
        guard parts.count == 2 else { return .localUser(uid: uid, host: nil) }
        let host = String(parts[1])
        guard !host.isEmpty, host.utf8.count <= hostBytesMax, host.utf8.allSatisfy(allowsInHost)
        else { throw .hostMalformed }
        return .localUser(uid: uid, host: host)
    }

    private static func allowsInHost(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"),
            UInt8(ascii: "_"):
            true
        default: false
        }
    }

    /// Whether `actor` is the one that the pattern names.
    package func matches(_ actor: Actor) -> Bool {
        switch (self, actor) {
        case (.localUser(let uid, let host), .localUser(let actorUID, let actorHost)):
            uid == actorUID && (host == nil || host == actorHost)
        case (.spiffe(let id), .spiffe(let actorID)): id == actorID
        default: false
        }
    }

    package var description: String {
        switch self {
        case .localUser(let uid, let host): host.map { "uid:\(uid)@\($0)" } ?? "uid:\(uid)"
        case .spiffe(let id): id.description
        }
    }
}

/// The rule of `ActorPattern.init(_:)` that a text breaks.
package enum ActorPatternError: Error, Hashable, Sendable, CustomStringConvertible {
    case hostMalformed
    case kindUnknown
    case reserved
    case spiffeID(SPIFFEIDError)
    case trustDomainItself
    case uidMalformed

    package var description: String {
        switch self {
        case .hostMalformed:
            "a host has at most \(ActorPattern.hostBytesMax) letters, digits, \".\", \"-\" or \"_\""
        case .kindUnknown: "a subject is uid:<number>, uid:<number>@<host> or a SPIFFE ID"
        case .reserved: "an ID below /signet/ belongs to Signet itself and is never an admin"
        case .spiffeID(let error): error.description
        case .trustDomainItself: "the ID of a trust domain itself is nobody's identity"
        case .uidMalformed: "a uid is a decimal number from 0 to 4294967295"
        }
    }
}
