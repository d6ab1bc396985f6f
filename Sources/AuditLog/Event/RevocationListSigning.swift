// SPDX-License-Identifier: Apache-2.0

/// A certificate revocation list was signed.
package struct RevocationListSigning: Hashable, Sendable, AuditPayload {
    /// The subject key identifier of the authority whose certificates it lists.
    package let authority: [UInt8]
    /// The list's number.
    package let number: UInt64
    package let thisUpdate: AuditTime
    package let nextUpdate: AuditTime
    /// How many certificates are on it.
    package let certificates: UInt64
    /// How many of the authority's are revoked and have no place on it.
    package let leftOut: UInt64
    /// SHA-256 of the list's DER.
    package let listSHA256: [UInt8]

    package init(
        authority: [UInt8],
        number: UInt64,
        thisUpdate: AuditTime,
        nextUpdate: AuditTime,
        certificates: UInt64,
        leftOut: UInt64,
        listSHA256: [UInt8]
    ) {
        self.authority = authority
        self.number = number
        self.thisUpdate = thisUpdate
        self.nextUpdate = nextUpdate
        self.certificates = certificates
        self.leftOut = leftOut
        self.listSHA256 = listSHA256
    }

    func write(to fields: inout FieldWriter) {
        fields.set("authority", authority)
        fields.set("certificates", certificates)
        fields.set("leftOut", leftOut)
        fields.set("listSHA256", listSHA256)
        fields.set("nextUpdate", nextUpdate)
        fields.set("number", number)
        fields.set("thisUpdate", thisUpdate)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            authority: try fields.bytes("authority"),
            number: try fields.number("number"),
            thisUpdate: try fields.time("thisUpdate"),
            nextUpdate: try fields.time("nextUpdate"),
            certificates: try fields.number("certificates"),
            leftOut: try fields.number("leftOut"),
            listSHA256: try fields.bytes("listSHA256")
        )
    }

    func index(into subjects: inout AuditSubjects) {}
}
