// SPDX-License-Identifier: Apache-2.0

import Testing
import signet

@Suite struct OptionTests {
    @Test func `a file mode is octal and has no special bits`() throws {
        #expect(try FileMode.parse("0640") == 0o640)
        #expect(try FileMode.parse("600") == 0o600)
        for text in ["", "0800", "4755", "01777", "rw-", "-600", "00600"] {
            #expect(throws: (any Error).self, "\(text)") { try FileMode.parse(text) }
        }
    }

    @Test func `others get no access to a private key`() throws {
        for text in ["0600", "0640", "0440", "0400"] { _ = try FileMode.parseKey(text) }
        for text in ["0644", "0604", "0601", "0602", "777"] {
            #expect(throws: (any Error).self, "\(text)") { try FileMode.parseKey(text) }
        }
    }

    @Test func `a serial is looked for whole`() throws {
        let whole = "01b6242cc4b9da20b6242cc4b9da20aaFF"
        #expect(try TypedQuery.serial(whole) == whole.lowercased())
        for text in ["", "01b6242cc4b9da20", "zz", "\(whole)0", "g\(whole.dropFirst())"] {
            #expect(throws: (any Error).self, "\(text)") { try TypedQuery.serial(text) }
        }
    }

    @Test func `an actor is looked for as the log writes it`() throws {
        for text in [
            "spiffe://example.org/web", "uid:0@host", "person:https://id#a", "system:rotation",
        ] {
            #expect(try TypedQuery.actor(text) == text)
        }
        for text in ["", "foo", "uid:0", "uid:+0@host", "system:", "spiffe://", "person:a"] {
            #expect(throws: (any Error).self, "\(text)") { try TypedQuery.actor(text) }
        }
    }

    @Test func `a signal is known with and without SIG, in any case`() {
        #expect(SignalName.number(of: "HUP") == 1)
        #expect(SignalName.number(of: "sighup") == 1)
        #expect(SignalName.number(of: "SIGUSR1") == 10)
        for name in ["", "SIG", "KILL", "9", "HUPP"] {
            #expect(SignalName.number(of: name) == nil, "\(name)")
        }
    }

    @Test func `a line that the shell would make several programs of is known`() {
        for line in [
            "web", "nginx -g \"daemon off;\"", "web 'a && b' > log 2>1", "web a\\;b",
            "web \"a\\\"|b\"",
        ] {
            #expect(ShellLine.isOneProgram(line), "\(line)")
        }
        for line in ["a; b", "a && b", "a | b", "a &", "a\nb", "'a' ; b", "\"a\\\"\" | b"] {
            #expect(!ShellLine.isOneProgram(line), "\(line)")
        }
    }

    @Test func `waits between attempts grow, vary and stay bounded`() {
        for failures in [0, 1, 5, 9, 10, 63, 64, Int.max] {
            let bound =
                failures < 6 ? Backoff.firstMax * (1 << failures) : Backoff.delayMax
            for _ in 0..<50 {
                let delay = Backoff.delay(afterFailures: failures)
                #expect(delay >= bound / 2 && delay <= bound, "\(failures): \(delay)")
            }
        }
    }
}
