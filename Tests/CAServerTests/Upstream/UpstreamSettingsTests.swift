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
        #expect(problem("upstream: vault\n").contains("write none or disk"))
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
}
