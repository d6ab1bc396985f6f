// SPDX-License-Identifier: Apache-2.0

internal import ControlAPIProtos
internal import DurableFiles
internal import Foundation
internal import SwiftProtobuf

/// Reading what `-f` names.
enum SourceFiles {
    /// Largest sum of all files of one apply, below the server's message limit.
    static let bytesMax = 3 * 1024 * 1024
    /// How often standard input is asked for more; each answer has a few KiB at least, so that this
    /// is far above what `bytesMax` takes.
    private static let readsMax = 1 << 20

    /// Reads files and folders in the order typed; `-` is standard input.
    ///
    /// - Throws: `CommandFailure` naming the file that cannot be sent, and why.
    static func read(_ paths: [String]) throws -> [Signet_Admin_V1alpha1_SourceFile] {
        var files: [Signet_Admin_V1alpha1_SourceFile] = []
        var left = bytesMax
        for path in try paths.flatMap(expand) {
            let bytes =
                path == "-" ? try standardInput(bytesMax: left) : try file(path, bytesMax: left)
            left -= bytes.count
            guard let content = String(validating: bytes, as: UTF8.self) else {
                throw CommandFailure(
                    "\(path) is not UTF-8 text",
                    remedy: "Documents are YAML or JSON; is it the right file?"
                )
            }
            files.append(
                .with {
                    $0.name = path == "-" ? "standard input" : path
                    $0.content = JSONList.documents(content)
                }
            )
        }
        return files
    }

    private static func file(_ path: String, bytesMax: Int) throws -> [UInt8] {
        do throws(FileError) {
            return try DurableFile.read(path, bytesMax: bytesMax)
        } catch {
            switch error.reason {
            case .tooLarge: throw tooLarge(path)
            case .notRegularFile:
                throw CommandFailure(
                    "\(path) is not a file",
                    remedy: "For what a program writes, use -: program | signet apply -f -"
                )
            default:
                throw CommandFailure(
                    "\(error)",
                    remedy: "Check the path after -f and who may read it."
                )
            }
        }
    }

    private static func standardInput(bytesMax: Int) throws -> [UInt8] {
        var bytes: [UInt8] = []
        for _ in 0..<readsMax {
            let more = FileHandle.standardInput.availableData
            if more.isEmpty { return bytes }
            bytes += more
            guard bytes.count <= bytesMax else { throw tooLarge("standard input") }
        }
        throw tooLarge("standard input")
    }

    private static func tooLarge(_ path: String) -> CommandFailure {
        CommandFailure(
            "with \(path) the files hold more than \(bytesMax >> 20) MiB",
            remedy: "Apply them in parts."
        )
    }

    private static func expand(_ path: String) throws -> [String] {
        guard path != "-" else { return [path] }
        guard FileManager.default.fileExists(atPath: path) else {
            throw CommandFailure(
                "there is no file or folder \(path)",
                remedy: "Check the path after -f."
            )
        }
        guard let entries = try? FileManager.default.contentsOfDirectory(atPath: path) else {
            return [path]
        }
        let names = entries.sorted().filter { name in
            [".yaml", ".yml", ".json"].contains { name.hasSuffix($0) }
        }
        guard !names.isEmpty else {
            throw CommandFailure(
                "\(path) holds no *.yaml, *.yml or *.json file",
                remedy: "Folders below it are not read; name them with further -f."
            )
        }
        return names.map { path.hasSuffix("/") ? "\(path)\($0)" : "\(path)/\($0)" }
    }
}
