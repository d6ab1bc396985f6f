// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import SPIFFE
import TestPKI
import TestSeeds
import Testing
import X509

@Suite struct RevocationListTests {
    typealias Handmade = HandmadeCertificate

    private static let newYear2030 = Date(timeIntervalSince1970: 1_893_456_000)

    private func read(
        _ change: (inout HandmadeList) -> Void = { _ in }
    ) throws -> CertificateRevocationList {
        var list = HandmadeList()
        change(&list)
        return try CertificateRevocationList(der: list.der)
    }

    @Test func `the fields are read as they were written`() throws {
        let handmade = HandmadeList()
        let list = try read()
        #expect(list.der == handmade.der)
        #expect(list.tbsBytes == handmade.tbs)
        #expect(list.issuer == Handmade.name("issuer"))
        #expect(list.thisUpdate == Self.newYear2030)
        #expect(list.nextUpdate == Self.newYear2030.addingTimeInterval(86_400))
        #expect(list.authorityKeyID == [1, 2, 3])
        #expect(list.number == [0x71])
        #expect(list.count == 3)
        #expect(list.entries.map(\.serial) == [[0x23], [0x01, 0x23], [0x01, 0x24]])
        let hourBefore = Self.newYear2030.addingTimeInterval(-3600)
        #expect(list.entries.allSatisfy { $0.revokedAt == hourBefore })
        #expect(list.revocationDate(of: [0x01, 0x23]) == hourBefore)
        #expect(list.revocationDate(of: [0x01, 0x22]) == nil)
    }

    @Test func `a list without entries revokes nothing`() throws {
        let list = try read { $0.entries = [] }
        #expect(list.count == 0)
        #expect(list.entries.isEmpty)
        #expect(!list.contains([1]))
        #expect(!list.contains([]))
    }

    @Test func `a serial number is found whatever zeros are before it`() throws {
        let list = try read {
            $0.entries = [HandmadeList.entry([0x7F]), HandmadeList.entry([0x00, 0x80])]
        }
        #expect(list.entries.map(\.serial) == [[0x7F], [0x80]])
        #expect(list.contains([0x80]))
        #expect(list.contains([0x00, 0x80]))
        #expect(list.contains([0x7F]))
        #expect(!list.contains([0x80, 0x00]))
        #expect(!list.contains([]))
    }

    @Test func `the longest serial number and the longest number are read`() throws {
        let longest = [UInt8](repeating: 0xFF, count: 20)
        let list = try read {
            $0.entries = [HandmadeList.entry([0x00] + longest)]
            let number = [0x7F] + [UInt8](repeating: 0, count: 19)
            $0.extensions[1] = HandmadeList.number(Handmade.tlv(0x02, number))
        }
        #expect(list.contains(longest))
        #expect(list.number.count == CertificateRevocationList.numberBytesMax)
        #expect(try read { $0.extensions[1] = HandmadeList.number([0x02, 1, 0]) }.number == [])
    }

    @Test func `GeneralizedTime is read from 2050 on, and is demanded then`() throws {
        let late = try read {
            $0.thisUpdate = Handmade.time("491231235959Z")
            $0.nextUpdate = Handmade.time("20500101000000Z")
            $0.entries = [HandmadeList.entry([1], "20500101000000Z")]
        }
        #expect(late.nextUpdate.timeIntervalSince(late.thisUpdate) == 1)
        #expect(late.revocationDate(of: [1]) == late.nextUpdate)
    }

    @Test func `an extension that is unknown and not critical is read past`() throws {
        let list = try read {
            $0.extensions.append(Handmade.certificateExtension([0x2A, 0x03], [5, 0]))
        }
        #expect(list.count == 3)
    }

    @Test(arguments: RefusedList.all)
    func `a list that breaks a rule is refused by its name`(_ refused: RefusedList) {
        var list = HandmadeList()
        refused.spoil(&list)
        #expect(throws: refused.error) { try CertificateRevocationList(der: list.der) }
    }

    @Test func `a list above the largest size is refused`() throws {
        let bytes = [UInt8](repeating: 0x30, count: CertificateRevocationList.bytesMax + 1)
        #expect(throws: RevocationListError.tooLong) { try CertificateRevocationList(der: bytes) }
    }

