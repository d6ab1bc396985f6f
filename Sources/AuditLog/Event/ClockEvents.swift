// SPDX-License-Identifier: Apache-2.0

/// Somebody said that the server's wall clock is right; the record's own time is what it showed.
package struct ClockAcceptance: Hashable, Sendable, AuditPayload {
    /// The time of the last signature, by a clock that was wrong; nil: the clock was not behind it.
    package let lastSignature: AuditTime?
    /// What an even clock would have shown, if this one had jumped ahead.
    package let expected: AuditTime?
    /// How many authorities began later and were revoked for that.
    package let authorities: UInt64
    /// How many revocations, which the wrong clock had ended, were made again.
    package let revocations: UInt64
    /// For how many of them there was no room.
    package let left: UInt64

    package init(
        lastSignature: AuditTime?,
        expected: AuditTime?,
        authorities: UInt64,
        revocations: UInt64,
        left: UInt64
    ) {
        self.lastSignature = lastSignature
        self.expected = expected
        self.authorities = authorities
        self.revocations = revocations
        self.left = left
    }

    func write(to fields: inout FieldWriter) {
        fields.set("authorities", authorities)
        if let expected { fields.set("expected", expected) }
        if let lastSignature { fields.set("lastSignature", lastSignature) }
        fields.set("left", left)
        fields.set("revocations", revocations)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            lastSignature: fields.has("lastSignature") ? try fields.time("lastSignature") : nil,
            expected: fields.has("expected") ? try fields.time("expected") : nil,
            authorities: try fields.number("authorities"),
            revocations: try fields.number("revocations"),
            left: try fields.number("left")
        )
    }

    func index(into subjects: inout AuditSubjects) {}
}
