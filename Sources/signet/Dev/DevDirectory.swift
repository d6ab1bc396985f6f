// SPDX-License-Identifier: Apache-2.0

internal import Foundation

/// Where `signet dev` keeps everything: one directory that may be deleted at any time while it does
/// not run.
package struct DevDirectory: Hashable, Sendable {
    /// Enough of a log to show why a program ended.
    static let logTailLinesMax = 15

    /// Absolute, without symbolic links resolved.
    package let path: String

    /// Names the directory as typed, relative to `workingDirectory`.
    package init(_ typed: String, workingDirectory: String) {
        let absolute = typed.hasPrefix("/") ? typed : "\(workingDirectory)/\(typed)"
        path = (absolute as NSString).standardizingPath
    }

    package var serverConfiguration: String { "\(path)/server.yaml" }
    package var serverData: String { "\(path)/server/data" }
    package var adminSocket: String { "\(path)/server/admin.sock" }
    package var agentData: String { "\(path)/agent/data" }
    /// Exists once the agent has an identity.
    package var agentIdentity: String { "\(agentData)/identity" }
    package var joinToken: String { "\(path)/agent/join-token" }
    package var workloadSocket: String { "\(path)/agent/workload.sock" }
    /// Where the agent puts it if nothing else is said.
    package var proxySocket: String { "\(path)/agent/proxy.sock" }
    package var example: String { "\(path)/example.yaml" }
    package var dataPath: String { "\(path)/data-path.yaml" }
    package var lock: String { "\(path)/lock" }

    package func log(of program: String) -> String { "\(path)/logs/\(program).log" }

    /// The last lines of a log, enough to show why a program ended.
    func logTail(of program: String) -> [String] {
        let text = (try? String(contentsOfFile: log(of: program), encoding: .utf8)) ?? ""
        return text.split(separator: "\n").suffix(Self.logTailLinesMax)
            .map { "  | \(Terminal.printable(String($0)))" }
    }

    /// What has to be there before the programs start, with permissions.
    ///
    /// Workloads of other users pass through to the agent's socket; they see nothing on the way.
    package var folders: [(path: String, mode: UInt32)] {
        [
            (path, 0o711), ("\(path)/server", 0o700), ("\(path)/agent", 0o711),
            ("\(path)/logs", 0o700),
        ]
    }

    /// The value for SPIFFE_ENDPOINT_SOCKET.
    package var endpoint: String { "unix://\(workloadSocket)" }
}

/// The part of the development server's configuration that `signet dev` decides or needs to know.
package struct DevServerConfiguration: Hashable, Sendable {
    package var trustDomain: String
    package var port: UInt16
    package var adminSocket: String

    package init(trustDomain: String, port: UInt16, adminSocket: String) {
        self.trustDomain = trustDomain
        self.port = port
        self.adminSocket = adminSocket
    }

    /// The whole file, for the user that runs the server.
    package func text(dataDirectory: String, uid: UInt32) -> String {
        """
        # Written by signet dev, which changes nothing but the port, and that only when it is
        # taken. Every key is described in docs/operations.md.
        trustDomain: \(trustDomain)
        dataDirectory: \(Self.quoted(dataDirectory))
        listen: 127.0.0.1:\(port)
        advertise: ["127.0.0.1:\(port)"]
        adminSocket: \(Self.quoted(adminSocket))
        admins: [uid:\(uid)]
        keyStorage: plain
        telemetryPort: 0

        """
    }

    /// Reads what an earlier run, or its user, wrote; the server itself checks the rest.
    ///
    /// - Throws: `CommandFailure` naming the key.
    package init(reading text: String) throws {
        var values: [String: String] = [:]
        for line in text.split(separator: "\n") where !line.hasPrefix("#") {
            guard let colon = line.firstIndex(of: ":") else { continue }
            let value = line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces)
            values[String(line[..<colon])] = value.trimmingCharacters(
                in: CharacterSet(charactersIn: "\"'")
            )
        }
        guard let trustDomain = values["trustDomain"], let socket = values["adminSocket"],
            let listen = values["listen"], let colon = listen.lastIndex(of: ":"),
            let port = UInt16(listen[listen.index(after: colon)...])
        else {
            throw CommandFailure(
                "server.yaml lacks trustDomain, adminSocket or listen, or they have another form",
                remedy: "Delete the file; signet dev writes it anew."
            )
        }
        self.init(trustDomain: trustDomain, port: port, adminSocket: socket)
    }

    /// The file with another port and nothing else changed.
    package static func replacing(port: UInt16, with newPort: UInt16, in text: String) -> String {
        text.split(separator: "\n", omittingEmptySubsequences: false).map { line in
            line.hasPrefix("listen:") || line.hasPrefix("advertise:")
                ? String(line).replacing(":\(port)", with: ":\(newPort)") : String(line)
        }
        .joined(separator: "\n")
    }

    /// A YAML scalar in double quotes.
    private static func quoted(_ text: String) -> String {
        let escaped = text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"")
        return "\"\(escaped)\""
    }
}
