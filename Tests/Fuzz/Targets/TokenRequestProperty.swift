// SPDX-License-Identifier: Apache-2.0

internal import TokenEndpoint

/// A workload's request is read alike in one piece and byte by byte; a form that is read says what a
/// decoder of bytes says, and has one answer.
enum TokenRequestProperty {
    static func check(_ input: [UInt8]) throws(PropertyBroken) -> Bool {
        var whole = EndpointReader()
        let step = whole.received(input)
        try expect(bytewise(input) == settled(step), "in pieces it is another request")
        switch step {
        case .goOn, .needsMore: return false
        case .refused(let answer):
            try expectOneAnswer(answer)
            return false
        case .request(let request):
            let line = Array("POST \(request.place.rawValue) HTTP/1.".utf8)
            // A server may be sent an empty line before (RFC 9112 section 2.2).
            try expect(input.drop { $0 == 13 || $0 == 10 }.starts(with: line), "another place")
            try expect(contains(input, request.body), "another body")
            return try form(request.body)
        }
    }

    private static func settled(_ step: EndpointStep) -> EndpointStep? {
        switch step {
        case .goOn, .needsMore: nil
        case .refused, .request: step
        }
    }

    private static func bytewise(_ input: [UInt8]) -> EndpointStep? {
        var reader = EndpointReader()
        for byte in input {
            if let step = settled(reader.received(CollectionOfOne(byte))) { return step }
        }
        return nil
    }

    private static func contains(_ input: [UInt8], _ body: [UInt8]) -> Bool {
        guard !body.isEmpty else { return true }
        return input.indices.contains { input[$0...].starts(with: body) }
    }

    private static func form(_ body: [UInt8]) throws(PropertyBroken) -> Bool {
        let form: FormParameters
        do throws(FormError) { form = try FormParameters(parsing: body) } catch { return false }
        let decoded = decoded(body).filter { !$0.value.isEmpty }
        try expect(Set(decoded.keys) == form.names, "other names")
        for (name, value) in decoded {
            try expect(
                form[name].map { Array($0.utf8) } == value,
                "another value than a decoder's"
            )
        }
        do throws(EndpointRefusal) {
            _ = try ExchangeForm(form)
        } catch {
            try expectOneAnswer(EndpointAnswer(error))
        }
        return true
    }

    /// What the form says, if it is one: the last of each name.
    private static func decoded(_ body: [UInt8]) -> [String: [UInt8]] {
        var values: [String: [UInt8]] = [:]
        for piece in body.split(separator: UInt8(ascii: "&")) {
            let name = piece.prefix { $0 != UInt8(ascii: "=") }
            let value = piece.dropFirst(name.count + 1)
            values[String(decoding: unescaped(Array(name)), as: UTF8.self)] = unescaped(
                Array(value)
            )
        }
        return values
    }

    private static func unescaped(_ text: [UInt8]) -> [UInt8] {
        var bytes: [UInt8] = []
        var index = 0
        while index < text.count {
            if text[index] == UInt8(ascii: "%"), index + 2 < text.count {
                let digits = String(decoding: text[(index + 1)...(index + 2)], as: UTF8.self)
                bytes.append(UInt8(digits, radix: 16) ?? 0)
                index += 3
            } else {
                bytes.append(text[index] == UInt8(ascii: "+") ? UInt8(ascii: " ") : text[index])
                index += 1
            }
        }
        return bytes
    }

    /// One head, and a body that is JSON or nothing.
    private static func expectOneAnswer(_ answer: EndpointAnswer) throws(PropertyBroken) {
        let text = String(decoding: answer.bytes, as: UTF8.self)
        try expect(text.hasPrefix("HTTP/1.1 \(answer.status) "), "no status line")
        let parts = text.split(separator: "\r\n\r\n", omittingEmptySubsequences: false)
        try expect(parts.count == 2, "not one head")
        try expect(
            parts[1].isEmpty || (parts[1].hasPrefix("{") && parts[1].hasSuffix("}")),
            "no object"
        )
    }
}
