// SPDX-License-Identifier: Apache-2.0

import CAServer
import Clocks
import Crypto
import Foundation
import GRPCCore
import GRPCPeer
import Synchronization
import SwiftASN1
import TestBridge
import TestPKI
import Testing
import X509

/// What certifies authorities from a process at a socket, over a real one.
@Suite(.timeLimit(.minutes(2)))
struct ServiceUpstreamTests {
    private let bridge: UpstreamBridge
    private let directory: TestDirectory
    private let key = P256.Signing.PrivateKey()

    init() throws {
        bridge = try UpstreamBridge("example.org", now: testNow)
        directory = try TestDirectory()
    }

    private var socket: String { "\(directory.path)/up.sock" }

    private func upstream(
        owners: SocketOwners = SocketOwners(),
        answerDuration: Duration = UpstreamLimits.answerDuration,
        streamDuration: Duration = ServiceUpstream.streamDurationMax
    ) -> ServiceUpstream {
        ServiceUpstream(
            socket: socket,
            owners: owners,
            clock: SystemClock(),
            answerDuration: answerDuration,
            streamDuration: streamDuration
        )
    }

    /// A request as a server makes it: all that the certificate shall say.
    private func request() throws -> UpstreamRequest {
        let subject = try DistinguishedName { CommonName("authority of a test") }
        let wanted = try Certificate.Extensions {
            Critical(BasicConstraints.isCertificateAuthority(maxPathLength: 0))
            Critical(KeyUsage(keyCertSign: true, cRLSign: true))
            SubjectAlternativeNames([.uniformResourceIdentifier("spiffe://example.org")])
        }
        let csr = try CertificateSigningRequest(
            version: .v1,
            subject: subject,
            privateKey: Certificate.PrivateKey(key),
            attributes: CertificateSigningRequest.Attributes([
                .init(ExtensionRequest(extensions: wanted))
            ]),
            signatureAlgorithm: .ecdsaWithSHA256
        )
        var der = DER.Serializer()
        try der.serialize(csr)
        return UpstreamRequest(csr: der.serializedBytes, lifetimeSeconds: 3_600)
    }

