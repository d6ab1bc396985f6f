// SPDX-License-Identifier: Apache-2.0

import HTTPSemantics
import Testing

struct RedirectTrailTests {
    private static let base = "https://a.example:8443/b/c?d=/e"

    private static func redirected(_ location: String) throws -> String {
        try HTTPSURL(parsing: base).redirected(to: Array(location.utf8)).description
    }

    @Test(
        arguments: [
            ("https://b.example/x?y", "https://b.example/x?y"),
            ("//b.example/x", "https://b.example/x"), ("/x", "https://a.example:8443/x"),
            ("/", "https://a.example:8443/"), ("x", "https://a.example:8443/b/x"),
            ("x/y?z:1", "https://a.example:8443/b/x/y?z:1"),
            ("?x", "https://a.example:8443/b/c?x"), ("x/a:b", "https://a.example:8443/b/x/a:b"),
        ]
    )
    func `a location means the URL that it is relative to`(location: String, url: String) throws {
        #expect(try Self.redirected(location) == url)
    }

    @Test func `a location is relative to a URL without path too`() throws {
        let url = try HTTPSURL(parsing: "https://a.example?b")
        #expect(try url.redirected(to: Array("c".utf8)).description == "https://a.example/c")
        #expect(try url.redirected(to: Array("?c".utf8)).description == "https://a.example/?c")
    }

    @Test(
        arguments: [
            ("http://a.example/", .scheme), ("HTTPS://a.example/", .scheme),
            ("file:///etc/passwd", .scheme), ("javascript:1", .scheme), ("x:y", .scheme),
            ("//", .host), ("///x", .host), ("//u@b.example/", .user),
            ("https://b.example@a.example/", .user), ("//b.example:0/", .port),
            ("", .fragment), ("#x", .fragment), ("/x#y", .fragment), ("../x", .target),
            ("/../x", .target), ("./x", .target), ("x y", .target), ("/\\b.example", .target),
            ("\\\\b.example", .target), ("/x\r\nHost: b", .target), ("\t/x", .target),
        ] as [(String, HTTPSURLError)]
    )
    func `anything else is refused by name`(location: String, error: HTTPSURLError) {
        #expect(throws: error) { try Self.redirected(location) }
    }

    @Test func `bytes that are no text, and too many, are refused`() throws {
        let url = try HTTPSURL(parsing: Self.base)
        #expect(throws: HTTPSURLError.target) { try url.redirected(to: [0x2F, 0xFF]) }
        let long = [UInt8](repeating: UInt8(ascii: "x"), count: HTTPSURL.bytesMax + 1)
        #expect(throws: HTTPSURLError.tooLong) { try url.redirected(to: long) }
    }

    @Test func `three redirects are followed, each from where the last one led`() throws {
        var trail = RedirectTrail(from: try HTTPSURL(parsing: Self.base), staysOnHost: false)
        for (location, url) in [
            ("https://b.example/x/y", "https://b.example/x/y"), ("z", "https://b.example/x/z"),
            ("https://a.example:8443/b/c?d=/e", Self.base),
        ] {
            try trail.follow(Array(location.utf8))
            #expect(trail.url.description == url)
        }
        #expect(throws: RedirectRefusal.tooMany) { try trail.follow(Array("/x".utf8)) }
        #expect(trail.url.description == Self.base)
    }

    @Test func `with https_web the host stays, whatever the port and path`() throws {
        var trail = RedirectTrail(from: try HTTPSURL(parsing: Self.base), staysOnHost: true)
        try trail.follow(Array("https://a.example/x".utf8))
        for location in ["https://b.example/x", "//a.example.b.example/", "//192.0.2.1/"] {
            #expect(throws: RedirectRefusal.otherHost) { try trail.follow(Array(location.utf8)) }
        }
        #expect(throws: RedirectRefusal.url(.scheme)) {
            try trail.follow(Array("http://a.example/".utf8))
        }
        #expect(trail.url.description == "https://a.example/x")
    }
}
