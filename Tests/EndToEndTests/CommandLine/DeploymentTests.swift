// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms
import Testing

/// What deploy/ holds works with the programs that ship.
@Suite(.serialized, .timeLimit(.minutes(2)))
struct DeploymentTests {
    private static let deploy = Installation.repository.appending(path: "deploy")
    private static let units = [
        "signet-agent.service", "signet-audit-export.service", "signet-backup.service",
        "signet-files@.service", "signet-proxy@.service", "signet-server.service",
    ]
    /// Each starts the service of its name.
    private static let timers = ["signet-audit-export.timer", "signet-backup.timer"]

    private static func unit(_ name: String) throws -> String {
        try String(
            contentsOf: deploy.appending(path: "systemd/\(name)"),
            encoding: .utf8
        )
    }

    @Test func `every unit is tested here`() throws {
        let files = try FileManager.default.contentsOfDirectory(
            atPath: Self.deploy.appending(path: "systemd").path
        )
        #expect(files.sorted() == (Self.units + Self.timers).sorted())
    }

    @Test(arguments: timers)
    func `a timer starts a service that is there, also one that was missed`(name: String) throws {
        let timer = try Self.unit(name)
        #expect(Self.units.contains(name.replacing(".timer", with: ".service")))
        #expect(timer.contains("\nOnCalendar="))
        #expect(timer.contains("\nPersistent=yes\n"))
        #expect(timer.contains("\nWantedBy=timers.target\n"))
    }

    @Test func `the first copy of a large log has the time that it takes`() throws {
        let unit = try Self.unit("signet-audit-export.service")
        #expect(unit.contains("\nTimeoutStartSec=infinity\n"))
    }

    @Test(arguments: units)
    func `a unit starts a program of ours with options that it has`(name: String) async throws {
        let lines = try Self.unit(name).split(separator: "\n")
        let starts = lines.filter { $0.contains("ExecStart=/") }
        #expect(!starts.isEmpty)
        for start in starts {
            let words = start.split(separator: "=", maxSplits: 1)[1].split(separator: " ")
            let program = try #require(words.first)
            #expect(program.hasPrefix("/usr/bin/signet"), "\(program)")
            let binary = try Installation.binary(String(program.dropFirst("/usr/bin/".count)))
            let command = words.dropFirst().prefix { !$0.hasPrefix("-") }.map(String.init)
            let directory = try TestDirectory()
            let help = try await Installation.run(
                binary,
                command + ["--help"],
                directory: directory.path
            )
            #expect(help.isSuccess, "\(help.report)")
            for option in words where option.hasPrefix("--") {
                #expect(help.output.contains("\(option) "), "\(name): \(option)")
            }
        }
    }

    /// Configuration, data and sockets are where the programs look for them when nothing is said.
    @Test func `units give the programs the places that their configuration names`() throws {
        for (program, name) in [("server", "admin.sock"), ("agent", "workload.sock")] {
            let unit = try Self.unit("signet-\(program).service")
            let configuration = try String(
                contentsOf: Self.deploy.appending(path: "config/\(program).yaml"),
                encoding: .utf8
            )
            #expect(unit.contains("--config /etc/signet/\(program).yaml"))
            #expect(unit.contains("StateDirectory=signet/\(program)\n"))
            #expect(configuration.contains("dataDirectory: /var/lib/signet/\(program)\n"))
            #expect(unit.contains("RuntimeDirectory=signet/\(program)\n"))
            #expect(configuration.contains("/run/signet/\(program)/\(name)\n"))
        }
    }

    /// The group that both units name is the one that the agent gives its socket to.
    @Test func `a proxy runs as who may speak to its agent, and dumps nothing`() throws {
        let proxy = try Self.unit("signet-proxy@.service")
        #expect(proxy.contains("\nGroup=signet-proxy\n"))
        #expect(proxy.contains("\nEnvironment=SWIFT_BACKTRACE=enable=no\n"))
        #expect(proxy.contains("\nLimitCORE=0\n"))
        #expect(proxy.contains("--proxy %I "))
        let agent = try Self.unit("signet-agent.service")
        #expect(agent.contains("\nSupplementaryGroups=signet-proxy\n"))
        let configuration = try String(
            contentsOf: Self.deploy.appending(path: "config/agent.yaml"),
            encoding: .utf8
        )
        #expect(configuration.contains("proxySocket: /run/signet/agent/proxy.sock\n"))
        #expect(configuration.contains("proxySocketGroup: signet-proxy\n"))
    }

    @Test(arguments: units)
    func `systemd finds nothing wrong with a unit`(name: String) async throws {
        // Machines without systemd run the other tests of the unit.
        guard let systemd = try? Installation.tool("systemd-analyze") else { return }
        let directory = try TestDirectory()
        // It looks for the programs, which are not installed here, and for the user of a template.
        let text = try Self.unit(name).replacing("/usr/bin/", with: "\(Installation.binaries)/")
        let instance = name.replacing("@.", with: "@root.")
        let path = "\(directory.path)/\(instance)"
        try text.write(toFile: path, atomically: true, encoding: .utf8)
        let verified = try await Installation.run(
            systemd,
            ["verify", "--man=no", "--recursive-errors=no", path],
            directory: directory.path
        )
        #expect(verified.isSuccess, "\(verified.report)")
        #expect(!verified.errors.contains(instance), "\(verified.report)")
    }

    @Test func `the examples can be applied as they are`() async throws {
        let machine = try Machine()
        try await machine.startServer()
        let folder = Self.deploy.appending(path: "examples").path
        let applied = try await machine.signet(["apply", "-f", folder])
        #expect(applied.isSuccess, "\(applied.report)")
        for document in ["RegistrationEntry/payments/web", "RoleBinding/payments/emergency"] {
            #expect(applied.output.contains(document), "\(applied.report)")
        }
        // One of the entries federates with one of the trust domains, and the server does not
        // exchange the tokens of which a policy speaks; nothing else.
        let warnings = applied.errors.split(separator: "\n").filter { $0.contains("warning") }
        #expect(warnings.count == 2, "\(applied.report)")
        #expect(warnings.first?.hasSuffix("federate with it from now on: 1") == true)
        #expect(warnings.last?.hasSuffix("write tokenExchange: true in its server.yaml") == true)
        try await machine.stop()
    }
}
