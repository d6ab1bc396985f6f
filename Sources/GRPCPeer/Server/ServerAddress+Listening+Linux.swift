// SPDX-License-Identifier: Apache-2.0

internal import Glibc
internal import NIOCore

extension ServerAddress {
    /// Requires that this process could listen here now, before it does work that takes long.
    ///
    /// Nothing is listened on, so somebody may still come first: what a listener says counts. An
    /// address that is not understood is left to it as well.
    ///
    /// - Throws: `ListenerError`.
    package func requireListenable() throws(ListenerError) {
        guard port > 0,
            let address = try? SocketAddress.makeAddressResolvingHost(host, port: Int(port))
        else { return }
        let kind = Int32(SOCK_STREAM.rawValue) | O_CLOEXEC
        let descriptor = socket(address.protocol.rawValue, kind, 0)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        // As the listener does: a connection that lingers does not occupy the port.
        var yes: Int32 = 1
        unsafe setsockopt(
            descriptor,
            SOL_SOCKET,
            SO_REUSEADDR,
            &yes,
            socklen_t(MemoryLayout<Int32>.size)
        )
        let isBound = unsafe address.withSockAddr {
            unsafe bind(descriptor, $0, socklen_t($1)) == 0
        }
        guard isBound else {
            throw ListenerError(place: description, reason: .address(errno: errno))
        }
    }
}
