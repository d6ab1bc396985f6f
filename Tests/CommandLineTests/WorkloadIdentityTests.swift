// SPDX-License-Identifier: Apache-2.0

import ControlAPIProtos
import Foundation
import SPIFFE
import SwiftProtobuf
import TestPKI
import Testing
import signet

@Suite struct WorkloadIdentityTests {
    private static let web = "spiffe://example.org/web"

    private func message(
        _ uri: String = web,
        hint: String = "",
        _ change: (inout ControlAPIProtos.X509SVID) -> Void = { _ in }
    ) throws -> ControlAPIProtos.X509SVID {
        let authority = try TestAuthority.root("example.org")
        let leaf = try authority.leaf(uri)
        let svid = try leaf.svid()
        var message = ControlAPIProtos.X509SVID()
        message.spiffeID = uri
        message.x509Svid = Data(leaf.chain.joined())
        message.x509SvidKey = Data(svid.privateKeyPKCS8)
        message.bundle = Data(authority.der)
        message.hint = hint
        change(&message)
        return message
    }

    private func refusal(
        _ change: (inout ControlAPIProtos.X509SVID) -> Void
    ) throws -> WorkloadIdentityError? {
        let message = try message { change(&$0) }
        do throws(WorkloadIdentityError) {
            _ = try WorkloadIdentity(message)
            return nil
        } catch {
            return error
        }
    }

    @Test func `an identity is read whole and verifies with its bundle`() async throws {
        let identity = try WorkloadIdentity(try message())
        #expect(identity.id.description == Self.web)
        #expect(identity.chain.count == 1 && identity.authorities.count == 1)
        try await identity.verify(now: testNow)
    }

    @Test func `an expired identity does not verify`() async throws {
        let identity = try WorkloadIdentity(try message())
        await #expect(throws: WorkloadIdentityError.doesNotVerify(.expired)) {
            try await identity.verify(now: identity.leaf.notAfter + 1)
        }
    }

    @Test func `an identity of another bundle does not verify`() async throws {
        let stranger = try TestAuthority.root("example.org")
        let identity = try WorkloadIdentity(try message { $0.bundle = Data(stranger.der) })
        await #expect(throws: WorkloadIdentityError.self) {
            try await identity.verify(now: testNow)
        }
    }

    @Test func `what cannot be read entirely is not used`() throws {
        #expect(try refusal { $0.x509SvidKey = Data() } == .keyMissing)
        #expect(try refusal { $0.bundle = Data() } == .bundleMalformed)
        #expect(try refusal { $0.bundle.append(0) } == .bundleMalformed)
        #expect(try refusal { $0.x509Svid = Data() } == .chainMalformed)
        #expect(try refusal { $0.x509Svid.removeLast() } == .chainMalformed)
        #expect(try refusal { $0.x509Svid = Data([0x30, 0]) } != nil)
        #expect(
            try refusal { $0.spiffeID = "spiffe://example.org/db" }
                == .idDiffers(named: "spiffe://example.org/db")
        )
    }

    @Test func `the first identity is the default one`() throws {
        let web = try WorkloadIdentity(try message(hint: "external"))
        let db = try WorkloadIdentity(try message("spiffe://example.org/db", hint: "internal"))
        let both = [web, db]
        #expect(IdentityChoice().first(of: both) == web)
        #expect(IdentityChoice(hint: "internal").first(of: both) == db)
        #expect(IdentityChoice(spiffeID: Self.web).first(of: both) == web)
        #expect(IdentityChoice(spiffeID: Self.web, hint: "internal").first(of: both) == nil)
        #expect(IdentityChoice().first(of: []) == nil)
    }

    @Test func `PEM has lines of 64 characters`() throws {
        let identity = try WorkloadIdentity(try message())
        let lines = identity.chainPEM.split(separator: "\n")
        #expect(lines.first == "-----BEGIN CERTIFICATE-----")
        #expect(lines.last == "-----END CERTIFICATE-----")
        #expect(lines.dropFirst().dropLast(2).allSatisfy { $0.count == 64 })
        let der = Data(base64Encoded: lines.dropFirst().dropLast().joined())
        #expect(der.map { Array($0) } == identity.chain[0])
        #expect(identity.privateKeyPEM.hasPrefix("-----BEGIN PRIVATE KEY-----\n"))
    }
}

@Suite struct ConcatenatedDERTests {
    private static let short: [UInt8] = [0x30, 3, 1, 2, 3]
    private static let long = [0x30, 0x81, 0x80] + [UInt8](repeating: 7, count: 0x80)
    private static let longer = [0x30, 0x82, 0x01, 0x00] + [UInt8](repeating: 9, count: 256)

    @Test func `values are split at their lengths`() {
        #expect(ConcatenatedDER.split([]) == [])
        let all = Self.short + Self.long + Self.longer
        #expect(ConcatenatedDER.split(all) == [Self.short, Self.long, Self.longer])
    }

    @Test(
        arguments: [
            [0x30], [0x31, 0], [0x30, 0x80], [0x30, 0x80, 0, 0], [0x30, 0x81, 0x03, 1, 2, 3],
            [0x30, 0x82, 0x00, 0x80], [0x30, 0x84, 1, 0, 0, 0], [0x30, 5, 1], [0x30, 0, 0],
            [0x30, 0xFF], [0x30, 0x83, 0xFF, 0xFF, 0xFF],
        ] as [[UInt8]]
    )
    func `bytes that are not whole values in DER are refused`(bytes: [UInt8]) {
        #expect(ConcatenatedDER.split(bytes) == nil)
        #expect(ConcatenatedDER.split(Self.short + bytes) == nil)
    }

    @Test func `every cut of a value is refused`() {
        for count in 1..<Self.longer.count {
            #expect(ConcatenatedDER.split(Array(Self.longer.prefix(count))) == nil, "\(count)")
        }
    }
}
