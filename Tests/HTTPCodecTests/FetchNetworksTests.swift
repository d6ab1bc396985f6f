// SPDX-License-Identifier: Apache-2.0

import HTTPSemantics
import Testing

struct FetchNetworksTests {
    private static func allows(_ text: String, _ blocks: [String]? = nil) throws -> Bool {
        let networks = FetchNetworks(try blocks?.map { try #require(IPBlock($0)) })
        return networks.allows(try #require(IPAddress(text), "\(text)"))
    }

    @Test(
        arguments: [
            "192.0.2.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "126.255.255.255",
            "128.0.0.1", "169.253.0.1", "169.255.0.1", "223.255.255.255", "1.0.0.0",
            "2001:db8::1", "fd00::1", "fc00::1", "fe00::1", "64:ff9b::192.0.2.1",
            "64:ff9b:1::192.0.2.1", "64:ff9b:1:c000:2:100::", "2002:c000:201::1",
            "2001:0:c000:201::3fff:fdfe", "2001:db8::5efe:192.0.2.1", "2001:1::7f00:1",
            "::ffff:0:192.0.2.1", "::fffe:0:127.0.0.1",
        ]
    )
    func `partners are in networks of every kind`(address: String) throws {
        #expect(try Self.allows(address))
    }

    @Test(
        arguments: [
            "0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.255", "169.254.169.254", "224.0.0.1",
            "239.255.255.255", "240.0.0.1", "255.255.255.255",
            "::", "::1", "fe80::1", "febf::1", "ff02::1", "ff05::1",
            // The same in other spellings.
            "::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "::127.0.0.1", "::7f00:1", "64:ff9b::127.0.0.1",
            "64:ff9b::a9fe:a9fe", "64:ff9b:1::127.0.0.1", "64:ff9b:1:7f00:0:100::",
            "64:ff9b:1:7f:0:1::", "64:ff9b:1:0:7f:0:100::", "2002:7f00:1::1", "2002:a9fe:a9fe::",
            "2001:0:7f00:1::3fff:fdfe", "2001:0:c000:201::80ff:fffe", "2001:db8::5efe:127.0.0.1",
            "fd00::200:5efe:127.0.0.1", "::ffff:0:127.0.0.1", "::ffff:0:a9fe:a9fe",
        ]
    )
    func `the machine itself, its link and everybody are not`(address: String) throws {
        #expect(try !Self.allows(address))
        #expect(try !Self.allows(address, ["192.0.2.0/24", "2001:db8::/32"]))
    }

    @Test func `a list allows what is on it, and nothing else`() throws {
        let list = ["192.0.2.0/24", "2001:db8::/32"]
        #expect(try Self.allows("192.0.2.1", list))
        #expect(try Self.allows("::ffff:192.0.2.1", list))
        #expect(try Self.allows("2001:db8:1::1", list))
        for other in ["192.0.3.1", "10.0.0.1", "2001:db9::1", "64:ff9b::192.0.2.1"] {
            #expect(try !Self.allows(other, list), "\(other)")
        }
        #expect(try !Self.allows("192.0.2.1", []))
        // What nobody says by accident.
        #expect(try Self.allows("127.0.0.1", ["127.0.0.0/8"]))
        #expect(try Self.allows("64:ff9b::127.0.0.1", ["127.0.0.0/8", "64:ff9b::/96"]))
        #expect(try !Self.allows("64:ff9b::127.0.0.1", ["64:ff9b::/96"]))
        #expect(try Self.allows("64:ff9b::10.0.0.1", ["64:ff9b::/96"]))
        #expect(try !Self.allows("2002:7f00:1::1", ["::/0"]))
        #expect(try !Self.allows("::ffff:0:127.0.0.1", ["::/0"]))
    }
}
