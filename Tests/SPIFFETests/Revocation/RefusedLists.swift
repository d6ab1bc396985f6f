// SPDX-License-Identifier: Apache-2.0

import SPIFFE
import Testing

/// A list that is refused: what is done to one that is otherwise read.
struct RefusedList: Sendable, CustomTestStringConvertible {
    private typealias Handmade = HandmadeCertificate

    let what: String
    let error: RevocationListError
    let spoil: @Sendable (inout HandmadeList) -> Void

    init(
        _ what: String,
        _ error: RevocationListError,
        _ spoil: @escaping @Sendable (inout HandmadeList) -> Void
    ) {
        self.what = what
        self.error = error
        self.spoil = spoil
    }

    var testDescription: String { what }

    static let all = fields + entries + extensions

    private static let fields: [RefusedList] = [
        .init("version 1, which is not written", .versionNot2) { $0.version = [] },
        .init("version 1 written out", .versionNot2) { $0.version = Handmade.tlv(0x02, [0]) },
        .init("version 3", .versionNot2) { $0.version = Handmade.tlv(0x02, [2]) },
        .init("a tagged version, as in a certificate", .encoding(.tagUnexpected(0xA0))) {
            $0.version = Handmade.tlv(0xA0, Handmade.tlv(0x02, [1]))
        },
        .init("different algorithms", .encoding(.signatureAlgorithmsDiffer)) {
            $0.outerAlgorithm = ListAuthority.ecdsaWithSHA384
        },
        .init("the same algorithm with and without NULL", .encoding(.signatureAlgorithmsDiffer)) {
            $0.algorithm = ListAuthority.sha256WithRSA
            $0.outerAlgorithm = rsaWithoutParameters
        },
        .init("RSA without NULL", .signatureAlgorithmRefused) {
            $0.algorithm = rsaWithoutParameters
            $0.outerAlgorithm = rsaWithoutParameters
        },
        .init("Ed25519", .signatureAlgorithmRefused) {
            $0.algorithm = Handmade.tlv(0x30, Handmade.tlv(0x06, [0x2B, 0x65, 0x70]))
            $0.outerAlgorithm = $0.algorithm
        },
        .init("no issuer", .encoding(.tagUnexpected(0x17))) { $0.issuer = [] },
        .init("an issuer of an empty relative name", .encoding(.sequenceEmpty)) {
            $0.issuer = Handmade.tlv(0x30, Handmade.tlv(0x31, []))
        },
        .init("no nextUpdate", .nextUpdateMissing) { $0.nextUpdate = [] },
        .init("an end at the beginning", .updatesOutOfOrder) { $0.nextUpdate = $0.thisUpdate },
        .init("an end before the beginning", .updatesOutOfOrder) {
            $0.nextUpdate = Handmade.time("291231235959Z")
        },
        .init("no time at all", .encoding(.timeMalformed)) {
            ($0.thisUpdate, $0.nextUpdate) = ([], [])
        },
        .init("GeneralizedTime before 2050", .encoding(.timeMalformed)) {
            $0.nextUpdate = Handmade.time("20300102000000Z")
        },
        .init("a fraction of a second", .encoding(.timeMalformed)) {
            $0.nextUpdate = Handmade.tlv(0x18, Array("20500102000000.5Z".utf8))
        },
        .init("three times", .encoding(.trailingBytes)) { $0.nextUpdate += $0.nextUpdate },
        .init("something between entries and extensions", .encoding(.trailingBytes)) {
            $0.rest = Handmade.tlv(0x05, [])
        },
        .init("something after the signature", .encoding(.trailingBytes)) {
            $0.signature += Handmade.tlv(0x05, [])
        },
        .init("a signature of part of a byte", .encoding(.bitStringMalformed)) {
            $0.signature = Handmade.tlv(0x03, [1, 2])
        },
    ]

    private static let rsaWithoutParameters = Handmade.tlv(
        0x30,
        Handmade.tlv(0x06, [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0B])
    )

