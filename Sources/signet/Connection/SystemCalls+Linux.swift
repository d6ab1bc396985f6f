// SPDX-License-Identifier: Apache-2.0

internal import CLinux
internal import Foundation
internal import Glibc

/// What commands ask the system directly.
enum SystemCalls {
    /// 0 if somebody accepts connections at the path of a Unix socket, else errno.
    static func probe(socket path: String) -> Int32 {
        unsafe clinux_unix_probe(path)
    }

    /// Whether something is at a path, or where a link there leads, that is no socket.
    static func isOccupied(_ path: String) -> Bool {
        let target = URL(filePath: path).resolvingSymlinksInPath().path
        let attributes = try? FileManager.default.attributesOfItem(atPath: target)
        return attributes.map { $0[.type] as? FileAttributeType != .typeSocket } ?? false
    }

    /// Longest path of a Unix socket.
    static var socketPathBytesMax: Int { clinux_unix_path_bytes_max() }

    /// `port` if it is free on 127.0.0.1, else one that is; nil if none is.
    static func freePort(preferring port: UInt16) -> UInt16? {
        bind(port: port) ?? bind(port: 0)
    }

    private static func bind(port: UInt16) -> UInt16? {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | O_CLOEXEC, 0)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        // As servers do: a connection of the last run that lingers does not occupy the port.
        var yes: Int32 = 1
        let size = socklen_t(MemoryLayout<sockaddr_in>.size)
        unsafe setsockopt(
            descriptor,
            SOL_SOCKET,
            SO_REUSEADDR,
            &yes,
            socklen_t(MemoryLayout<Int32>.size)
        )
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = size
        let bound = unsafe withUnsafeMutablePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe Glibc.bind(descriptor, $0, size) == 0
                    && getsockname(descriptor, $0, &length) == 0
            }
        }
        return bound ? UInt16(bigEndian: address.sin_port) : nil
    }

    /// What an errno value means.
    static func text(ofErrno number: Int32) -> String {
        unsafe strerror(number).map { unsafe String(cString: $0) } ?? "error \(number)"
    }
}
