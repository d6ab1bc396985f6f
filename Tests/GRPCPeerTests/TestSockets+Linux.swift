// SPDX-License-Identifier: Apache-2.0

import CLinux
import Foundation
import GRPCCore
import GRPCPeer
import Testing

/// Messages that are their own bytes.
struct BytesCoding: MessageSerializer, MessageDeserializer {
    func serialize<Bytes: GRPCContiguousBytes>(_ message: [UInt8]) throws -> Bytes {
        Bytes(message)
    }

    func deserialize<Bytes: GRPCContiguousBytes>(_ bytes: Bytes) throws -> [UInt8] {
        unsafe bytes.withUnsafeBytes { unsafe Array($0) }
    }
}

/// A directory of its own for the sockets of one test, short enough for a socket address.
func withSocketDirectory<Result>(
    _ body: (String) async throws -> Result
) async throws -> Result {
    let path = "/tmp/signet-\(UInt32.random(in: 0 ... .max))"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
    defer { try? FileManager.default.removeItem(atPath: path) }
    return try await body(path)
}

/// Binds a socket and lets it go without removing the file, as a killed server does.
func leaveStaleSocket(at path: String) throws {
    clinux_close(try listenWithoutLock(at: path))
}

/// Listens as a foreign program would.
func listenWithoutLock(at path: String) throws -> Int32 {
    let descriptor = unsafe clinux_unix_listen(path, 0o600, 1)
    try #require(descriptor >= 0)
    return descriptor
}

/// Status of a path itself; its `error` is an errno.
func status(of path: String) -> clinux_file_status {
    unsafe clinux_status_of_path(path)
}
