// SPDX-License-Identifier: Apache-2.0

internal import HTTPCodec
internal import HTTPSemantics

/// A server's answer is read alike in one piece and byte by byte, is told once, and what it brings
/// is within limits.
enum FetchedResponseProperty {
    static func check(_ input: [UInt8]) throws(PropertyBroken) -> Bool {
        var reader = ResponseReader()
        let whole = reader.received(input)
        try expect(bytewise(input) == whole, "in pieces it is another answer")
        guard let response = whole else {
            let last = reader.connectionEnded()
            try expect(last == .failed(.responseMalformed(.brokenOff)), "not broken off")
            return false
        }
        try expect(reader.received(input) == nil, "told twice")
        try expect(reader.connectionEnded() == nil, "ended after it was told")
        switch response {
        case .content(let content):
            // Chunks are more than their content, and a head is more than nothing.
            try expect(content.count < input.count, "content from nowhere")
            return true
        case .redirect(let location):
            try expect(
                location.allSatisfy { $0 != 13 && $0 != 10 },
                "a location of two lines"
            )
            return true
        case .failed: return false
        }
    }

    private static func bytewise(_ input: [UInt8]) -> FetchedResponse? {
        var reader = ResponseReader()
        for byte in input {
            if let response = reader.received(CollectionOfOne(byte)) { return response }
        }
        return nil
    }
}

/// A URL that was read makes one line of a request, is put together again from its parts, and so is
/// whatever a redirect makes of it.
enum HTTPSURLProperty {
    static func check(_ input: [UInt8]) throws(PropertyBroken) -> Bool {
        let base = try expectSuccess("the base is a URL") {
            try HTTPSURL(parsing: "https://a.example:8443/b/c?d=/e")
        }
        if let next = try? base.redirected(to: input) { try checkParts(next) }
        guard let text = String(validating: input, as: UTF8.self),
            let url = try? HTTPSURL(parsing: text)
        else { return false }
        try expect(url.description.utf8.elementsEqual(input), "another text")
        try checkParts(url)
        let again = try expectSuccess("a URL leads to itself") { try base.redirected(to: input) }
        try expect(again == url, "a URL leads elsewhere")
        return true
    }

    private static func checkParts(_ url: HTTPSURL) throws(PropertyBroken) {
        let line = Array((url.authority + url.target).utf8)
        try expect(line.allSatisfy { $0 > 0x20 && $0 < 0x7F }, "a byte that ends a line or word")
        try expect(url.target.utf8.first == UInt8(ascii: "/"), "a target without slash")
        try expect(url.port > 0, "no port")
        let again = try expectSuccess("its parts are a URL") {
            try HTTPSURL(parsing: "https://" + url.authority + url.target)
        }
        try expect(
            again.host == url.host && again.port == url.port && again.target == url.target
                && again.authority == url.authority,
            "its parts are another URL"
        )
    }
}