    private static let entries: [RefusedList] = [
        .init("an empty list of entries written out", .entriesEmpty) {
            $0.revoked = Handmade.tlv(0x30, [])
        },
        .init("serial numbers that descend", .serialsNotAscending) { $0.entries.reverse() },
        .init("a serial number twice", .serialsNotAscending) {
            $0.entries.append($0.entries[2])
        },
        .init("a shorter serial number after a longer one", .serialsNotAscending) {
            $0.entries = [HandmadeList.entry([1, 0]), HandmadeList.entry([0x7F])]
        },
        .init("serial number zero", .serialMalformed) {
            $0.entries = [HandmadeList.entry([0])]
        },
        .init("a negative serial number", .serialMalformed) {
            $0.entries = [HandmadeList.entry([0x80])]
        },
        .init("a serial number of 21 bytes", .serialMalformed) {
            $0.entries = [HandmadeList.entry([UInt8](repeating: 1, count: 21))]
        },
        .init("a serial number with a zero too many", .encoding(.integerMalformed)) {
            $0.entries = [HandmadeList.entry([0, 1])]
        },
        .init("a serial number of no bytes", .encoding(.integerMalformed)) {
            $0.entries = [HandmadeList.entry([])]
        },
        .init("an entry with a reason", .entryExtensions) {
            let reason = Handmade.certificateExtension(
                [0x55, 0x1D, 0x15],
                Handmade.tlv(0x0A, [1])
            )
            $0.entries = [HandmadeList.entry([1], "291231230000Z", Handmade.tlv(0x30, reason))]
        },
        .init("an entry with an empty list of extensions", .entryExtensions) {
            $0.entries = [HandmadeList.entry([1], "291231230000Z", Handmade.tlv(0x30, []))]
        },
        .init("an entry with something else behind", .encoding(.trailingBytes)) {
            $0.entries = [HandmadeList.entry([1], "291231230000Z", Handmade.tlv(0x05, []))]
        },
        .init("an entry without a date", .encoding(.truncated)) {
            $0.entries = [Handmade.tlv(0x30, Handmade.tlv(0x02, [1]))]
        },
        .init("an entry's GeneralizedTime before 2050", .encoding(.timeMalformed)) {
            $0.entries = [HandmadeList.entry([1], "20291231230000Z")]
        },
        .init("something else among the entries", .encoding(.tagUnexpected(0x02))) {
            $0.entries.append(Handmade.tlv(0x02, [1]))
        },
        .init("more entries than the most", .entriesTooMany) {
            $0.entries = (0...CertificateRevocationList.entriesMax).map {
                HandmadeList.entry([1, UInt8($0 >> 16), UInt8($0 >> 8 & 0xFF), UInt8($0 & 0xFF)])
            }
        },
    ]

    private static let extensions: [RefusedList] = [
        .init("no extensions", .authorityKeyIDMissing) { $0.extensions = [] },
        .init("an empty list of extensions", .encoding(.sequenceEmpty)) {
            $0.extensions = []
            $0.rest = Handmade.tlv(0xA0, Handmade.tlv(0x30, []))
        },
        .init("no key identifier", .authorityKeyIDMissing) { $0.extensions.removeFirst() },
        .init("a key identifier that is left out", .authorityKeyIDMissing) {
            $0.extensions[0] = HandmadeList.keyID([])
        },
        .init("a key identifier with a serial number beside it", .encoding(.trailingBytes)) {
            $0.extensions[0] = HandmadeList.keyID(
                Handmade.tlv(0x80, [1, 2, 3]) + Handmade.tlv(0x82, [1])
            )
        },
        .init("a critical key identifier", .criticalExtension) {
            $0.extensions[0] = HandmadeList.keyID(Handmade.tlv(0x80, [1]), critical: true)
        },
        .init("no number", .numberMissing) { $0.extensions.removeLast() },
        .init("a critical number", .criticalExtension) {
            $0.extensions[1] = HandmadeList.number(Handmade.tlv(0x02, [1]), critical: true)
        },
        .init("a negative number", .numberMalformed) {
            $0.extensions[1] = HandmadeList.number(Handmade.tlv(0x02, [0xFF]))
        },
        .init("a number of 21 bytes", .numberMalformed) {
            let number = [UInt8](repeating: 1, count: 21)
            $0.extensions[1] = HandmadeList.number(Handmade.tlv(0x02, number))
        },
        .init("bytes after the number", .encoding(.trailingBytes)) {
            $0.extensions[1] = HandmadeList.number(Handmade.tlv(0x02, [1]) + [5, 0])
        },
        .init("an extension twice", .encoding(.extensionRepeated)) {
            $0.extensions.append($0.extensions[1])
        },
        .init("an unknown extension twice", .encoding(.extensionRepeated)) {
            let unknown = Handmade.certificateExtension([0x2A, 0x03], [5, 0])
            $0.extensions += [unknown, unknown]
        },
        .init("an unknown critical extension", .criticalExtension) {
            $0.extensions.append(
                Handmade.certificateExtension([0x2A, 0x03], critical: true, [5, 0])
            )
        },
        partial("a delta list", 27, critical: true, Handmade.tlv(0x02, [1])),
        partial("a delta list that says it quietly", 27, critical: false, Handmade.tlv(0x02, [1])),
        partial("a distribution point", 28, critical: true, [0x30, 0]),
        partial("a distribution point that is not critical", 28, critical: false, [0x30, 0]),
    ]

    private static func partial(
        _ what: String,
        _ last: UInt8,
        critical: Bool,
        _ value: [UInt8]
    ) -> RefusedList {
        .init(what, .listIsPartial) {
            $0.extensions.append(
                Handmade.certificateExtension([0x55, 0x1D, last], critical: critical, value)
            )
        }
    }
}
