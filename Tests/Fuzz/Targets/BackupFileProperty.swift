// SPDX-License-Identifier: Apache-2.0

import Backup
import Issuance

/// A backup opens only as what was encrypted, and its manifest has one form.
enum BackupFileProperty {
    private static let passphrase = Array("fuzz".utf8)

    static func check(_ input: [UInt8]) throws(PropertyBroken) -> Bool {
        // As it is: nobody without the passphrase writes a file that opens. A dear one only takes
        // longer.
        if input.dropFirst(8).first ?? 0 <= SealedKey.Cost.logarithmMin {
            try expect(opened(input) == nil, "a backup opens that nobody encrypted")
        }
        // As the content of a file that opens.
        let (file, last) = try sealed(input)
        let content = opened(file)
        let manifest = manifest(in: input)
        try expect(content?.manifest == manifest?.value, "the manifest read is not the one inside")
        if let content, let manifest {
            try expect(
                content.database == Array(input.dropFirst(manifest.end)),
                "the database read is not the one inside"
            )
            let again = BackupFile.preamble(content.manifest)
            try expect(input.starts(with: again), "a manifest has two forms")
        }
        // Without its last piece it is a part.
        try expect(
            opened(Array(file.dropLast(last))) == nil,
            "a backup opens whose end is missing"
        )
        return content != nil
    }

    private static func sealed(
        _ content: [UInt8]
    ) throws(PropertyBroken) -> (file: [UInt8], last: Int) {
        try expectSuccess("what is short is encrypted") {
            var generator = FixedSalt()
            var sealer = try BackupSealer(passphrase: passphrase, cost: .least, using: &generator)
            var file = sealer.header
            for piece in try sealer.seal(content) { file += piece }
            let last = try sealer.finish()
            return (file + last, last.count)
        }
    }

    private static func opened(
        _ file: [UInt8]
    ) -> (manifest: BackupManifest, database: [UInt8])? {
        var rest = file[...]
        var database: [UInt8] = []
        let manifest = try? BackupFile.open(
            passphrase: passphrase,
            next: { count in
                defer { rest = rest.dropFirst(count) }
                return Array(rest.prefix(count))
            },
            database: { database += $0 }
        )
        return manifest.map { ($0, database) }
    }

    /// The manifest that a content begins with, found in another way.
    private static func manifest(in content: [UInt8]) -> (value: BackupManifest, end: Int)? {
        guard content.count >= 4, content[0] == 0 else { return nil }
        let length = Int(content[1]) * 65_536 + Int(content[2]) * 256 + Int(content[3])
        guard content.count >= 4 + length else { return nil }
        return (try? BackupManifest(parsing: Array(content[4..<4 + length]))).map {
            ($0, 4 + length)
        }
    }

    private struct FixedSalt: RandomNumberGenerator {
        mutating func next() -> UInt64 { 7 }
    }
}