    @Test func `every prefix of a list is refused, and every byte after it`() throws {
        let der = HandmadeList().der
        for count in der.indices {
            #expect(throws: RevocationListError.self) {
                try CertificateRevocationList(der: Array(der[..<count]))
            }
        }
        #expect(throws: RevocationListError.encoding(.trailingBytes)) {
            try CertificateRevocationList(der: der + [0])
        }
    }

    @Test func `the longest list is read, with lengths of three bytes`() throws {
        let count = CertificateRevocationList.entriesMax
        let list = try read {
            $0.entries = (0..<count).map {
                let end = [UInt8($0 >> 8), UInt8($0 & 0xFF)]
                // 19 bytes, and one that keeps the number positive.
                return HandmadeList.entry([0, 0xFF] + [UInt8](repeating: 7, count: 17) + end)
            }
        }
        #expect(list.der.count > 400_000)
        #expect(list.der.count < CertificateRevocationList.bytesMax)
        #expect(list.count == count)
        let first = [0xFF] + [UInt8](repeating: 7, count: 17)
        #expect(list.contains(first + [0, 0]))
        #expect(list.contains(first + [UInt8((count - 1) >> 8), UInt8((count - 1) & 0xFF)]))
        #expect(!list.contains(first + [UInt8(count >> 8), UInt8(count & 0xFF)]))
    }

    @Test func `a length of three bytes is the shortest, and none is longer`() throws {
        let small = Array(HandmadeList().der.dropFirst(3))
        #expect(small.count < 0x100)
        for length: [UInt8] in [
            [0x83, 0, 0, UInt8(small.count)], [0x83, 0, 1, UInt8(small.count)],
        ] {
            #expect(throws: RevocationListError.encoding(.lengthNotMinimal)) {
                try CertificateRevocationList(der: [0x30] + length + small)
            }
        }
        #expect(throws: RevocationListError.encoding(.truncated)) {
            try CertificateRevocationList(der: [0x30, 0x84, 0, 0, 0, UInt8(small.count)] + small)
        }
        #expect(throws: RevocationListError.encoding(.truncated)) {
            try CertificateRevocationList(der: [0x30, 0x83, 0xFF, 0xFF, 0xFF] + small)
        }
    }

    @Test func `certificates have lengths of two bytes as before`() throws {
        let der = HandmadeCertificate().der
        // Tag, and length of one, two or three bytes.
        let inside = Array(der.dropFirst(der[1] < 0x80 ? 2 : 2 + Int(der[1] & 0x7F)))
        let length = [UInt8(inside.count >> 8), UInt8(inside.count & 0xFF)]
        #expect(throws: LeafCertificateError.truncated) {
            try LeafCertificate(der: [0x30, 0x83, 0] + length + inside)
        }
        #expect(throws: LeafCertificateError.truncated) {
            try LeafCertificate(der: [0x30, 0x83, 1, 0, 0] + [UInt8](repeating: 5, count: 9_000))
        }
    }

    @Test func `a list is no certificate, and a certificate is no list`() throws {
        #expect(throws: LeafCertificateError.self) { try LeafCertificate(der: HandmadeList().der) }
        #expect(throws: RevocationListError.self) {
            try CertificateRevocationList(der: HandmadeCertificate().der)
        }
        // Nor with the parts of the one in the place of the other's.
        var list = HandmadeList()
        list.version = HandmadeCertificate().version + HandmadeCertificate().serial
        #expect(throws: LeafCertificateError.self) { try LeafCertificate(der: list.der) }
    }

    @Test(arguments: UInt64(1)...20)
    func `exactly what is on a list is found on it`(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        var numbers: Set<UInt64> = []
        for _ in 0..<Int.random(in: 1...300, using: &generator) {
            let bits = Int.random(in: 1...63, using: &generator)
            numbers.insert(UInt64.random(in: 1..<(1 << UInt64(bits)), using: &generator) | 1)
        }
        func bytes(_ number: UInt64) -> [UInt8] {
            let all = stride(from: 56, through: 0, by: -8).map {
                UInt8(truncatingIfNeeded: number >> UInt64($0))
            }
            return Array(all.drop { $0 == 0 })
        }
        let list = try read {
            $0.entries = numbers.sorted().map { number in
                let magnitude = bytes(number)
                return HandmadeList.entry((magnitude[0] >= 0x80 ? [0] : []) + magnitude)
            }
        }
        #expect(list.count == numbers.count)
        for number in numbers {
            #expect(list.contains(bytes(number)))
            for other in [number - 1, number + 1] where !numbers.contains(other) {
                #expect(!list.contains(bytes(other)))
            }
        }
    }
}
