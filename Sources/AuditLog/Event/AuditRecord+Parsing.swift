// SPDX-License-Identifier: Apache-2.0

package import SPIFFE

/// Why bytes are not a leaf that this version can read.
///
/// A leaf that cannot be read may still be intact: a newer server may have written it.
package enum AuditRecordParsingError: Error, Hashable, Sendable, CustomStringConvertible {
    case eventUnknown(String)
    case fieldMalformed(String)
    case fieldMissing(String)
    case fieldUnknown(String)
    /// Readable, but not the one encoding of what it says.
    case notCanonical
    case notJSON(CanonicalJSONError)
    case notObject
    case tooLarge(bytes: Int)
    case versionUnknown(Int64)

    package var description: String {
        switch self {
        case .eventUnknown(let name): "unknown event \(name): a newer server wrote it"
        case .fieldMalformed(let name): "the field \(name) has a wrong form"
        case .fieldMissing(let name): "the field \(name) is missing"
        case .fieldUnknown(let name): "the field \(name) is unknown"
        case .notCanonical: "not in canonical form"
        case .notJSON(let error): "\(error)"
        case .notObject: "not a JSON object"
        case .tooLarge(let bytes):
            "\(bytes) bytes, more than the \(AuditRecord.bytesMax) of a leaf"
        case .versionUnknown(let version): "unknown leaf version \(version)"
        }
    }
}

extension AuditRecord {
    /// Reads one leaf.
    ///
    /// - Throws: `AuditRecordParsingError`; what is read encodes to exactly these bytes again.
    package init(parsing leaf: [UInt8]) throws(AuditRecordParsingError) {
        guard leaf.count <= Self.bytesMax else { throw .tooLarge(bytes: leaf.count) }
        let json: CanonicalJSON
        do {
            json = try CanonicalJSON(parsing: leaf)
        } catch {
            throw .notJSON(error)
        }
        guard case .object(let members) = json else { throw .notObject }
        guard case .integer(let version)? = members["v"] else { throw .fieldMalformed("v") }
        guard version == Self.version else { throw .versionUnknown(version) }

        var fields = FieldReader(members)
        _ = try fields.number("v")
        let actor = try fields.parsed("actor") { Actor(auditText: $0) }
        let time = try fields.time("time")
        let eventText = try fields.text("event")
        guard let name = AuditEvent.Name(rawValue: eventText) else {
            throw .eventUnknown(eventText)
        }
        let part = try Self.part(&fields)
        let event = try AuditEvent(name, &fields)
        try fields.finish()
        self.init(event: event, actor: actor, time: time, part: part)

        // Whatever the readers above let pass (a text too long, an empty optional field, strings
        // that are equal without having the same bytes) shows in the difference.
        guard (try? encoded()) == leaf else { throw .notCanonical }
    }

    private static func part(
        _ fields: inout FieldReader
    ) throws(AuditRecordParsingError) -> Part? {
        guard fields.has("part") || fields.has("parts") else { return nil }
        let number = try fields.number("part")
        let count = try fields.number("parts")
        guard count >= 2, (1...count).contains(number) else { throw .fieldMalformed("part") }
        return Part(number: Int(number), count: Int(count))
    }
}

extension Actor {
    /// Reads what `description` writes.
    package init?(auditText text: String) {
        let kinds: [(String, (Substring) -> Actor?)] = [
            ("uid:", Self.localUser), ("person:", Self.person), ("system:", Self.system),
        ]
        if let id = try? SPIFFEID(text) {
            self = .spiffe(id)
            return
        }
        for (prefix, parse) in kinds where text.utf8.starts(with: prefix.utf8) {
            guard let actor = parse(text.dropFirst(prefix.count)) else { return nil }
            self = actor
            return
        }
        return nil
    }

    private static func localUser(_ text: Substring) -> Actor? {
        guard let at = text.firstIndex(of: "@"), let uid = UInt32(text[..<at]) else { return nil }
        return .localUser(uid: uid, host: String(text[text.index(after: at)...]))
    }

    private static func person(_ text: Substring) -> Actor? {
        guard let hash = text.firstIndex(of: "#") else { return nil }
        let subject = text[text.index(after: hash)...]
        return .person(issuer: String(text[..<hash]), subject: String(subject))
    }

    private static func system(_ text: Substring) -> Actor? {
        text.isEmpty ? nil : .system(String(text))
    }
}
