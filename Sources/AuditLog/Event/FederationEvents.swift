// SPDX-License-Identifier: Apache-2.0

package import SPIFFE

/// What is believed of another trust domain is another thing from now on, or is believed no longer.
package struct FederatedBundleChange: Hashable, Sendable, AuditPayload {
    /// Why it changed.
    package enum Cause: String, CaseIterable, Sendable {
        /// The endpoint serves other keys, which were taken.
        case fetched
        /// An admin has taken what its sequence alone forbids.
        case olderAccepted
        /// The document that says to federate was deleted.
        case removed
        /// What was withheld was fetched again.
        case returned
        /// It could not be fetched for too long.
        case withheld
    }

    /// The keys of a bundle, by digests.
    package struct Content: Hashable, Sendable {
        /// SHA-256 of the document as agents are told it.
        package let documentSHA256: [UInt8]
        /// SHA-256 of each X.509 authority's DER.
        package let authorities: [[UInt8]]
        /// SHA-256 thumbprint (RFC 7638) of each key for tokens.
        package let tokenKeys: [String]

        package init(documentSHA256: [UInt8], authorities: [[UInt8]], tokenKeys: [String]) {
            self.documentSHA256 = documentSHA256
            self.authorities = authorities
            self.tokenKeys = tokenKeys
        }
    }

    package let trustDomain: TrustDomain
    package let cause: Cause
    /// The number that is remembered; nil: none.
    package let sequenceNumber: UInt64?
    /// What is believed, or is believed no longer; nil: nothing was ever fetched.
    package let content: Content?

    package init(
        trustDomain: TrustDomain,
        cause: Cause,
        sequenceNumber: UInt64?,
        content: Content?
    ) {
        self.trustDomain = trustDomain
        self.cause = cause
        self.sequenceNumber = sequenceNumber
        self.content = content
    }

    func write(to fields: inout FieldWriter) {
        fields.set("cause", cause.rawValue)
        fields.set("trustDomain", trustDomain.name)
        fields.set("sequence", unlessNil: sequenceNumber)
        guard let content else { return }
        fields.set("authorities", content.authorities.map(Hexadecimal.text))
        fields.set("documentSHA256", content.documentSHA256)
        fields.set("tokenKeys", content.tokenKeys)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        var content: Content?
        if fields.has("documentSHA256") {
            content = Content(
                documentSHA256: try fields.bytes("documentSHA256"),
                authorities: try fields.texts("authorities", Hexadecimal.bytes),
                tokenKeys: try fields.texts("tokenKeys") { $0 }
            )
        }
        self.init(
            trustDomain: try fields.parsed("trustDomain") { try? TrustDomain($0) },
            cause: try fields.parsed("cause") { Cause(rawValue: $0) },
            sequenceNumber: try fields.sequence(),
            content: content
        )
    }

    func index(into subjects: inout AuditSubjects) {
        subjects.spiffeIDs.insert(trustDomain.idText)
    }
}

/// What the bundle endpoint of another trust domain serves is not believed.
package struct FederatedBundleRefusal: Hashable, Sendable, AuditPayload {
    package let trustDomain: TrustDomain
    /// The rule that refuses it: `sequenceWentBack`.
    package let reason: String
    /// The number of what was refused; nil: none, or it cannot be read.
    package let sequenceNumber: UInt64?
    /// SHA-256 of what the endpoint served.
    package let documentSHA256: [UInt8]

    package init(
        trustDomain: TrustDomain,
        reason: String,
        sequenceNumber: UInt64?,
        documentSHA256: [UInt8]
    ) {
        self.trustDomain = trustDomain
        self.reason = AuditText.word(reason)
        self.sequenceNumber = sequenceNumber
        self.documentSHA256 = documentSHA256
    }

    func write(to fields: inout FieldWriter) {
        fields.set("documentSHA256", documentSHA256)
        fields.set("reason", reason)
        fields.set("sequence", unlessNil: sequenceNumber)
        fields.set("trustDomain", trustDomain.name)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            trustDomain: try fields.parsed("trustDomain") { try? TrustDomain($0) },
            reason: try fields.text("reason"),
            sequenceNumber: try fields.sequence(),
            documentSHA256: try fields.bytes("documentSHA256")
        )
    }

    func index(into subjects: inout AuditSubjects) {
        subjects.spiffeIDs.insert(trustDomain.idText)
    }
}

extension TrustDomain {
    /// Its ID, by which leaves are looked for.
    fileprivate var idText: String { "spiffe://\(name)" }
}

extension FieldWriter {
    /// A text, as integers of JSON end at 2^53 and sequences at 2^64.
    fileprivate mutating func set(_ name: String, unlessNil number: UInt64?) {
        if let number { set(name, number.description) }
    }
}

extension FieldReader {
    fileprivate mutating func sequence() throws(AuditRecordParsingError) -> UInt64? {
        guard has("sequence") else { return nil }
        return try parsed("sequence") { text in
            UInt64(text).flatMap { $0.description == text ? $0 : nil }
        }
    }
}
