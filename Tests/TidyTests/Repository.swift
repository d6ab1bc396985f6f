// SPDX-License-Identifier: Apache-2.0

import Foundation

/// The files of the repository that holds these tests.
enum Repository {
    /// Three levels up from this file.
    static let root: String = {
        var parts = #filePath.split(separator: "/").dropLast(3)
        // Keeps a leading slash, and no trailing one.
        parts.prepend("")
        return parts.joined(separator: "/")
    }()

    /// Every hand-written Swift file of Sources, cut once for all tests.
    static let sources: [SwiftSource] = swiftFiles(under: "Sources")
    /// Every Swift file of Tests.
    static let tests: [SwiftSource] = swiftFiles(under: "Tests")

    /// Folders and files that are no part of what a reader sees.
    private static let skipped: Set<String> = [".git", ".signet", "Generated", "__pycache__"]

    /// The file's text, or nil when there is no such text file.
    static func text(_ path: String) -> String? {
        guard let data = FileManager.default.contents(atPath: root + "/" + path) else { return nil }
        return String(data: data, encoding: .utf8)
    }

    static func exists(_ path: String) -> Bool {
        FileManager.default.fileExists(atPath: root + "/" + path)
    }

    /// Paths, from the root, of all files under a folder of the repository, sorted; "" is the root.
    static func files(under folder: String) -> [String] {
        names(in: folder).flatMap { names in
            names.flatMap { name -> [String] in
                if skipped.contains(name) || name.hasPrefix(".build") { return [] }
                let path = folder.isEmpty ? name : folder + "/" + name
                return self.names(in: path) == nil ? [path] : files(under: path)
            }
        } ?? []
    }

    /// The names in a folder; nil for what is no folder.
    private static func names(in folder: String) -> [String]? {
        (try? FileManager.default.contentsOfDirectory(atPath: root + "/" + folder))?.sorted()
    }

    private static func swiftFiles(under folder: String) -> [SwiftSource] {
        files(under: folder).filter { $0.hasSuffix(".swift") }.compactMap { path in
            text(path).map { SwiftSource(path: path, text: $0) }
        }
    }
}

extension ArraySlice<Substring> {
    fileprivate mutating func prepend(_ part: Substring) { insert(part, at: startIndex) }
}
