// SPDX-License-Identifier: Apache-2.0

internal import HTTPCodec
internal import HTTPSemantics

/// A head that is let through is plain to a reader who knows only lines and colons, and what is
/// passed on says the same.
enum HTTPRequestHeadProperty {
    static func check(_ input: [UInt8]) throws(PropertyBroken) -> Bool {
        var (head, end) = (RequestHead(), HeadEnd())
        let step = head.read(input.span, end: &end)
        try HTTPCuts.expectSame(input, step)
        guard case .head(let count) = step else { return false }
        let bytes = Array(input[..<count])
        let lines = try PlainLines(bytes)
        try expect(lines.values("host").count == 1, "not one host")
        try expect(
            lines.values("content-length").count + lines.values("transfer-encoding").count <= 1,
            "two framings"
        )
        let output = rewritten(head, bytes)
        let (again, againBytes) = try reread(output)
        try expect(
            try PlainLines(output).values("x-forwarded-client-cert") == [identity],
            "identity"
        )
        try expect(again.framing == head.framing, "another framing")
        try expect(again.expectsContinue == head.expectsContinue, "another expectation")
        try expect(again.wantsWebSocket == head.wantsWebSocket, "another protocol")
        func text(_ range: ByteRange, _ bytes: [UInt8]) -> ArraySlice<UInt8> { bytes[range.range] }
        try expect(
            text(again.request.path, againBytes) == text(head.request.path, bytes)
                && text(again.request.methodName, againBytes)
                    == text(head.request.methodName, bytes)
                && again.request.query.map { text($0, againBytes) }
                    == head.request.query.map { text($0, bytes) }
                && again.request.authority.port == head.request.authority.port,
            "another request"
        )
        // The first time an ID may be added, behind which the identity stands from then on.
        let twice = rewritten(again, againBytes)
        let (third, thirdBytes) = try reread(twice)
        try expect(rewritten(third, thirdBytes) == twice, "rewritten again it differs")
        return true
    }

    private static let identity = " By=spiffe://td/a;Hash=00;URI=spiffe://td/b"

    private static func rewritten(_ head: RequestHead, _ bytes: [UInt8]) -> [UInt8] {
        let peer = ForwardedClientCert(by: "spiffe://td/a", hash: [0], uri: "spiffe://td/b")
        var output: [UInt8] = []
        RequestRewrite(identity: peer)
            .write(head, bytes.span, requestID: RequestID(high: 0, low: 0), into: &output)
        return output
    }

    private static func reread(
        _ output: [UInt8]
    ) throws(PropertyBroken) -> (RequestHead, [UInt8]) {
        // What is passed on is at most this much longer.
        let limits = HeadLimits(headBytesMax: 64 * 1024, targetBytesMax: 8 * 1024, fieldsMax: 102)
        var (head, end) = (RequestHead(limits: limits), HeadEnd())
        let step = head.read(output.span, end: &end)
        try expect(step == .head(bytes: output.count), "what is passed on is refused: \(step)")
        return (head, output)
    }
}

/// The same of a server's head.
enum HTTPResponseHeadProperty {
    static func check(_ input: [UInt8]) throws(PropertyBroken) -> Bool {
        var accepted = false
        for text in ["GET / HTTP/1.1", "HEAD / HTTP/1.1", "GET / HTTP/1.0"] {
            let traits = try HTTPCuts.traits(text)
            var (head, end) = (ResponseHead(), HeadEnd())
            let step = head.read(input.span, end: &end, answering: traits.method)
            guard case .head(let count) = step else { continue }
            accepted = true
            let bytes = Array(input[..<count])
            let lines = try PlainLines(bytes)
            try expect(
                lines.values("content-length").count + lines.values("transfer-encoding").count
                    <= 1,
                "two framings"
            )
            var (relay, shared, output) = (ResponseRelay(), ResponseHead(), [UInt8]())
            try expect(relay.begin(traits), "not begun")
            relay.requestWritten()
            _ = relay.next(bytes.span, from: 0, using: &shared)
            ResponseRewrite(removesDecision: true)
                .write(shared, bytes.span, for: relay, into: &output)
            let limits = HeadLimits(
                headBytesMax: 64 * 1024,
                targetBytesMax: 8 * 1024,
                fieldsMax: 102
            )
            var (again, againEnd) = (ResponseHead(limits: limits), HeadEnd())
            let read = again.read(output.span, end: &againEnd, answering: traits.method)
            try expect(read == .head(bytes: output.count), "what is passed on is refused: \(read)")
            try expect(again.status == head.status, "another status")
            let isBare = traits.isVersion10 && head.framing == .chunked
            try expect(
                again.framing == (isBare ? .untilClose : head.framing),
                "another framing"
            )
        }
        return accepted
    }
}

/// What arrives in two parts is read like what arrives at once.
enum HTTPCuts {
    static func expectSame(_ input: [UInt8], _ whole: HeadStep) throws(PropertyBroken) {
        for cut in stride(from: 0, to: input.count, by: 1 + input.count / 16) {
            var (head, end) = (RequestHead(), HeadEnd())
            var step = head.read(input.span.extracting(..<cut), end: &end)
            if step == .needInput { step = head.read(input.span, end: &end) }
            try expect(step == whole, "cut at \(cut): \(step), not \(whole)")
        }
    }

    static func traits(_ line: String) throws(PropertyBroken) -> RequestTraits {
        let bytes = Array("\(line)\r\nHost: a\r\n\r\n".utf8)
        var (head, end) = (RequestHead(), HeadEnd())
        let step = head.read(bytes.span, end: &end)
        try expect(step == .head(bytes: bytes.count), "\(line): \(step)")
        return RequestTraits(head)
    }
}

/// A head as whoever splits at line ends and colons reads it.
private struct PlainLines {
    private var fields: [String: [String]] = [:]

    init(_ bytes: [UInt8]) throws(PropertyBroken) {
        // One byte, one character.
        var text = String(String.UnicodeScalarView(bytes.map { Unicode.Scalar($0) }))
            .unicodeScalars[...]
        if text.starts(with: "\r\n".unicodeScalars) { text = text.dropFirst(2) }
        for scalar in text where scalar != "\r" && scalar != "\n" {
            try expect(scalar >= " " && scalar != "\u{7F}" || scalar == "\t", "a control character")
        }
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        try expect(
            lines.count >= 3 && lines[lines.count - 2].elementsEqual("\r".unicodeScalars),
            "its end"
        )
        for line in lines.dropLast(2) {
            try expect(
                line.last == "\r" && !line.dropLast().contains("\r"),
                "a line end of its own"
            )
        }
        for line in lines.dropFirst().dropLast(2) {
            guard let colon = line.firstIndex(of: ":") else {
                throw PropertyBroken("a line without a name")
            }
            let name = String(String.UnicodeScalarView(line[..<colon])).lowercased()
            try expect(
                !name.isEmpty && name.allSatisfy { $0.isLetter || $0.isNumber || $0 == "-" },
                "a name that is none"
            )
            let value = String(String.UnicodeScalarView(line[colon...].dropFirst().dropLast()))
            fields[name, default: []].append(value)
        }
    }

    func values(_ name: String) -> [String] { fields[name] ?? [] }
}
