// SPDX-License-Identifier: Apache-2.0

import CAServer
import Foundation
import Testing

/// What the configuration says of what is above authorities.
@Suite struct UpstreamSettingsTests {
    private static let disk = "upstream: disk\n"
    private static let files = "upstreamCertificate: /etc/u.pem\nupstreamRoots: /etc/r.pem\n"

    private func read(_ lines: String, storage: String = "plain") throws -> ServerConfiguration {
        let directory = try TestDirectory()
        let path = "\(directory.path)/server.yaml"
        let text = "trustDomain: example.org\ndataDirectory: /d\nkeyStorage: \(storage)\n\(lines)"
        try Data(text.utf8).write(to: URL(filePath: path))
        return try ServerConfiguration(file: path)
    }

    private func problem(_ lines: String, storage: String = "plain") -> String {
        do {
            _ = try read(lines, storage: storage)
            return ""
        } catch {
            return "\(error)"
        }
    }

    @Test func `without an upstream nothing is different`() throws {
        #expect(try read("").upstream == nil)
        #expect(try read("upstream: none\n").upstream == nil)
    }

    @Test func `an upstream on disk has a certificate and roots`() throws {
        let read = try read(Self.disk + Self.files)
        #expect(read.upstream == .disk)
        #expect(read.upstreamCertificate == "/etc/u.pem" && read.upstreamRoots == "/etc/r.pem")
        #expect(problem(Self.disk).contains("upstreamCertificate: is missing"))
        #expect(problem(Self.disk).contains("upstreamRoots: is missing"))
        #expect(problem(Self.files).contains("there is no upstream: disk"))
        #expect(problem("upstream: vault\n").contains("write none, disk, service or agent"))
        let relative = Self.disk + "upstreamCertificate: u.pem\nupstreamRoots: /r.pem\n"
        #expect(problem(relative).contains("write an absolute path"))
    }

    @Test func `keys in memory have no upstream authority on disk`() {
        #expect(problem(Self.disk + Self.files, storage: "memory").contains("keyStorage"))
    }

    @Test(arguments: [("7d", true), ("8d", false)])
    func `below an upstream authorities live for a week at most`(
        lifetime: String,
        isTaken: Bool
    ) {
        let lines = "authorityTTL: \(lifetime)\n"
        #expect(problem(lines) == "")
        #expect((problem(Self.disk + Self.files + lines) == "") == isTaken)
    }

    @Test func `a process that certifies has a socket, and may be whose it is said to be`() throws {
        let service = try read("upstream: service\nserviceSocket: /s\nserviceUIDs: [970]\n")
        #expect(service.upstream == .service && service.serviceSocket == "/s")
        #expect(service.serviceUIDs == [970])
        let agent = try read("upstream: agent\nupstreamSocket: /a\nserviceUIDs: [971]\n")
        #expect(agent.upstream == .agent && agent.upstreamSocket == "/a")
        // One process may do both.
        let both = "upstream: service\nserviceSocket: /s\n"
        #expect(problem(both, storage: "service") == "")
    }

    @Test(arguments: [
        ("upstream: service\n", "serviceSocket: is missing: write the path of the upstream's"),
        ("upstream: service\nserviceSocket: s\n", "write an absolute path of at most 107 bytes"),
        ("upstream: agent\n", "upstreamSocket: is missing"),
        ("upstream: agent\nupstreamSocket: a\n", "upstreamSocket: write an absolute path"),
        ("upstream: agent\nupstreamSocket: /a\nserviceSocket: /s\n", "or upstream: service"),
        ("upstream: service\nserviceSocket: /s\nupstreamSocket: /a\n", "no upstream: agent"),
        ("upstreamSocket: /a\n", "upstreamSocket: there is no upstream: agent"),
        ("serviceUIDs: [970]\n", "upstream: service or agent"),
        ("serviceSocket: /s\n", "write keyStorage: service to use it, or upstream: service"),
    ])
    func `what does not fit a process is refused with its remedy`(lines: String, remedy: String) {
        #expect(problem(lines).contains(remedy), "\(problem(lines))")
    }

    @Test(arguments: ["service\nserviceSocket: /s", "agent\nupstreamSocket: /a"])
    func `files are of an upstream on disk alone`(upstream: String) {
        let said = problem("upstream: \(upstream)\n" + Self.files)
        #expect(said.contains("upstreamCertificate: there is no upstream: disk"), "\(said)")
        #expect(said.contains("upstreamRoots: there is no upstream: disk"), "\(said)")
    }
}
