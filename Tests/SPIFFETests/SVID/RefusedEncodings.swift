// SPDX-License-Identifier: Apache-2.0

import SPIFFE

extension RefusedEncoding {
    private typealias Handmade = HandmadeCertificate

    static let all = fields + values + extensions

    private static let fields: [RefusedEncoding] = [
        .init("no version", .versionNot3) { $0.version = [] },
        .init("version 1 written out", .versionNot3) {
            $0.version = Handmade.tlv(0xA0, Handmade.tlv(0x02, [0]))
        },
        .init("version 2", .versionNot3) {
            $0.version = Handmade.tlv(0xA0, Handmade.tlv(0x02, [1]))
        },
        .init("version 4", .versionNot3) {
            $0.version = Handmade.tlv(0xA0, Handmade.tlv(0x02, [3]))
        },
        .init("two versions", .trailingBytes) {
            $0.version = Handmade.tlv(0xA0, Handmade.tlv(0x02, [2]) + Handmade.tlv(0x02, [2]))
        },
        .init("no serial number", .tagUnexpected(0x30)) { $0.serial = [] },
        .init("two serial numbers", .tagUnexpected(0x02)) { $0.serial += $0.serial },
        .init("different algorithms", .signatureAlgorithmsDiffer) {
            $0.outerAlgorithm = Handmade.tlv(0x30, Handmade.tlv(0x06, [0x2B, 0x65, 0x70]))
        },
        .init("algorithm with two parameters", .trailingBytes) {
            let null = Handmade.tlv(0x05, [])
            let both = Handmade.tlv(0x30, Handmade.tlv(0x06, [0x2B, 0x65, 0x70]) + null + null)
            $0.algorithm = both
            $0.outerAlgorithm = both
        },
        .init("empty relative name", .sequenceEmpty) {
            $0.subject = Handmade.tlv(0x30, Handmade.tlv(0x31, []))
        },
        .init("relative name without type", .tagUnexpected(0x0C)) {
            let attribute = Handmade.tlv(0x30, Handmade.tlv(0x0C, [0x61]))
            $0.issuer = Handmade.tlv(0x30, Handmade.tlv(0x31, attribute))
        },
        .init("one time only", .truncated) {
            $0.validity = Handmade.tlv(0x30, Handmade.time("300101000000Z"))
        },
        .init("three times", .trailingBytes) {
            let time = Handmade.time("300101000000Z")
            $0.validity = Handmade.tlv(0x30, time + time + time)
        },
        .init("an integer for a time", .timeMalformed) {
            $0.validity = Handmade.tlv(0x30, Handmade.tlv(0x02, [1]) + Handmade.tlv(0x02, [1]))
        },
        .init("no key", .tagUnexpected(0xA3)) { $0.publicKey = [] },
        .init("key of no bytes", .bitStringMalformed) {
            let algorithm = Handmade.tlv(0x30, Handmade.tlv(0x06, [0x2B, 0x65, 0x70]))
            $0.publicKey = Handmade.tlv(0x30, algorithm + Handmade.tlv(0x03, [0]))
        },
        .init("key of half a byte", .bitStringMalformed) {
            let algorithm = Handmade.tlv(0x30, Handmade.tlv(0x06, [0x2B, 0x65, 0x70]))
            $0.publicKey = Handmade.tlv(0x30, algorithm + Handmade.tlv(0x03, [4, 0xF0]))
        },
        .init("unique identifier", .trailingBytes) {
            $0.uniqueIdentifiers = Handmade.tlv(0x81, [0, 1])
        },
        .init("something after the signature", .trailingBytes) {
            $0.signature += Handmade.tlv(0x05, [])
        },
        .init("signature of no bytes at all", .bitStringMalformed) {
            $0.signature = Handmade.tlv(0x03, [])
        },
    ]

    private static let values: [RefusedEncoding] = [
        .init("empty integer", .integerMalformed) { $0.serial = Handmade.tlv(0x02, []) },
        .init("integer with a zero too many", .integerMalformed) {
            $0.serial = Handmade.tlv(0x02, [0, 1])
        },
        .init("negative integer with a byte too many", .integerMalformed) {
            $0.serial = Handmade.tlv(0x02, [0xFF, 0x80])
        },
        .init("length in BER's long form", .lengthNotMinimal) { $0.serial = [0x02, 0x81, 1, 5] },
        .init("length with a leading zero", .lengthNotMinimal) {
            $0.serial = [0x02, 0x82, 0, 1, 5]
        },
        .init("two length bytes where one would do", .lengthNotMinimal) {
            $0.serial = [0x02, 0x82, 0, 0x80] + [UInt8](repeating: 1, count: 0x80)
        },
        .init("indefinite length", .lengthNotMinimal) { $0.subject = [0x30, 0x80, 0, 0] },
        .init("reserved length", .lengthNotMinimal) { $0.subject = [0x30, 0xFF] },
        .init("length of eight bytes", .truncated) {
            $0.subject = [0x30, 0x88, 0x7F] + [UInt8](repeating: 0xFF, count: 7)
        },
        .init("length beyond the end", .truncated) { $0.subject = [0x30, 0x82, 0xFF, 0xFF] },
        .init("tag of two bytes", .tagMultibyte) {
            let attribute = Handmade.tlv(0x30, Handmade.tlv(0x06, [0x55, 4, 3]) + [0x1F, 0x20, 0])
            $0.subject = Handmade.tlv(0x30, Handmade.tlv(0x31, attribute))
        },
        .init("object identifier of no bytes", .objectIdentifierMalformed) {
            $0.extensions.append(Handmade.certificateExtension([], [5, 0]))
        },
        .init("object identifier that does not end", .objectIdentifierMalformed) {
            $0.extensions.append(Handmade.certificateExtension([0x55, 0x9D], [5, 0]))
        },
        .init("object identifier with a padded number", .objectIdentifierMalformed) {
            $0.extensions.append(Handmade.certificateExtension([0x55, 0x80, 0x1D], [5, 0]))
        },
    ]

