// SPDX-License-Identifier: Apache-2.0

import Routing
import Testing

struct SocketAddressTests {
    @Test(arguments: [
        ("127.0.0.1:80", true), ("[::1]:15006", true), ("127.9.9.9:65535", true),
        ("192.0.2.1:443", false), ("[2001:db8::1]:443", false), ("0.0.0.0:1", false),
        ("[::]:15006", false), ("128.0.0.1:1", false),
    ])
    func `an address and a port are read, and loopback is told`(text: String, loopback: Bool) {
        let address = SocketAddress(text)
        #expect(address?.description == text)
        #expect(address?.isLoopback == loopback)
    }

    @Test(arguments: [
        "", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:080", "127.0.0.1:65536",
        "127.0.0.1:+80", "127.0.0.01:80", "localhost:80", "::1:80", "[::1]", "[::1]80", "[::1:80",
        "::1]:80", "[127.0.0.1]:80", "[::ffff:127.0.0.1]:80", "[::1%lo]:80", "127.0.0.1:80 ",
        "127.0.0.1:８0", "[]:80",
    ])
    func `everything else is refused`(text: String) {
        #expect(SocketAddress(text) == nil)
    }
}
