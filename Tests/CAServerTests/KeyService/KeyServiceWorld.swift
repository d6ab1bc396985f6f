// SPDX-License-Identifier: Apache-2.0

import CAServer
import Clocks
import Foundation
import GRPCPeer
import Issuance
import SPIFFE
import SwiftASN1
import Synchronization
import TestBridge
import X509

/// A key service in this process, the place of its socket, and vaults whose keys are in it.
///
/// Vaults are called by `apart` alone: their calls wait for the service, which needs the threads that
/// tests run on.
struct KeyServiceWorld: Sendable {
    let bridge = KeyBridge()
    let directory: TestDirectory
    let reports = Reports()
    let clock: any NodeClock

    /// What became of calls.
    final class Reports: Sendable {
        private let results = Mutex<[String]>([])
        private let other = Mutex<(@Sendable (KeyServiceReport) -> Void)?>(nil)

        /// `Sign ok`, in the order of the calls.
        var all: [String] { results.withLock { $0 } }

        /// Does something after each call besides.
        func onEach(_ body: @escaping @Sendable (KeyServiceReport) -> Void) {
            other.withLock { $0 = body }
        }

        func add(_ report: KeyServiceReport) {
            results.withLock { $0.append("\(report.call.rawValue) \(report.result)") }
            other.withLock { $0 }?(report)
        }
    }

    init(clock: any NodeClock = SystemClock()) throws {
        directory = try TestDirectory()
        self.clock = clock
    }

    var socket: String { "\(directory.path)/keys.sock" }

    func vault(
        _ keyType: AuthorityKeyType = .p256,
        owner: String = "0a0b0c0d",
        owners: SocketOwners = SocketOwners(),
        times: KeyServiceTimes = .standard
    ) throws -> KeyVault {
        try KeyVault(
            directory: "\(directory.path)/keys",
            form: .plain,
            place: .service(
                KeyServiceKeys(
                    socket: socket,
                    owners: owners,
                    serverID: owner,
                    times: times,
                    clock: clock,
                    report: { [reports] in reports.add($0) }
                )
            ),
            keyType: keyType
        )
    }

    /// Runs `body` while the service answers.
    func serving<Value: Sendable>(_ body: () async throws -> Value) async throws -> Value {
        try await bridge.serving(at: socket, body)
    }
}

extension KeyVault {
    /// Makes a key and the authority of it, and keeps both.
    func authority() async throws -> (id: String, signer: any Signer) {
        try await apart { vault in
            let signer = try vault.makeAuthorityKey()
            let (authority, _) = try root(signer)
            try vault.keep(signer, authorityID: authority.id)
            return (authority.id, signer)
        }
    }

    func signature(by signer: any Signer, of message: [UInt8] = [1]) async throws -> [UInt8] {
        try await apart { _ in try signer.signature(for: message) }
    }
}

/// A root that the key signed, as another library reads and verifies it.
func root(_ signer: any Signer) throws -> (authority: Authority, Certificate) {
    var generator = SystemRandomness()
    let authority = try Authority.selfSigned(
        trustDomain: TrustDomain("example.org"),
        serverID: "one",
        lifetimes: .standard,
        signer: signer,
        now: Date(timeIntervalSince1970: 1_900_000_000),
        using: &generator
    )
    return (authority, try Certificate(derEncoded: authority.certificateDER))
}

/// Whether a text is one line that no terminal takes for more than text.
func isPlain(_ text: String) -> Bool {
    text.unicodeScalars.allSatisfy { scalar in
        scalar.value >= 0x20 && ![0x7F, 0x9B, 0x2028, 0x202E].contains(scalar.value)
    }
}

/// The words of the error that a call ends with; empty if it does not.
func words(_ call: () async throws -> some Sendable) async -> String {
    do {
        _ = try await call()
        return ""
    } catch {
        return "\(error)"
    }
}
