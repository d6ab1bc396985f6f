// SPDX-License-Identifier: Apache-2.0

import TestPrograms
import Testing

/// SPIFFE Workload API, X.509 profile, asked by another gRPC library (grpcio).
@Suite(.sharedMachine, .timeLimit(.minutes(3)))
struct WorkloadAPITests {
    @Test func `A-1 the X.509 and JWT profiles are complete, WIT answers UNIMPLEMENTED`()
        async throws
    {
        let machine = try SharedMachine.machine
        let workload = try await machine.registered("a1")
        try await machine.check("tokens", ["spiffe://example.org/a1"], as: workload)
        try await machine.check("profiles", as: workload)
        try await machine.check("whole", ["spiffe://example.org/a1"], as: workload)
    }

    @Test func `ID-7 an ID of 2048 bytes is served, a longer one is not registered`() async throws {
        let machine = try SharedMachine.machine
        let workload = try await machine.makeWorkload("id7")
        let longest = "spiffe://example.org/" + String(repeating: "a", count: 2048 - 21)
        let path = String(longest.dropFirst("spiffe://example.org/".count))
        try await machine.apply(
            Machine.entry(path, name: "id7", workload: workload.selector)
        )
        try await machine.check("whole", [longest], as: workload)
        let refused = await #expect(throws: ProgramFailure.self) {
            try await machine.apply(
                Machine.entry(path + "a", name: "id7-longer", workload: workload.selector)
            )
        }
        #expect("\(String(describing: refused))".contains("2048"))
    }

    @Test func `A-2 the client keeps one stream and comes back when it ends`() async throws {
        let machine = try Machine()
        try await machine.startServer()
        try await machine.startAgent()
        try await machine.register("a2")
        let watch = try Program(
            Installation.binary("signet"),
            ["svid", "watch", "--agent-socket", machine.workloadSocket],
            directory: machine.path
        )
        try await watch.waitFor("spiffe://example.org/a2")
        let before = watch.output.ranges(of: "spiffe://example.org/a2").count
        try await machine.agent.stop(.kill)
        try await machine.startAgent()
        try await watch.waitFor("spiffe://example.org/a2", times: before + 1)
        try await watch.stop()
        try await machine.stop()
    }

    @Test func `A-3 messages are whole, the first at once, the next on a change alone`()
        async throws
    {
        let machine = try SharedMachine.machine
        let workload = try await machine.registered("a3")
        let watch = try machine.start(workload, "rows.py", ["watch", "a3", "a3,a3b"])
        try await watch.waitFor("message a3")
        // Changes that do not concern it make no message, else the next would not be a3,a3b.
        try await machine.register("a3-other", uid: 4_000_000)
        try await machine.apply(Machine.entry("a3b", workload: workload.selector))
        let result = try await watch.result()
        #expect(result.isSuccess, "\(result.report)")
    }

    @Test func `A-4 what is missing in a message is gone, and who has nothing left is denied`()
        async throws
    {
        let machine = try SharedMachine.machine
        let workload = try await machine.registered("a4")
        try await machine.apply(Machine.entry("a4b", workload: workload.selector))
        let watch = try machine.start(workload, "rows.py", ["watch", "a4,a4b", "a4", "denied"])
        try await watch.waitFor("message a4,a4b")
        for name in ["a4b", "a4"] {
            let deleted = try await machine.signet(["delete", "RegistrationEntry", name])
            #expect(deleted.isSuccess, "\(deleted.report)")
            if name == "a4b" { try await watch.waitFor("message a4\n") }
        }
        let result = try await watch.result()
        #expect(result.isSuccess, "\(result.report)")
    }

    @Test func `A-3 A-4 key sets come at once, on a change of a key alone, and end with the entry`()
        async throws
    {
        // A machine of its own: whoever follows a stream hears of another authority.
        let machine = try Machine()
        try await machine.startServer()
        try await machine.startAgent()
        let workload = try await machine.registered("a4-keys")
        let watch = try machine.start(workload, "rows.py", ["jwt_watch", "1", "2", "denied"])
        try await watch.waitFor("keys 1")
        // The agent has confirmed them; a message about them would have one key still.
        try await machine.apply(Machine.entry("a4-more", workload: workload.selector))
        try await machine.register("a4-other", uid: 4_000_000)
        let prepared = try await machine.signet(["authority", "prepare"])
        #expect(prepared.isSuccess, "\(prepared.report)")
        try await watch.waitFor("keys 2")
        for name in ["a4-more", "a4-keys"] {
            let deleted = try await machine.signet(["delete", "RegistrationEntry", name])
            #expect(deleted.isSuccess, "\(deleted.report)")
        }
        let result = try await watch.result()
        #expect(result.isSuccess, "\(result.report)")
        try await machine.stop()
    }

    @Test func `A-5 a request of the JWT profile without a mandatory field is refused`()
        async throws
    {
        let machine = try SharedMachine.machine
        let workload = try await machine.registered("a5-request")
        try await machine.check("jwt_fields", as: workload)
    }

    @Test(arguments: ["none", "spiffe_id", "svid", "empty"])
    func `A-5 the client discards a token's answer without a mandatory field`(
        _ field: String
    ) async throws {
        let machine = try SharedMachine.machine
        let workload = try await machine.registered("a5-token-\(field.replacing("_", with: "-"))")
        let socket = "\(machine.path)/token-\(field).sock"
        let fake = try machine.start(workload, "fake_agent.py", [socket, "token:\(field)"])
        try await fake.waitFor("ready")
        let fetched = try await machine.signet(
            ["jwt", "fetch", "--audience", "api", "--raw", "--agent-socket", socket]
        )
        #expect(fetched.isSuccess == (field == "none"), "\(fetched.report)")
        #expect(fetched.output.isEmpty == (field != "none"), "\(fetched.report)")
        if field != "none" { #expect(!fetched.errors.isEmpty) }
        try await fake.stop(.kill)
    }

    @Test(arguments: ["none", "spiffe_id", "x509_svid", "x509_svid_key", "bundle", "empty"])
    func `A-5 the client discards an answer without a mandatory field`(_ field: String) async throws
    {
        let machine = try SharedMachine.machine
        let workload = try await machine.registered("a5-\(field.replacing("_", with: "-"))")
        let socket = "\(machine.path)/fake-\(field).sock"
        let fake = try machine.start(workload, "fake_agent.py", [socket, field])
        try await fake.waitFor("ready")
        let fetched = try await machine.signet(["svid", "fetch", "--agent-socket", socket])
        #expect(fetched.isSuccess == (field == "none"), "\(fetched.report)")
        if field != "none" {
            #expect(!fetched.output.contains("BEGIN"))
            #expect(!fetched.errors.isEmpty)
        }
        try await fake.stop(.kill)
    }

    @Test func `A-6 an answer has an identity and the own bundle, keyed by trust domain`()
        async throws
    {
        let machine = try SharedMachine.machine
        let workload = try await machine.registered("a6")
        try await machine.check("whole", ["spiffe://example.org/a6"], as: workload)
    }

    @Test func `A-7 X.509 bundles hold X.509 authorities and nothing else`() async throws {
        let machine = try SharedMachine.machine
        let workload = try await machine.registered("a7")
        try await machine.check("whole", ["spiffe://example.org/a7"], as: workload)
    }

    @Test func `A-8 a hint is unique in an answer and has at most 1024 bytes`() async throws {
        let machine = try SharedMachine.machine
        let workload = try await machine.registered("a8", more: ["hint: internal"])
        try await machine.apply(
            Machine.entry("a8b", workload: workload.selector, more: ["hint: internal"])
        )
        try await machine.apply(
            Machine.entry("a8c", workload: workload.selector, more: ["hint: external"])
        )
        try await machine.check("hints", ["internal", "", "external"], as: workload)
        let long = String(repeating: "h", count: 1025)
        await #expect(throws: ProgramFailure.self) {
            try await machine.apply(
                Machine.entry("a8d", workload: workload.selector, more: ["hint: \(long)"])
            )
        }
    }

    @Test func `A-8 A-11 tokens have the hints of their identities, the oldest keeps its own`()
        async throws
    {
        let machine = try SharedMachine.machine
        let workload = try await machine.registered("a8-tokens", more: ["hint: internal"])
        for (name, hint) in [("a8-tokens-b", "internal"), ("a8-tokens-c", "external")] {
            try await machine.apply(
                Machine.entry(name, workload: workload.selector, more: ["hint: \(hint)"])
            )
        }
        try await machine.check("token_hints", ["internal", "", "external"], as: workload)
    }

    @Test func `A-6 A-7 A-9 A-10 each identity has a token that other libraries verify`()
        async throws
    {
        let machine = try SharedMachine.machine
        let workload = try await machine.registered("a9")
        try await machine.apply(Machine.entry("a9b", workload: workload.selector))
        try await machine.check(
            "tokens",
            ["spiffe://example.org/a9", "spiffe://example.org/a9b"],
            as: workload
        )
    }

    @Test func `A-9 A-12 a process without entry gets no token, no keys and no validation`()
        async throws
    {
        let machine = try SharedMachine.machine
        try await machine.check("tokens_denied", as: try await machine.makeWorkload("a9-nobody"))
    }

    @Test func `A-11 the order of identities is the same in every answer`() async throws {
        let machine = try SharedMachine.machine
        // Names that sort otherwise than the entries were made.
        let workload = try await machine.registered("a11-z")
        for name in ["a11-m", "a11-a"] {
            try await machine.apply(Machine.entry(name, workload: workload.selector))
        }
        let wanted = ["z", "m", "a"].map { "spiffe://example.org/a11-\($0)" }
        try await machine.check("order", wanted, as: workload)
    }

    @Test func `A-12 a process without entry gets neither identities nor bundles`() async throws {
        let machine = try SharedMachine.machine
        try await machine.check("denied", as: try await machine.makeWorkload("a12"))
    }

    @Test func `A-13 the crl fields have the list of each authority in the bundle`() async throws {
        let machine = try SharedMachine.machine
        try await machine.check("crl", as: try await machine.registered("a13"))
    }
}
