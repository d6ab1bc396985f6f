// SPDX-License-Identifier: Apache-2.0

internal import Glibc
internal import Synchronization

/// What the kernel tells a test of its place.
package enum FreePort {
    /// The effective user of the tests.
    package static var uid: UInt32 { geteuid() }

    /// Below those that the kernel gives to clients (32768 and above), none of which can take a port
    /// between its being given here and its listener's start.
    private static let ports: Range<UInt16> = 10_000..<32_000
    private static let blockSize: UInt16 = 1_000

    /// How many ports of this process's block were given.
    private static let given = Mutex(0)

    /// The first port of this process, whose block no other one that runs tests has meanwhile.
    ///
    /// The descriptor of the name that says so stays open until the process ends.
    private static let block: Result<UInt16, ProgramFailure> = {
        for first in stride(from: ports.lowerBound, to: ports.upperBound, by: Int(blockSize))
        where claim("signet-tests-\(first)") {
            return .success(first)
        }
        return .failure(ProgramFailure("no free port: other runs of tests have every block"))
    }()

    /// A TCP port of 127.0.0.1 on which nobody listens at the moment, and another one each time
    /// until the block is used up: whoever has the first ones then has long ended.
    ///
    /// - Throws: `ProgramFailure` when there is none.
    package static func take() throws -> UInt16 {
        let first = try block.get()
        for _ in 0..<blockSize {
            let number = given.withLock { count in
                defer { count += 1 }
                return count
            }
            let port = first + UInt16(number % Int(blockSize))
            if isFree(port) { return port }
        }
        throw ProgramFailure("no free port: somebody listens on each of this run's block")
    }

    /// Takes a name of the abstract namespace, which the kernel gives back with the process.
    private static func claim(_ name: String) -> Bool {
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let descriptor = socket(AF_UNIX, kind, 0)
        guard descriptor >= 0 else { return false }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = [0] + Array(name.utf8)
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: bytes) }
        let length = MemoryLayout<sa_family_t>.size + bytes.count
        let status = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                unsafe bind(descriptor, generic, socklen_t(length))
            }
        }
        if status != 0 { close(descriptor) }
        return status == 0
    }

    /// Whether a listener could have the port now; what an ended connection left does not count.
    private static func isFree(_ port: UInt16) -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        var one: Int32 = 1
        let size = socklen_t(MemoryLayout<Int32>.size)
        guard unsafe setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, size) == 0 else {
            return false
        }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                unsafe bind(descriptor, generic, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
                    && listen(descriptor, 1) == 0
            }
        }
    }
}
