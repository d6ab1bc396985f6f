// SPDX-License-Identifier: Apache-2.0

import Testing
import TokenEndpoint

/// The one request of a connection.
@Suite struct EndpointReaderTests {
    private static let fields =
        "Host: any\r\nSignet-Workload: true\r\nContent-Type: application/x-www-form-urlencoded\r\n"

    private static func request(
        _ line: String = "POST /token HTTP/1.1",
        fields: String = fields,
        body: String = "a=b"
    ) -> String {
        "\(line)\r\n\(fields)Content-Length: \(body.utf8.count)\r\n\r\n\(body)"
    }

    private func read(_ text: String) -> EndpointStep {
        var reader = EndpointReader()
        return reader.received(Array(text.utf8))
    }

    @Test func `a request is read alike in one piece and byte by byte`() throws {
        for place in EndpointRequest.Place.allCases {
            let text = Self.request("POST \(place.rawValue) HTTP/1.1")
            var reader = EndpointReader()
            var steps: [EndpointStep] = []
            for byte in text.utf8 { steps.append(reader.received(CollectionOfOne(byte))) }
            #expect(steps.dropLast().allSatisfy { $0 == .needsMore })
            #expect(steps.last == read(text))
            guard case .request(let request)? = steps.last else {
                Issue.record("\(steps)")
                return
            }
            #expect(request.place == place && request.body == Array("a=b".utf8))
        }
    }

    @Test func `RFC 9110 10.1.1: who waits for it is told to go on, once`() {
        let head =
            "POST /token HTTP/1.1\r\n\(Self.fields)Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        var reader = EndpointReader()
        #expect(reader.received(Array(head.utf8)) == .goOn)
        #expect(reader.received(Array("a".utf8)) == .needsMore)
        guard case .request(let request) = reader.received(Array("=".utf8)) else {
            Issue.record("no request")
            return
        }
        #expect(request.body == Array("a=".utf8))
        // Who has sent it already waits for nothing.
        if case .request = read(head + "a=") {} else { Issue.record("no request at once") }
    }

    private static let otherLines: [(String, Int)] = [
        ("GET /token HTTP/1.1", 405), ("PUT /token HTTP/1.1", 405), ("POST / HTTP/1.1", 404),
        ("POST /token/ HTTP/1.1", 404), ("POST /token?a=b HTTP/1.1", 404),
        ("POST /Token HTTP/1.1", 404), ("POST http://any/token HTTP/1.1", 404),
    ]

    private static let otherFields: [String] = [
        fields.replacing("Signet-Workload: true\r\n", with: ""),
        fields.replacing("Workload: true", with: "Workload: yes"),
        "\(fields)Signet-Workload: true\r\n",
        "\(fields)Authorization: Basic YTpi\r\n",
        "\(fields)Upgrade: h2c\r\n",
        fields.replacing("x-www-form-urlencoded", with: "json"),
        fields.replacing("form-urlencoded", with: "form-urlencodedx"),
    ]

    private static let otherBodies: [(String, Int)] = [
        ("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        ("Content-Length: 24577\r\n\r\n", 413),
        ("Content-Length: 1\r\nContent-Length: 1\r\n\r\na", 400),
        ("A: \(String(repeating: "a", count: 8192))", 431),
    ]

    private static var refused: [(text: String, status: Int)] {
        let lines = otherLines.map { (text: request($0.0), status: $0.1) }
        let heads = otherFields.map { (text: request(fields: $0), status: 400) }
        let bodies = otherBodies.map {
            (text: "POST /token HTTP/1.1\r\n\(fields)\($0.0)", status: $0.1)
        }
        return lines + heads + bodies
    }

    @Test(arguments: refused)
    func `what is no request of ours is refused by its head`(text: String, status: Int) {
        guard case .refused(let answer) = read(text) else {
            Issue.record("taken: \(text.prefix(120))")
            return
        }
        #expect(answer.status == status, "\(text.prefix(120))")
    }

    @Test func `the largest body is read`() {
        let body = "a=" + String(repeating: "b", count: EndpointReader.bodyBytesMax - 2)
        guard case .request(let request) = read(Self.request(body: body)) else {
            Issue.record("no request")
            return
        }
        #expect(request.body.count == EndpointReader.bodyBytesMax)
    }

    @Test func `the form's type may say its encoding, and what follows a request is dropped`() {
        let fields = Self.fields.replacing("urlencoded", with: "urlencoded; charset=UTF-8")
        guard case .request(let request) = read(Self.request(fields: fields) + "GET / HTTP/1.1")
        else {
            Issue.record("no request")
            return
        }
        #expect(request.body == Array("a=b".utf8))
    }
}