    @Test func `a key is certified as it was asked for, below the upstream's authority`()
        async throws
    {
        let chain = try await bridge.serving(at: socket) {
            try await upstream().certify(request())
        }
        let certificates = try chain.map { try Certificate(derEncoded: $0) }
        try #require(certificates.count == 2)
        #expect(certificates[0].publicKey == Certificate.PublicKey(key.publicKey))
        #expect(
            certificates[1].publicKey.isValidSignature(
                certificates[0].signature,
                for: certificates[0]
            )
        )
        #expect(certificates[0].notValidAfter == testNow.addingTimeInterval(3_600))
        let names = try certificates[0].extensions.subjectAlternativeNames
        #expect(names.map { Array($0) } == [.uniformResourceIdentifier("spiffe://example.org")])
        // The root is told apart.
        let root = try Certificate(derEncoded: try #require(bridge.roots.first))
        #expect(
            root.publicKey.isValidSignature(certificates[1].signature, for: certificates[1])
        )
    }

    @Test(arguments: [
        (UpstreamBridge.Fault.refuses(.permissionDenied), "refuses (permissionDenied): told"),
        (.refuses(.unavailable), "is not available: told"), (.answersTooMuch, "payload size"),
        (.holds, "has not answered within"),
    ])
    func `what does not certify says why`(fault: UpstreamBridge.Fault, said: String) async throws {
        try await bridge.serving(at: socket) {
            bridge.fail(fault)
            let limit = fault == .holds ? .milliseconds(300) : UpstreamLimits.answerDuration
            let heard = await words {
                try await upstream(answerDuration: limit).certify(request())
            }
            #expect(heard.contains(said), "\(heard)")
            #expect(isPlain(heard), "\(heard)")
            #expect(bridge.certified == 0)
            bridge.fail(.none)
            let chain = try await upstream().certify(request())
            #expect(chain.count == 2)
        }
    }

    @Test(arguments: [UpstreamKind.agent, .service])
    func `an agent is called as its workloads call it`(kind: UpstreamKind) async throws {
        try await bridge.serving(at: socket) {
            let upstream = ServiceUpstream(
                kind,
                socket: socket,
                owners: SocketOwners(),
                clock: SystemClock()
            )
            #expect(upstream.kind == kind)
            _ = try await upstream.certify(request())
            bridge.fail(.endsStream)
            _ = await words { try await upstream.watch { _ in } }
            #expect(bridge.headers == [kind == .agent, kind == .agent])
        }
    }

    @Test func `nobody at the socket, and somebody else, are told apart`() async throws {
        let away = await words { try await upstream().certify(request()) }
        #expect(away.contains("No such file"), "\(away)")
        try await bridge.serving(at: socket) {
            let other = upstream(owners: SocketOwners(only: [geteuid() + 1]))
            let heard = await words { try await other.certify(request()) }
            #expect(heard.contains("user \(geteuid()) listens there"), "\(heard)")
            #expect(bridge.certified == 0)
        }
    }

    @Test func `what is above is told whole, at once and when it changes`() async throws {
        let (told, outlet) = AsyncStream.makeStream(of: UpstreamTrust.self)
        try await bridge.serving(at: socket) {
            let first = bridge.roots
            let second = try TestAuthority.root("example.org").der
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await upstream().watch { outlet.yield($0) } }
                var heard = told.makeAsyncIterator()
                #expect(await heard.next() == UpstreamTrust(roots: first))
                bridge.tell(roots: first + [second], revoking: [1, 2, 3])
                let next = await heard.next()
                #expect(next?.roots == first + [second] && next?.revokedKeyIDs == [[1, 2, 3]])
                group.cancelAll()
                // Cancelled, it has nothing to complain of.
                try await group.waitForAll()
            }
        }
    }

    @Test(arguments: [
        (UpstreamBridge.Fault.endsStream, "has ended its stream"),
        (.answersTooMuch, "payload size"),
        (.refuses(.unauthenticated), "refuses (unauthenticated)"),
        (.holds, "has not said what is above within"),
    ])
    func `a stream that ends says why, and what was told stays`(
        fault: UpstreamBridge.Fault,
        said: String
    ) async throws {
        try await bridge.serving(at: socket) {
            bridge.fail(fault)
            let limit = fault == .holds ? .milliseconds(300) : UpstreamLimits.answerDuration
            let told = Mutex<[UpstreamTrust]>([])
            let heard = await words {
                try await upstream(answerDuration: limit).watch { trust in
                    told.withLock { $0.append(trust) }
                }
            }
            #expect(heard.contains(said), "\(heard)")
            let expected = fault == .endsStream ? [UpstreamTrust(roots: bridge.roots)] : []
            #expect(told.withLock { $0 } == expected)
        }
    }

    @Test func `a process that hangs is asked anew what is above`() async throws {
        let (told, outlet) = AsyncStream.makeStream(of: UpstreamTrust.self)
        try await bridge.serving(at: socket) {
            bridge.fail(.fallsSilent)
            let first = bridge.roots
            let second = try TestAuthority.root("example.org").der
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    try await upstream(streamDuration: .seconds(1)).watch { outlet.yield($0) }
                }
                var heard = told.makeAsyncIterator()
                #expect(await heard.next()?.roots == first)
                // Nobody is told at once, as nobody would be by a process that hangs.
                bridge.tell(roots: [second])
                var next = await heard.next()
                // One that began before may have said the old ones again.
                while next?.roots == first { next = await heard.next() }
                #expect(next?.roots == [second])
                group.cancelAll()
                try await group.waitForAll()
            }
        }
    }

    @Test func `a process that ends is noticed by who watches it`() async throws {
        let (told, outlet) = AsyncStream.makeStream(of: UpstreamTrust.self)
        try await withThrowingTaskGroup(of: String.self) { group in
            try await bridge.serving(at: socket) {
                group.addTask { await words { try await upstream().watch { outlet.yield($0) } } }
                var heard = told.makeAsyncIterator()
                #expect(await heard.next() != nil)
            }
            let end = try await group.next()
            #expect(end?.isEmpty == false, "\(String(describing: end))")
        }
    }
}
