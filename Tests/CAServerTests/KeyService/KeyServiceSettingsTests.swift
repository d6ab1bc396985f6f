// SPDX-License-Identifier: Apache-2.0

import CAServer
import Dispatch
import Foundation
import Issuance
import Testing

/// What the configuration says of a key service.
struct KeyServiceSettingsTests {
    private func read(_ lines: String) throws -> Result<ServerConfiguration, any Error> {
        let directory = try TestDirectory()
        let path = "\(directory.path)/server.yaml"
        let text = "trustDomain: example.org\ndataDirectory: /var/lib/signet\n\(lines)\n"
        try Data(text.utf8).write(to: URL(filePath: path))
        return Result { try ServerConfiguration(file: path) }
    }

    @Test(arguments: [
        ("keyStorage: service", "serviceSocket: is missing"),
        ("keyStorage: service\nserviceSocket: run/keys.sock", "write an absolute path"),
        (
            "keyStorage: service\nserviceSocket: /\(String(repeating: "a", count: 107))",
            "at most 107 bytes"
        ),
        ("keyStorage: plain\nserviceSocket: /s", "write keyStorage: service to use it"),
        ("keyStorage: plain\nserviceUIDs: [1]", "write keyStorage: service to use it"),
        ("keyStorage: service\nserviceSocket: /s\nserviceUIDs: [0, vault]", "id -u"),
        ("keyStorage: service\nserviceSocket: /s\nserviceUIDs: [4294967295]", "id -u"),
        ("keyStorage: service\nserviceSocket: /s\nserviceUIDs: [-1]", "id -u"),
        ("keyStorage: service\nserviceSocket: /s\npkcs11Token: t", "write keyStorage: pkcs11"),
    ])
    func `what does not fit is refused with its remedy`(lines: String, remedy: String) throws {
        guard case .failure(let error) = try read(lines) else {
            Issue.record("accepted")
            return
        }
        #expect("\(error)".contains(remedy), "\(error)")
    }

    @Test func `a socket, and whose process may be there`() throws {
        let found = try read("keyStorage: service\nserviceSocket: /s\nserviceUIDs: [970, 0]").get()
        #expect(found.keyStorage == .service && found.serviceSocket == "/s")
        #expect(found.serviceUIDs == [970, 0])
    }
}

/// Calls that wait.
@Suite(.timeLimit(.minutes(1)))
struct WaitingCallTests {
    @Test func `more calls than threads are all made, and tasks run meanwhile`() async throws {
        let directory = try TestDirectory()
        let vault = try KeyVault(
            directory: "\(directory.path)/keys",
            form: .plain,
            place: .memory,
            keyType: .p256
        )
        let gate = DispatchSemaphore(value: 0)
        let (begun, begin) = AsyncStream.makeStream(of: Void.self)
        try await withThrowingTaskGroup(of: Int.self) { group in
            for number in 0..<100 {
                group.addTask {
                    try await vault.apart { _ in
                        begin.yield()
                        gate.wait()
                        return number
                    }
                }
            }
            // So many wait at once, with no task's help; then each lets one go.
            var waiting = 0
            for await _ in begun {
                waiting += 1
                if waiting == 32 { break }
            }
            for _ in 0..<100 { gate.signal() }
            var made: Set<Int> = []
            for try await number in group { made.insert(number) }
            #expect(made.count == 100)
        }
    }
}
