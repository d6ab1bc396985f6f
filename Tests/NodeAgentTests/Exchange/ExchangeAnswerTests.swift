// SPDX-License-Identifier: Apache-2.0

import Clocks
import ControlAPI
import Crypto
import Foundation
import NodeAgent
import NodeSync
import SPIFFE
import Telemetry
import TestPrograms
import Testing

/// What a workload is told of what the server answers, and of what changes meanwhile.
@Suite(.timeLimit(.minutes(1)))
struct ExchangeAnswerTests {
    private typealias One = ExchangingAgent

    private func counted(_ result: String, _ count: Int) -> String {
        "signet_agent_token_requests_total{request=\"token\",result=\"\(result)\"} \(count)"
    }

    @Test func `what the server signed is given on if it is what was asked for`() async throws {
        try await One.run { one in
            let token = try one.signed()
            let answer = try await one.exchange(answered: .success(token))
            #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\n"), "\(answer)")
            #expect(answer.contains("\"access_token\":\"\(token)\""))
            #expect(one.shows(counted("ok", 1)))
            #expect(one.shows("signet_connections_opened_total{listener=\"token\"} 1"))
        }
    }

    @Test func `what it was not asked for is given to nobody, and logged`() async throws {
        try await One.run { one in
            let answers: [(String, String)] = [
                (try one.signed(subject: One.c), "its chain is another"),
                (try one.signed(actor: One.c), "its chain is another"),
                (try one.signed(endsAfter: 301), "it ends after the token that was shown"),
                (try one.signed(by: P256.Signing.PrivateKey()), "it does not verify: "),
                // B's own token, as a server would sign that ignores whom it is for.
                (try one.shown(of: One.b, for: "ledger"), "it does not verify: "),
            ]
            for (token, rule) in answers {
                let answer = try await one.exchange(answered: .success(token))
                #expect(answer.hasPrefix("HTTP/1.1 503 "), "\(answer)")
                #expect(answer.contains("answerRefused: ") && answer.contains(rule), "\(answer)")
                #expect(!answer.contains(token))
                let last = try #require(one.log.lines.last { $0.hasPrefix("error ") })
                #expect(last.contains("reason=\(rule)") && last.contains("actor=\(One.b)"))
            }
            #expect(one.shows(counted("badAnswer", answers.count)))
            // Of no token the payload.
            #expect(!one.log.lines.contains { $0.contains(".eyJ") })
        }
    }

    @Test func `an entry that goes meanwhile gives its process nothing`() async throws {
        try await One.run { one in
            let token = try one.signed()
            let answer = try await one.exchange(answered: .success(token)) {
                one.change(.remove(ResourceKey(.entry, "entry-b")))
            }
            #expect(answer.hasPrefix("HTTP/1.1 400 "), "\(answer)")
            #expect(answer.contains("\"error\":\"invalid_client\"") && !answer.contains(token))
            // Who has no entry is not told about tokens either.
            let introspection = try await one.introspect(token)
            #expect(introspection.contains("\"error\":\"invalid_client\""), "\(introspection)")
        }
    }

    /// Connects, lets its child ask and runs another program once it has read a line.
    private static let asker = """
        import os, socket, sys
        up = socket.socket(socket.AF_UNIX)
        up.connect(sys.argv[1])
        if os.fork():
            while os.read(0, 1) != b"\\n":
                pass
            os.execv("/bin/cat", ["cat"])
        up.sendall(sys.argv[2].encode())
        answer = b""
        while more := up.recv(65536):
            answer += more
        os.write(1, answer)
        """

    @Test(.enabled(if: Relay.isPossible, "needs python3"))
    func `a process that runs another program meanwhile is told nothing`() async throws {
        try await One.run { one in
            let token = try one.signed()
            let request = tokenRequest(One.form(try one.shown()), to: "/token")
            let program = try RunningProgram(
                "/usr/bin/python3",
                ["-c", Self.asker, one.tokenSocket, request]
            )
            let call = try await one.next()
            try program.tell("x")
            #expect(try program.ask("there") == "there\n")
            call.finish(.success(token))
            let clock = SystemClock()
            // So that the read holds up no thread that the answer needs.
            for _ in 0..<3_000 {
                if one.shows(counted("invalid_client", 1)) { break }
                try await clock.sleep(untilBoot: clock.bootTime + .milliseconds(10))
            }
            let answer = program.read()
            #expect(answer.hasPrefix("HTTP/1.1 400 "), "\(answer)")
            #expect(!answer.contains(token))
        }
    }

