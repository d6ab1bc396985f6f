// SPDX-License-Identifier: Apache-2.0

import Telemetry
import Testing

struct HealthTests {
    @Test func `a starting process is live and not ready`() {
        let health = Health(live: ["datastore"], ready: ["sync"])
        #expect(health.report(.live).isHealthy)
        #expect(!health.report(.ready).isHealthy)
        #expect(health.report(.ready).conditions.map(\.problem) == [nil, "starting"])
    }

    @Test func `ready is everything, live is less`() {
        let health = Health(live: ["datastore"], ready: ["clock", "sync"])
        health.met("sync")
        #expect(!health.report(.ready).isHealthy)
        health.met("clock")
        #expect(health.report(.ready).isHealthy)
        health.unmet("sync", reason: "no server")
        #expect(!health.report(.ready).isHealthy)
        #expect(health.report(.live).isHealthy)
        health.met("sync")
        health.unmet("datastore", reason: "full")
        #expect(!health.report(.live).isHealthy)
        #expect(!health.report(.ready).isHealthy)
    }

    @Test func `the report is JSON with reasons`() {
        let health = Health(live: ["a"], ready: ["b"])
        health.unmet("b", reason: "line\n\"quoted\"\u{1b}")
        #expect(
            health.report(.ready).json == """
                {"healthy":false,"conditions":[{"name":"a","met":true},\
                {"name":"b","met":false,"reason":"line\\n\\"quoted\\"\\u001b"}]}

                """
        )
        #expect(
            health.report(.live).json
                == "{\"healthy\":true,\"conditions\":[{\"name\":\"a\",\"met\":true}]}\n"
        )
    }

    @Test func `a condition that was not declared is a bug`() async {
        await #expect(processExitsWith: .failure) { Health(ready: ["a"]).met("b") }
        await #expect(processExitsWith: .failure) { _ = Health(live: ["a"], ready: ["a"]) }
    }
}
