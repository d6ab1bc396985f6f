// SPDX-License-Identifier: Apache-2.0

import AuditLog
import Testing

@Suite struct NoteVerifierKeyTests {
    /// Keys published by others, in the text form that every implementation shares.
    static let published = [
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8",
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop",
        "TEST+7997405c+AQcC+FTVKf0jlTdHDY3rbevmnKxxPjigCXlVtGe6RIr6",
    ]

    @Test(arguments: published)
    func `published keys are read and written back`(text: String) throws {
        let key = try NoteVerifierKey(parsing: text)
        #expect(key.description == text)
        #expect(key.publicKey.count == 32)
        #expect(try NoteVerifierKey(name: key.name, publicKey: key.publicKey) == key)
    }

    @Test(arguments: published)
    func `no altered or cut key is read`(text: String) {
        let bytes = Array(text.utf8)
        for position in bytes.indices {
            for bit in 0..<8 {
                var altered = bytes
                altered[position] ^= 1 << UInt8(bit)
                let text = String(decoding: altered, as: UTF8.self)
                #expect(throws: NoteVerifierKeyError.self) { try NoteVerifierKey(parsing: text) }
            }
            let start = String(decoding: bytes[..<position], as: UTF8.self)
            #expect(throws: NoteVerifierKeyError.self) { try NoteVerifierKey(parsing: start) }
        }
    }

    @Test func `each rule is named`() throws {
        func error(_ text: String) -> NoteVerifierKeyError? {
            #expect(throws: NoteVerifierKeyError.self) { try NoteVerifierKey(parsing: text) }
        }
        let key = "ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
        #expect(error("") == .notThreeParts)
        #expect(error("PeterNeumann+\(key)") == .notThreeParts)
        #expect(error("+c74f20a3+\(key)") == .nameMalformed)
        #expect(error("Peter Neumann+c74f20a3+\(key)") == .nameMalformed)
        #expect(error("Pet\u{E9}r+c74f20a3+\(key)") == .nameMalformed)
        #expect(error("PeterNeumann+c74f20a4+\(key)") == .keyIDDiffers)
        #expect(error("PeterNeumann+C74F20A3+\(key)") == .keyIDDiffers)
        #expect(error("PeterNeumann+c74f20a3+\(key)=") == .keyMalformed)
        #expect(error("PeterNeumann+c74f20a3+ARpc2Qc=") == .keyMalformed)
        #expect(
            error("remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2")
                == .algorithmNotEd25519
        )
    }
}