    @Test func `another hint of the entry meanwhile is no other identity`() async throws {
        try await One.run { one in
            let entry = try one.agent.own("b", hint: "internal")
            let again = try ResourcePayload.entry(entry).resource
            let answer = try await one.exchange(answered: .success(try one.signed())) {
                one.change(again)
            }
            #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\n"), "\(answer)")
        }
    }

    /// What b is told if somebody is revoked while the server is asked.
    private func answer(_ one: ExchangingAgent, whenRevoked id: String) async throws -> String {
        let revocation = try ResourcePayload.revocation(
            name: "one",
            .identity(
                try SPIFFEID(id),
                issuedBefore: Date(timeIntervalSince1970: Double(one.start + 60))
            )
        ).resource
        return try await one.exchange(answered: .success(try one.signed())) {
            one.change(revocation)
        }
    }

    @Test func `when its subject is revoked meanwhile the token is worth nothing any more`()
        async throws
    {
        try await One.run { one in
            let answer = try await answer(one, whenRevoked: One.a)
            #expect(answer.hasPrefix("HTTP/1.1 400 "), "\(answer)")
            #expect(answer.contains("\"error\":\"invalid_request\""), "\(answer)")
            #expect(answer.contains("partyRevoked: \(One.a) "), "\(answer)")
        }
    }

    @Test func `when the actor is revoked meanwhile he may ask again`() async throws {
        try await One.run { one in
            let answer = try await answer(one, whenRevoked: One.b)
            #expect(answer.hasPrefix("HTTP/1.1 503 "), "\(answer)")
            #expect(answer.contains("identityRevoked: ") && answer.contains("retry-after: 1\r\n"))
            #expect(one.shows(counted("overtaken", 1)))
        }
    }

    @Test func `a key that the agent has not heard of passes, another signature does not`()
        async throws
    {
        try await One.run { one in
            let stranger = P256.Signing.PrivateKey()
            let newer = try await one.exchange(try one.shown(by: stranger))
            #expect(newer.hasPrefix("HTTP/1.1 503 "), "\(newer)")
            #expect(newer.contains("retry-after: 1\r\n") && newer.contains("keyUnknown: "))
            #expect(one.shows(counted("notReady", 1)))
            let elsewhere = "spiffe://partner.example/a"
            for token in [
                try one.shown(by: stranger, isNamed: false), try one.shown(of: elsewhere),
            ] {
                let answer = try await one.exchange(token)
                #expect(answer.hasPrefix("HTTP/1.1 400 "), "\(answer)")
                #expect(answer.contains("subjectTokenRefused: "), "\(answer)")
            }
        }
    }

    @Test func `a key that should have come long ago is no new one, and asking for it counts`()
        async throws
    {
        try await One.run { one in
            let stranger = P256.Signing.PrivateKey()
            for seconds in [-3_600, 3_600] {
                let token = try one.shown(by: stranger, issuedAfter: seconds)
                let answer = try await one.exchange(token)
                #expect(answer.hasPrefix("HTTP/1.1 400 "), "\(answer)")
            }
            let old = try one.shown(by: stranger, issuedAfter: -3_600)
            // Without a server nobody knows what has come since.
            one.agent.tell { $0.disconnected(now: $1, using: &$2) }
            let away = try await one.exchange(old)
            #expect(away.hasPrefix("HTTP/1.1 503 ") && away.contains("keyUnknown: "), "\(away)")
            // Each takes of the user's rate, though none comes to the server: five come back a second.
            var isLimited = false
            for _ in 0..<1_000 where !isLimited {
                isLimited = try await one.exchange(old).hasPrefix("HTTP/1.1 429 ")
            }
            #expect(isLimited)
        }
    }

    @Test func `a key or a time that only the server knows is no wrong answer`() async throws {
        try await One.run { one in
            let answers: [(token: String, word: String, label: String)] = [
                (
                    try one.signed(by: P256.Signing.PrivateKey(), isNamed: true), "keyUnknown: ",
                    "notReady"
                ),
                // Within the leeway of verifiers, and beyond it.
                (try one.signed(endsAfter: -1), "tokenEnded: ", "overtaken"),
                (try one.signed(endsAfter: -3_600), "tokenEnded: ", "overtaken"),
                (try one.signed(beginsAfter: 150), "clockDiffers: ", "notReady"),
            ]
            for (token, word, _) in answers {
                let answer = try await one.exchange(answered: .success(token))
                #expect(answer.hasPrefix("HTTP/1.1 503 "), "\(answer)")
                #expect(answer.contains(word) && !answer.contains(token), "\(answer)")
            }
            for label in Set(answers.map(\.label)) {
                #expect(one.shows(counted(label, answers.count { $0.label == label })))
            }
            #expect(!one.log.lines.contains { $0.hasPrefix("error ") })
        }
    }

