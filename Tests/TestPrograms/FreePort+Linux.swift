// SPDX-License-Identifier: Apache-2.0

internal import Glibc
internal import Synchronization

/// What the kernel tells a test of its place.
package enum FreePort {
    /// The effective user of the tests.
    package static var uid: UInt32 { geteuid() }

    private static let taken = Mutex<Set<UInt16>>([])

    /// A TCP port of 127.0.0.1 on which nobody listens at the moment, and another one each time.
    ///
    /// - Throws: `ProgramFailure` when the kernel gives none.
    package static func take() throws -> UInt16 {
        // A number that was given back may be given again, and two listeners would want it.
        for _ in 0..<1000 {
            let port = try given()
            if taken.withLock({ $0.insert(port).inserted }) { return port }
        }
        throw ProgramFailure("no free port: those that the kernel gives were all taken before")
    }

    private static func given() throws -> UInt16 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { throw ProgramFailure("no socket: errno \(errno)") }
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let status = unsafe withUnsafeMutablePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                let bound = unsafe bind(descriptor, generic, length)
                return bound == 0 ? unsafe getsockname(descriptor, generic, &length) : bound
            }
        }
        guard status == 0 else { throw ProgramFailure("no free port: errno \(errno)") }
        return UInt16(bigEndian: address.sin_port)
    }
}
