// SPDX-License-Identifier: Apache-2.0

import Crypto
import Dispatch
import Foundation
import HTTPSemantics
import MTLSProxy
import Reactor
import Routing
import SPIFFE
import Synchronization
import TestPKI

/// A server with TLS that does on each connection what a test says.
///
/// Its library is OpenSSL, which makes a record of each message of the handshake, so that these can
/// be parted.
final class ScriptedServer: Sendable {
    let address: SocketAddress
    private let counts = Mutex((connections: 0, ended: 0))
    private let heard = Mutex<[String]>([])

    var connectionCount: Int { counts.withLock { $0.connections } }
    /// Connections that the script is through with.
    var endedCount: Int { counts.withLock { $0.ended } }
    /// All requests that have come.
    var requests: [String] { heard.withLock { $0 } }

    /// Listens.
    ///
    /// - Parameters:
    ///   - root: Who has signed the clients that it believes.
    ///   - leaf: Who it is.
    ///   - believes: Whether it lets anybody in.
    ///   - script: What it does once somebody has connected; then it closes.
    /// - Throws: If it cannot.
    init(
        _ root: TestAuthority,
        _ leaf: TestLeaf,
        believes: Bool = true,
        _ script: @escaping @Sendable (TLSWire, ScriptedServer) -> Void
    ) throws {
        let socket = try Socket.listen(IPAddress(ipv4: 0x7F00_0001), port: 0)
        guard let port = socket.localEndpoint()?.port,
            let address = SocketAddress("127.0.0.1:\(port)")
        else { throw NoAddress() }
        self.address = address
        let listener = Wire(socket)
        let identity = TLSIdentity(
            chain: leaf.chain,
            privateKeyPKCS8: Array(leaf.key.derRepresentation)
        )
        let context = try TLSContext(provider: .openSSL, role: .server, identities: [identity])
        let requirements = PeerRequirements(
            authorities: TLSAuthorities(
                provider: .openSSL,
                bundles: believes ? [root.trustDomain: root.bundle] : [:]
            ),
            in: root.trustDomain
        )
        _ = try WorkerThread(name: "scripted") {
            while let accepted = listener.accept() {
                _ = try? WorkerThread(name: "script") {
                    self.serve(accepted, context, requirements, script)
                }
            }
        }
    }

    private func serve(
        _ wire: Wire,
        _ context: TLSContext,
        _ requirements: PeerRequirements,
        _ script: (TLSWire, ScriptedServer) -> Void
    ) {
        counts.withLock { $0.connections += 1 }
        if let tls = try? TLSWire(wire, context, requirements) { script(tls, self) }
        wire.close()
        counts.withLock { $0.ended += 1 }
    }

    /// Answers all requests of a connection with the same bytes.
    func answerAll(_ tls: TLSWire, _ answer: String) {
        guard tls.shakeHands() else { return }
        while let request = tls.readRequest() {
            hear(request)
            tls.send([answer])
        }
    }

    func hear(_ request: String) { heard.withLock { $0.append(request) } }
}

/// The server's end of a connection with TLS; it waits for what it reads and writes.
final class TLSWire {
    private let wire: Wire
    private var session: TLSSession
    private let requirements: PeerRequirements
    private var arrived = Buffer()
    private var output = Buffer()
    private var plain = Buffer()

    init(_ wire: Wire, _ context: TLSContext, _ requirements: PeerRequirements) throws {
        guard let session = TLSSession(context, now: bootMilliseconds()) else { throw NoAddress() }
        self.session = session
        self.wire = wire
        self.requirements = requirements
    }

    private func fill() -> Bool {
        let bytes = wire.read(1) + wire.takeReceived()
        arrived.append(bytes.span)
        return !bytes.isEmpty
    }

    private func takeOutput() -> [UInt8] {
        defer { output.clear() }
        return output.copy()
    }

    /// Where each record ends.
    private static func recordEnds(_ bytes: [UInt8]) -> [Int] {
        var ends = [0]
        while let start = ends.last, start + 5 <= bytes.count {
            ends.append(start + 5 + Int(bytes[start + 3]) << 8 + Int(bytes[start + 4]))
        }
        return ends
    }

    /// Does the whole handshake.
    ///
    /// - Parameters:
    ///   - beforeFinished: Called when all but the last message was sent.
    ///   - afterFinished: Called when all was sent, so that only the client's part is open.
    /// - Returns: Whether the client was let in.
    func shakeHands(
        beforeFinished: () -> Void = {},
        afterFinished: () -> Void = {}
    ) -> Bool {
        while true {
            let step = session.handshake(
                &arrived,
                output: &output,
                requirements: requirements,
                now: Date()
            )
            let bytes = takeOutput()
            let ends = Self.recordEnds(bytes)
            if ends.count > 4 {
                // From the answer to the greeting to Finished.
                let last = ends[ends.count - 2]
                wire.send(Array(bytes[..<last]))
                beforeFinished()
                wire.send(Array(bytes[last...]))
                afterFinished()
            } else {
                wire.send(bytes)
            }
            switch step {
            case .done: return true
            case .wantsInput: guard fill() else { return false }
            case .end, .failed: return false
            }
        }
    }

    /// The head of a request without body; nil at the end.
    func readRequest() -> String? {
        while true {
            let text = String(decoding: plain.copy(), as: UTF8.self)
            if text.hasSuffix("\r\n\r\n") {
                plain.clear()
                return text
            }
            plain.reserve(TLSSession.recordBytesMax)
            let step = session.read(
                &arrived,
                into: &plain,
                output: &output,
                now: bootMilliseconds()
            )
            switch step {
            case .done: continue
            case .wantsInput: guard fill() else { return nil }
            case .end, .failed: return nil
            }
        }
    }

    /// Sends texts in records of their own, all at once.
    func send(_ texts: [String]) {
        for text in texts {
            _ = session.write(Array(text.utf8).span, output: &output, now: bootMilliseconds())
        }
        wire.send(takeOutput())
    }
}

/// What a thread tells a test once.
final class Flag: Sendable {
    private let state = Mutex(false)

    var isSet: Bool { state.withLock { $0 } }

    func set() { state.withLock { $0 = true } }
}

/// Where a thread waits for a test.
final class Gate: Sendable {
    private let semaphore = DispatchSemaphore(value: 0)

    func open() { semaphore.signal() }

    func wait() { _ = semaphore.wait(timeout: .now() + 20) }
}

extension ProxyEngine {
    /// Lets a loop do what lies before it, and judge its connections again.
    func settled() async {
        for _ in 0..<3 { _ = await sum() }
    }
}
