// SPDX-License-Identifier: Apache-2.0

import SPIFFE
import Testing
import TokenEndpoint

/// The parameters of an exchange (RFC 8693 section 2.1) and of an introspection (RFC 7662).
@Suite struct ExchangeFormTests {
    private static let grant = "grant_type=urn:ietf:params:oauth:grant-type:token-exchange"
    private static let type = "urn:ietf:params:oauth:token-type:"
    private static let good =
        "\(grant)&subject_token=t&subject_token_type=\(type)jwt&audience=ledger"

    private func read(_ text: String) throws -> ExchangeForm {
        try ExchangeForm(FormParameters(parsing: Array(text.utf8)))
    }

    private func refusal(_ text: String) throws -> EndpointRefusal {
        try #require(throws: EndpointRefusal.self) { try read(text) }
    }

    @Test func `RFC 8693 2.1: what is needed is read, and what is unknown passed over`() throws {
        let form = try read(
            "\(Self.good)&client_id=c&unknown=x&requested_token_type=\(Self.type)access_token"
        )
        #expect(form.subjectToken == "t" && form.audience == "ledger" && form.clientID == "c")
        let resource = try read(Self.good.replacing("audience=", with: "resource="))
        #expect(resource.audience == "ledger" && resource.clientID == nil)
        _ = try read(Self.good.replacing("type:jwt", with: "type:access_token"))
    }

    private static let bad: [(text: String, part: String)] = [
        ("subject_token=t", "grant_type"),
        (good.replacing("subject_token=t&", with: ""), "subject_token"),
        (good.replacing("type:jwt", with: "type:saml2"), "subject_token_type"),
        (good.replacing("&audience=ledger", with: ""), "audience"),
        ("\(good)&resource=x", "audience or resource"),
        ("\(good)&requested_token_type=\(type)jwt", "requested"),
        ("\(good)&actor_token=x", "actor_token"), ("\(good)&client_secret=x", "client_secret"),
        ("\(good)&client_assertion=x", "client_assertion"), ("\(good)&scope=x", "scope"),
    ]

    @Test(arguments: bad)
    func `RFC 8693 2.2.2: what is missing or means something else is invalid_request`(
        text: String,
        part: String
    ) throws {
        let refusal = try refusal(text)
        #expect(refusal.word == .invalidRequest && refusal.status == 400)
        #expect(refusal.description.contains(part), "\(refusal.description)")
    }

    @Test func `RFC 6749 5.2: another grant is unsupported_grant_type`() throws {
        let refusal = try refusal(
            Self.good.replacing(Self.grant, with: "grant_type=client_credentials")
        )
        #expect(refusal.word == .unsupportedGrantType)
    }

    @Test func `RFC 7662 2.1: an introspection names a token and its asker`() throws {
        func read(_ text: String) throws -> IntrospectionForm {
            try IntrospectionForm(FormParameters(parsing: Array(text.utf8)))
        }
        let form = try read("token=t&audience=ledger&token_type_hint=x")
        #expect(form.token == "t" && form.audience == "ledger")
        #expect(throws: EndpointRefusal.self) { try read("token=t") }
        #expect(throws: EndpointRefusal.self) { try read("audience=ledger") }
    }

    @Test func `RFC 6749 5.2: a description has neither quotation mark nor backslash`() throws {
        let refusal = EndpointRefusal(
            .invalidTarget,
            "no policy \"a\\b\" \u{E9}\r\n",
            retryAfter: 2
        )
        let text = String(decoding: EndpointAnswer(refusal).bytes, as: UTF8.self)
        #expect(text.hasPrefix("HTTP/1.1 400 Bad Request\r\ncache-control: no-store\r\n"))
        #expect(text.contains("\r\nretry-after: 2\r\n"))
        #expect(
            text.hasSuffix(
                "\r\n\r\n{\"error\":\"invalid_target\","
                    + "\"error_description\":\"no policy 'a?b' ????\"}"
            )
        )
    }

    @Test func `RFC 8693 2.2.1: the answer says what the token is`() throws {
        let text = String(
            decoding: ExchangeForm.answer(token: "t", expiresIn: 60).bytes,
            as: UTF8.self
        )
        #expect(text.hasPrefix("HTTP/1.1 200 OK\r\n"))
        #expect(text.contains("\r\ncontent-type: application/json\r\n"))
        #expect(
            text.hasSuffix(
                "\r\n\r\n{\"access_token\":\"t\",\"expires_in\":60,\"issued_token_type\":"
                    + "\"urn:ietf:params:oauth:token-type:access_token\",\"token_type\":\"Bearer\"}"
            )
        )
    }
}
