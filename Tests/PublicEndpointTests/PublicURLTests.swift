// SPDX-License-Identifier: Apache-2.0

import PublicEndpoint
import Testing

@Suite struct PublicURLTests {
    @Test(
        arguments: [
            ("https://id.example.org", "id.example.org", nil, ""),
            ("https://id.example.org:8443", "id.example.org", 8443, ""),
            ("https://id.example.org/td/prod", "id.example.org", nil, "/td/prod"),
            ("https://x--1.example:1/a.b_c~d-E", "x--1.example", 1, "/a.b_c~d-E"),
        ] as [(String, String, UInt16?, String)]
    )
    func `a URL in its one spelling is read`(
        text: String,
        host: String,
        port: UInt16?,
        path: String
    ) throws {
        let url = try PublicURL(parsing: text)
        #expect(url.description == text)
        #expect(url.host == host)
        #expect(url.port == port)
        #expect(url.path == path)
    }

    @Test(
        arguments: [
            ("http://id.example.org", .scheme), ("HTTPS://id.example.org", .scheme),
            ("id.example.org", .scheme), ("", .scheme),
            ("https://", .host), ("https://ID.example.org", .host),
            ("https://id.example.org.", .host), ("https://user@id.example.org", .host),
            ("https://192.0.2.1", .host), ("https://[2001:db8::1]", .host),
            ("https://id..example", .host), ("https://-id.example", .host),
            ("https://id_x.example", .host), ("https://id.exämple", .host),
            ("https://id.example?x", .host), ("https://id.example#x", .host),
            ("https://id.example.org:443", .portStandard),
            ("https://id.example.org:", .port), ("https://id.example.org:0", .port),
            ("https://id.example.org:08443", .port), ("https://id.example.org:65536", .port),
            ("https://id.example.org:+1", .port), ("https://id.example.org:1:2", .port),
            ("https://id.example.org/", .path), ("https://id.example.org/a/", .path),
            ("https://id.example.org//a", .path), ("https://id.example.org/a/../b", .path),
            ("https://id.example.org/./b", .path), ("https://id.example.org/%41", .path),
            ("https://id.example.org/a?b", .path), ("https://id.example.org/a#b", .path),
            ("https://id.example.org/a b", .path),
            ("https://id.example.org/\(String(repeating: "a", count: 255))", .tooLong),
        ] as [(String, PublicURLError)]
    )
    func `any other spelling is refused by name`(text: String, error: PublicURLError) {
        #expect(throws: error) { try PublicURL(parsing: text) }
    }
}
