// SPDX-License-Identifier: Apache-2.0

import HTTPSemantics
import Testing

@Suite struct IPBlockTests {
    @Test(arguments: [
        ("192.0.2.1", "::ffff:192.0.2.1"), ("::ffff:c000:201", "192.0.2.1"),
        ("::", "0:0:0:0:0:0:0:0"),
        ("::1", "0::1"), ("2001:db8::", "2001:0DB8:0::0:0"), ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"),
        ("::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"), ("64:ff9b::192.0.2.1", "64:ff9b::c000:201"),
    ])
    func `two spellings are one address`(one: String, other: String) throws {
        #expect(try #require(IPAddress(one)) == #require(IPAddress(other)))
    }

    @Test(arguments: [
        "", "1", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1.2.3.4 ", "+1.2.3.4", "1..2.3",
        "0x1.2.3.4",
        ":", ":::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3", "12345::", "::1:", ":1::",
        "g::",
        "1:2:3:4:5:6:7:8::", "::1%eth0", "[::1]", "1.2.3.4::", "::1.2.3.4:5",
    ])
    func `anything else is no address`(text: String) {
        #expect(IPAddress(text) == nil)
    }

    @Test(arguments: [
        ("192.0.2.0/24", "192.0.2.255", true), ("192.0.2.0/24", "192.0.3.0", false),
        ("192.0.2.0/24", "::ffff:192.0.2.9", true), ("192.0.2.0/24", "::192.0.2.9", false),
        ("0.0.0.0/0", "198.51.100.7", true), ("0.0.0.0/0", "2001:db8::1", false),
        ("::/0", "192.0.2.1", false), ("::/0", "2001:db8::1", true),
        ("2001:db8::/32", "2001:db8:1::", true),
        ("2001:db8::/32", "2001:db9::", false), ("2001:db8::/65", "2001:db8::7fff:0:0:0", true),
        ("2001:db8::/65", "2001:db8::8000:0:0:0", false), ("192.0.2.7", "192.0.2.7", true),
        ("192.0.2.7", "192.0.2.6", false),
    ])
    func `a block holds what begins with its bits`(
        block: String,
        address: String,
        holds: Bool
    ) throws {
        #expect(try #require(IPBlock(block)).contains(#require(IPAddress(address))) == holds)
    }

    @Test(arguments: [
        "192.0.2.1/24", "192.0.2.0/33", "192.0.2.0/-1", "192.0.2.0/024", "192.0.2.0/",
        "192.0.2.0/24/1",
        "2001:db8::1/64", "::/129", "/24", "::ffff:192.0.2.0/16",
    ])
    func `a block with bits beyond its prefix, or of another form, is none`(text: String) {
        #expect(IPBlock(text) == nil)
    }
}
