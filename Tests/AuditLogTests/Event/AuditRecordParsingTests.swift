// SPDX-License-Identifier: Apache-2.0

import AuditLog
import TestSeeds
import Testing

@Suite struct AuditRecordParsingTests {
    static let time = #""time":"2026-01-02T03:04:05.678Z""#

    @Test(arguments: [
        (#"{}"#, AuditRecordParsingError.fieldMalformed("v")),
        (#"[]"#, .notObject),
        (#"{"v":2}"#, .versionUnknown(2)),
        (#"{"v":"1"}"#, .fieldMalformed("v")),
        (#"{"v":1}"#, .fieldMissing("actor")),
        (#"{"actor":1,"v":1}"#, .fieldMalformed("actor")),
        (#"{"actor":"root","v":1}"#, .fieldMalformed("actor")),
        (#"{"actor":"uid:-1@h","v":1}"#, .fieldMalformed("actor")),
        (#"{"actor":"uid:0","v":1}"#, .fieldMalformed("actor")),
        (#"{"actor":"person:x","v":1}"#, .fieldMalformed("actor")),
        (#"{"actor":"system:x","v":1}"#, .fieldMissing("time")),
        (
            #"{"actor":"system:x","time":"2026-01-02T03:04:05Z","v":1}"#,
            .fieldMalformed("time")
        ),
        (#"{"actor":"system:x",\#(time),"v":1}"#, .fieldMissing("event")),
        (
            #"{"actor":"system:x","event":"moonLanded",\#(time),"v":1}"#,
            .eventUnknown("moonLanded")
        ),
        (
            #"{"actor":"system:x","event":"authorityRemoved",\#(time),"v":1}"#,
            .fieldMissing("authority")
        ),
        (
            #"{"actor":"system:x","authority":"AB","event":"authorityRemoved",\#(time),"v":1}"#,
            .fieldMalformed("authority")
        ),
        (
            #"{"actor":"system:x","authority":"abc","event":"authorityRemoved",\#(time),"v":1}"#,
            .fieldMalformed("authority")
        ),
        (
            #"{"actor":"system:x","authority":"ab","event":"authorityRemoved",\#(time),"v":1,"w":1}"#,
            .fieldUnknown("w")
        ),
        (
            #"{"actor":"uid:00@h","authority":"ab","event":"authorityRemoved",\#(time),"v":1}"#,
            .notCanonical
        ),
        (
            #"{"actor":"system:x","authority":"ab","event":"authorityRemoved","part":2,\#(time),"v":1}"#,
            .fieldMissing("parts")
        ),
        (
            #"{"actor":"system:x","authority":"ab","event":"authorityRemoved","part":3,"parts":2,\#(time),"v":1}"#,
            .fieldMalformed("part")
        ),
    ])
    func `a leaf that breaks a rule is refused by its name`(
        json: String,
        expected: AuditRecordParsingError
    ) {
        #expect(throws: expected) { try AuditRecord(parsing: Array(json.utf8)) }
    }

    @Test func `an unknown field inside a list is refused`() throws {
        let golden = try #require(GoldenRecord.all.first { $0.json.contains("\"svids\"") })
        let json = golden.json.replacing(#""tbsSHA256""#, with: #""tbs":1,"tbsSHA256""#)
        #expect(throws: AuditRecordParsingError.fieldUnknown("tbs")) {
            try AuditRecord(parsing: Array(json.utf8))
        }
    }

    /// Leaves of versions that did not say what the key is stay what they were.
    @Test func `a prepared authority may say nothing of its key, or all`() throws {
        let golden = try #require(GoldenRecord.all.first { $0.json.contains("\"keyType\"") })
        let (storage, type) = (#""keyStorage":"encrypted","#, #""keyType":"ec-p256","#)
        let former = golden.json.replacing(storage, with: "").replacing(type, with: "")
        let record = try AuditRecord(parsing: Array(former.utf8))
        guard case .authorityPrepared(let preparation) = record.event else {
            Issue.record("\(record.event.name)")
            return
        }
        #expect(preparation.key == nil)
        #expect(try record.leaves().map(\.bytes) == [Array(former.utf8)])
        for half in [storage, type] {
            let json = golden.json.replacing(half, with: "")
            #expect(throws: AuditRecordParsingError.self) {
                try AuditRecord(parsing: Array(json.utf8))
            }
        }
    }

    /// Leaves of versions that had the hash of the certificate alone stay what they were.
    @Test func `a prepared authority may have its certificate, in one form`() throws {
        let golden = try #require(GoldenRecord.all.first { $0.json.contains("\"certificate\"") })
        let (certificate, key) = (#""certificate":"MAMCAQU=","#, #""tokenKey":"AQID","#)
        let former = golden.json.replacing(certificate, with: "").replacing(key, with: "")
        let record = try AuditRecord(parsing: Array(former.utf8))
        guard case .authorityPrepared(let preparation) = record.event else {
            Issue.record("\(record.event.name)")
            return
        }
        #expect(preparation.certificate == nil && preparation.tokenKey == nil)
        #expect(try record.leaves().map(\.bytes) == [Array(former.utf8)])
        // Without padding, with bits that mean nothing, in hexadecimal with a mark.
        for other in ["MAMCAQU", "MAMCAQV=", "30:03"] {
            let json = golden.json.replacing("MAMCAQU=", with: other)
            #expect(throws: AuditRecordParsingError.fieldMalformed("certificate")) {
                try AuditRecord(parsing: Array(json.utf8))
            }
        }
    }

    @Test func `text longer than a leaf may hold is refused`() {
        let reason = String(repeating: "x", count: 1025)
        let json =
            #"{"actor":"system:x","event":"requestRefused","reason":"\#(reason)","#
            + #"\#(Self.time),"v":1,"what":"sign"}"#
        #expect(throws: AuditRecordParsingError.notCanonical) {
            try AuditRecord(parsing: Array(json.utf8))
        }
        let large = [UInt8](repeating: 0x20, count: AuditRecord.bytesMax + 1)
        #expect(throws: AuditRecordParsingError.tooLarge(bytes: large.count)) {
            try AuditRecord(parsing: large)
        }
    }

    @Test func `no cut leaf is read`() {
        for golden in GoldenRecord.all {
            let bytes = Array(golden.json.utf8)
            for count in 0..<bytes.count {
                #expect(throws: AuditRecordParsingError.self) {
                    try AuditRecord(parsing: Array(bytes.prefix(count)))
                }
            }
        }
    }

    /// Whatever arrives, it is refused or it is exactly one leaf's only encoding.
    @Test(arguments: Array(1...17) as [UInt64])
    func `mangled leaves never trap, and what is read is canonical`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let golden = GoldenRecord.all[Int(seed - 1) % GoldenRecord.all.count]
        let bytes = Array(golden.json.utf8)
        var readable = 0
        for _ in 0..<600 {
            let mangled = Mutation.of(bytes, using: &random)
            guard let leaf = try? AuditLeaf(parsing: mangled) else { continue }
            readable += 1
            #expect(leaf.bytes == mangled)
        }
        // Some changes only touch a text, so the test reaches both sides.
        #expect(readable > 0)
        #expect(readable < 600)
    }
}