    private static let extensions: [RefusedEncoding] = [
        .init("empty list of extensions", .sequenceEmpty) {
            $0.extensions = []
            $0.uniqueIdentifiers = Handmade.tlv(0xA3, Handmade.tlv(0x30, []))
        },
        .init("extension twice", .extensionRepeated) { $0.extensions.append($0.extensions[1]) },
        .init("unknown extension twice", .extensionRepeated) {
            let unknown = Handmade.certificateExtension([0x2A, 0x03], [5, 0])
            $0.extensions += [unknown, unknown]
        },
        .init("33 extensions", .extensionsTooMany) {
            $0.extensions = (0..<33).map { Handmade.certificateExtension([0x2A, $0], [5, 0]) }
        },
        .init("critical FALSE written out", .defaultEncoded) {
            $0.extensions[1] = Handmade.tlv(
                0x30,
                Handmade.tlv(0x06, Handmade.alternativeNameOID) + Handmade.tlv(0x01, [0])
                    + Handmade.tlv(0x04, Handmade.tlv(0x30, Handmade.uri("spiffe://td/a")))
            )
        },
        .init("critical neither true nor false", .booleanMalformed) {
            $0.extensions[1] = Handmade.tlv(
                0x30,
                Handmade.tlv(0x06, Handmade.alternativeNameOID) + Handmade.tlv(0x01, [1])
                    + Handmade.tlv(0x04, Handmade.tlv(0x30, Handmade.uri("spiffe://td/a")))
            )
        },
        extended("critical of two bytes", .booleanMalformed, [0x2A, 3], []) {
            Handmade.tlv(0x30, Handmade.tlv(0x06, $0) + Handmade.tlv(1, [0xFF, 0xFF]))
        },
        extended(
            "cA FALSE written out",
            .defaultEncoded,
            Handmade.basicConstraintsOID,
            [
                0x30, 3, 1, 1, 0,
            ]
        ),
        extended(
            "path length without cA",
            .integerMalformed,
            Handmade.basicConstraintsOID,
            [
                0x30, 3, 2, 1, 0,
            ]
        ),
        extended(
            "negative path length",
            .integerMalformed,
            Handmade.basicConstraintsOID,
            [
                0x30, 6, 1, 1, 0xFF, 2, 1, 0xFF,
            ]
        ),
        extended(
            "bytes after basic constraints",
            .trailingBytes,
            Handmade.basicConstraintsOID,
            [
                0x30, 0, 5, 0,
            ]
        ),
        extended(
            "empty extended key usage",
            .sequenceEmpty,
            Handmade.extendedKeyUsageOID,
            [
                0x30, 0,
            ]
        ),
        extended(
            "key identifier not an octet string",
            .tagUnexpected(5),
            Handmade.subjectKeyIDOID,
            [5, 0]
        ),
        extended(
            "authority key identifier out of order",
            .trailingBytes,
            Handmade.authorityKeyIDOID,
            [0x30, 6, 0x82, 1, 1, 0x80, 1, 1]
        ),
        keyUsage("key usage with unused bits set", [7, 0xC0]),
        keyUsage("key usage with trailing zero bits", [0, 0x80]),
        keyUsage("key usage with an empty last byte", [0, 0x80, 0]),
        keyUsage("key usage with eight unused bits", [8, 0x80]),
        keyUsage("key usage with unused bits of nothing", [1]),
        keyUsage("key usage of three bytes", [0, 0x80, 0, 1]),
        keyUsage("key usage of no bytes", []),
        names("no names", .sequenceEmpty, []),
        names("a name that is not 7-bit", .nameNotIA5, [0x86, 1, 0x80]),
        names("a DNS name that is not 7-bit", .nameNotIA5, [0x82, 2, 0xC3, 0xA9]),
        names("a constructed URI", .tagUnexpected(0xA6), [0xA6, 3, 0x16, 1, 0x61]),
        names("a name of no known form", .tagUnexpected(0x89), [0x89, 0]),
        names("a universal string", .tagUnexpected(0x16), [0x16, 1, 0x61]),
        names("a name cut off", .truncated, [0x86, 5, 0x61]),
    ]

    private static func extended(
        _ what: String,
        _ error: LeafCertificateError,
        _ identifier: [UInt8],
        _ value: [UInt8],
        _ encode: (@Sendable ([UInt8]) -> [UInt8])? = nil
    ) -> RefusedEncoding {
        .init(what, error) {
            $0.extensions.append(
                encode?(identifier) ?? Handmade.certificateExtension(identifier, value)
            )
        }
    }

    private static func keyUsage(_ what: String, _ bits: [UInt8]) -> RefusedEncoding {
        .init(what, .bitStringMalformed) {
            $0.extensions[0] = Handmade.certificateExtension(
                Handmade.keyUsageOID,
                Handmade.tlv(0x03, bits)
            )
        }
    }

    private static func names(
        _ what: String,
        _ error: LeafCertificateError,
        _ list: [UInt8]
    ) -> RefusedEncoding {
        .init(what, error) {
            $0.extensions[1] = Handmade.certificateExtension(
                Handmade.alternativeNameOID,
                Handmade.tlv(0x30, list)
            )
        }
    }
}
