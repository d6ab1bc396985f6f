// SPDX-License-Identifier: Apache-2.0

import HTTPSemantics
import Testing

struct HTTPSURLTests {
    @Test(
        arguments: [
            ("https://id.example.org", "id.example.org", 443, "id.example.org", "/"),
            ("https://id.example.org:8443/", "id.example.org", 8443, "id.example.org:8443", "/"),
            ("https://id.example.org:443/b", "id.example.org", 443, "id.example.org:443", "/b"),
            ("https://a-1?v=1/2?3", "a-1", 443, "a-1", "/?v=1/2?3"),
            ("https://a.b/%2F../d;=:@/..x/...?%20", "a.b", 443, "a.b", "/%2F../d;=:@/..x/...?%20"),
            ("https://a.b//c/", "a.b", 443, "a.b", "//c/"),
        ] as [(String, String, UInt16, String, String)]
    )
    func `a URL is read into what is asked of whom`(
        text: String,
        host: String,
        port: UInt16,
        authority: String,
        target: String
    ) throws {
        let url = try HTTPSURL(parsing: text)
        #expect(url.description == text)
        #expect(url.host == .name(host))
        #expect(url.port == port)
        #expect(url.authority == authority)
        #expect(url.target == target)
    }

    @Test(
        arguments: [
            ("https://192.0.2.1:99/b", "192.0.2.1"), ("https://[2001:DB8::1]/b", "2001:db8::1"),
            ("https://[::ffff:192.0.2.1]", "192.0.2.1"),
        ]
    )
    func `an address is one, whatever its spelling`(text: String, address: String) throws {
        let address = try #require(IPAddress(address))
        #expect(try HTTPSURL(parsing: text).host == .address(address))
    }

    @Test(
        arguments: [
            ("http://id.example.org", .scheme), ("HTTPS://id.example.org", .scheme),
            ("https:/id.example.org", .scheme), ("id.example.org", .scheme), ("", .scheme),
            ("https://", .host), ("https:///a", .host), ("https://:443", .host),
            ("https://ID.example.org", .host), ("https://id.example.org.", .host),
            ("https://id..example", .host), ("https://-id.example", .host),
            ("https://id-.example", .host), ("https://id_x.example", .host),
            ("https://id.exämple", .host), ("https://id.example%2e", .host),
            ("https://a b", .host), ("https://a\\b", .host), ("https://*.example", .host),
            ("https://127.1", .host), ("https://2130706433", .host), ("https://1.2.3.4.5", .host),
            ("https://0x7f000001", .host), ("https://a.0x", .host), ("https://0177.0.0.1", .host),
            ("https://[::1", .host), ("https://[::1%25eth0]", .host),
            ("https://[192.0.2.1]", .host),
            ("https://[]", .host), ("https://::1", .host),
            ("https://\(String(repeating: "a", count: 64))", .host),
            ("https://\(String(repeating: "a.", count: 127))b", .host),
            ("https://a:", .port), ("https://a:0", .port), ("https://a:08443", .port),
            ("https://a:65536", .port), ("https://a:+1", .port), ("https://a:1:2", .port),
            ("https://[::1]1", .port), ("https://a:１", .port),
            ("https://user@a", .user), ("https://u:p@a/b", .user), ("https://a@", .user),
            ("https://a#b", .fragment), ("https://a/b#", .fragment), ("https://a?b#c", .fragment),
            ("https://a/b c", .target), ("https://a/ä", .target), ("https://a/%4", .target),
            ("https://a/%", .target), ("https://a/%zz", .target),
            ("https://a/b\r\nHost: c", .target),
            ("https://a/\"", .target), ("https://a/b\\c", .target), ("https://a?\u{7F}", .target),
            ("https://a/../b", .target), ("https://a/b/.", .target), ("https://a/b/..?c", .target),
            ("https://a/\(String(repeating: "b", count: 2039))", .tooLong),
        ] as [(String, HTTPSURLError)]
    )
    func `F-6 anything else is refused by name`(text: String, error: HTTPSURLError) {
        #expect(throws: error) { try HTTPSURL(parsing: text) }
    }

    @Test func `the longest URL has 2,048 bytes`() throws {
        let url = try HTTPSURL(parsing: "https://a/" + String(repeating: "b", count: 2038))
        #expect(url.description.utf8.count == HTTPSURL.bytesMax)
    }

    @Test func `the slash of an empty path counts, so that the parts make a URL again`() throws {
        let longest = "https://a?" + String(repeating: "b", count: 2037)
        let url = try HTTPSURL(parsing: longest)
        let again = try HTTPSURL(parsing: "https://" + url.authority + url.target)
        #expect(again.target == url.target)
        #expect(try again.redirected(to: Array(url.target.utf8)) == again)
        #expect(throws: HTTPSURLError.tooLong) { try HTTPSURL(parsing: longest + "b") }
    }
}