    @Test func `a token that has ended is not active, though verifiers take it a while longer`()
        async throws
    {
        try await One.run { one in
            let active = try await one.introspect(try one.signed())
            #expect(active.contains("\"active\":true"), "\(active)")
            // Within the leeway of verifiers, and beyond it; one that begins later is not active either.
            let others = [
                try one.signed(endsAfter: -1), try one.signed(endsAfter: -3_600),
                try one.signed(beginsAfter: 150),
            ]
            for token in others {
                let answer = try await one.introspect(token)
                #expect(answer.hasSuffix("\r\n\r\n{\"active\":false}"), "\(answer)")
            }
            let counted = "signet_agent_token_requests_total{request=\"introspect\","
            #expect(one.shows(counted + "result=\"active\"} 1"))
            #expect(one.shows(counted + "result=\"inactive\"} \(others.count)"))
        }
    }

    @Test func `nobody acts for himself`() async throws {
        try await One.run { one in
            let answer = try await one.exchange(try one.shown(of: One.b))
            #expect(answer.hasPrefix("HTTP/1.1 400 "), "\(answer)")
            #expect(answer.contains("\"error_description\":\"chainRefused: "), "\(answer)")
        }
    }

    @Test func `when the server says when to ask again the workload hears it`() async throws {
        try await One.run { one in
            let refusals: [(APIError, status: Int, wait: Int, label: String)] = [
                (
                    APIError(
                        .unavailable,
                        "identityRevoked",
                        "wait",
                        retryAfter: .milliseconds(89_001)
                    ), 503, 90, "serverRefused"
                ),
                (
                    APIError(.exhausted, APIError.signingRate, "slow", retryAfter: .seconds(3)),
                    429, 3, "limited"
                ),
                (APIError(.unavailable, "transport", "gone"), 503, 1, "serverAway"),
            ]
            for (error, status, wait, label) in refusals {
                let answer = try await one.exchange(answered: .failure(error))
                #expect(answer.hasPrefix("HTTP/1.1 \(status) "), "\(answer)")
                #expect(answer.contains("\r\nretry-after: \(wait)\r\n"), "\(answer)")
                #expect(answer.contains("\"error\":\"temporarily_unavailable\""))
                #expect(one.shows(counted(label, 1)))
            }
        }
    }

    @Test func `without a connection nobody waits`() async throws {
        try await One.run { one in
            one.hangUp()
            let answer = try await one.exchange(try one.shown())
            #expect(answer.hasPrefix("HTTP/1.1 503 ") && answer.contains("serverAway: "))
            #expect(one.shows(counted("serverAway", 1)))
        }
    }

    @Test func `who has as many under way as he may is told so, or that the server is away`()
        async throws
    {
        try await One.run { one in
            let token = try one.shown()
            try await withThrowingTaskGroup(of: String.self) { group in
                var calls: [ExchangeCall] = []
                for _ in 0..<ExchangeAdmission.underWayPerUserMax {
                    group.addTask { try await one.exchange(token) }
                    calls.append(try await one.next())
                }
                let more = try await one.exchange(token)
                #expect(more.hasPrefix("HTTP/1.1 429 ") && more.contains("exchangesUnderWay: "))
                one.agent.tell { $0.disconnected(now: $1, using: &$2) }
                let away = try await one.exchange(token)
                #expect(away.hasPrefix("HTTP/1.1 503 ") && away.contains("serverAway: "))
                for call in calls { call.finish(.success(try one.signed())) }
                for try await answer in group { #expect(answer.hasPrefix("HTTP/1.1 200 ")) }
            }
        }
    }

    @Test func `a user's connections are counted while they wait`() async throws {
        try await One.run(places: WorkloadPlaces(perUser: 2, all: 9)) { one in
            let token = try one.shown()
            async let first = one.exchange(token)
            async let second = one.exchange(token)
            let calls = [try await one.next(), try await one.next()]
            #expect(one.shows("signet_connections_open{listener=\"token\"} 2"))
            // Whether the client hears an end or a broken pipe is chance.
            let third = try? await one.introspect(token)
            #expect(third ?? "" == "")
            #expect(one.shows("signet_connections_refused_total{reason=\"connectionsMax\"} 1"))
            for call in calls { call.finish(.success(try one.signed())) }
            let answers = try await [first, second]
            #expect(answers.allSatisfy { $0.hasPrefix("HTTP/1.1 200 ") })
        }
    }
}
