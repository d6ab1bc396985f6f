// SPDX-License-Identifier: Apache-2.0

import Testing
import signet

@Suite struct DevDirectoryTests {
    private let configuration = DevServerConfiguration(
        trustDomain: "example.org",
        port: 4711,
        adminSocket: "/a b/admin.sock"
    )

    @Test func `a relative directory is below the working directory`() {
        #expect(DevDirectory(".signet", workingDirectory: "/home/a").path == "/home/a/.signet")
        #expect(DevDirectory("./x/../y", workingDirectory: "/home/a").path == "/home/a/y")
        #expect(DevDirectory("/srv/s", workingDirectory: "/home/a").path == "/srv/s")
        #expect(
            DevDirectory("/srv/s", workingDirectory: "/").endpoint
                == "unix:///srv/s/agent/workload.sock"
        )
    }

    @Test func `what is written is read again`() throws {
        let text = configuration.text(dataDirectory: "/a \"b\"/data", uid: 1000)
        #expect(try DevServerConfiguration(reading: text) == configuration)
        #expect(text.contains("admins: [uid:1000]"))
        #expect(text.contains("dataDirectory: \"/a \\\"b\\\"/data\""))
    }

    @Test func `another port changes two lines and no other`() throws {
        let text =
            configuration.text(dataDirectory: "/data/4711", uid: 1000)
            + "# mine :4711\nworkloadSVIDTTL: 10m\n"
        let changed = DevServerConfiguration.replacing(port: 4711, with: 815, in: text)
        #expect(try DevServerConfiguration(reading: changed).port == 815)
        let pairs = zip(text.split(separator: "\n"), changed.split(separator: "\n"))
        let different = pairs.filter { $0 != $1 }.map { String($1) }
        #expect(different == ["listen: 127.0.0.1:815", "advertise: [\"127.0.0.1:815\"]"])
    }

    @Test(arguments: ["trustDomain", "adminSocket", "listen"])
    func `a file without a key that is needed is refused`(key: String) {
        let text = configuration.text(dataDirectory: "/d", uid: 0)
            .split(separator: "\n").filter { !$0.hasPrefix("\(key):") }.joined(separator: "\n")
        #expect(throws: CommandFailure.self) { try DevServerConfiguration(reading: text) }
    }
}
