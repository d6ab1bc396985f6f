// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import Issuance
import SPIFFE
import TestSeeds
import Testing

/// Profile files: what they may say, and that what they say holds (record 0020, "Profiles as data").
struct ProfileFileTests {
    /// A shipped file, changed as text.
    private static func file(
        _ kind: ProfileKind,
        _ changes: (from: String, to: String)...
    ) throws -> [UInt8] {
        let folder = URL(filePath: #filePath)
            .deletingLastPathComponent()
            .deletingLastPathComponent()
            .deletingLastPathComponent()
        let path = folder.appending(path: "pki/profiles/\(kind.rawValue).json")
        var text = String(decoding: try Data(contentsOf: path), as: UTF8.self)
        for (from, to) in changes {
            try #require(text.contains(from), "\(from)")
            text = text.replacing(from, with: to)
        }
        return Array(text.utf8)
    }

    /// A shipped file with members more.
    private static func file(_ kind: ProfileKind, adding members: String) throws -> [UInt8] {
        try file(kind, (#""version": 3"#, "\(members), \"version\": 3"))
    }

    private static let keys =
        "\"P-256\",\n    \"P-384\",\n    \"RSA-2048 to RSA-4096, exponent 65537\""

    private static func workshop(adding members: String) throws -> Workshop {
        let profile = try CertificateProfile(
            parsing: file(.workload, adding: members),
            kind: .workload
        )
        return try Workshop(profiles: CertificateProfiles([.workload: profile]))
    }

    private static func refusal(
        _ workshop: Workshop,
        _ entry: RegistrationEntry
    ) throws -> IssuanceRefusal? {
        let request = try Workshop.request()
        let id = try SPIFFEID("spiffe://example.org/web")
        do throws(IssuanceRefusal) {
            _ = try workshop.issuer.approve(
                request,
                entry: entry,
                claiming: id,
                node: workshop.node,
                now: Workshop.now
            )
            return nil
        } catch {
            return error
        }
    }

    @Test(arguments: ProfileKind.allCases)
    func `the shipped file is what is built in`(kind: ProfileKind) throws {
        let profile = try CertificateProfile(parsing: Self.file(kind), kind: kind)
        #expect(profile == kind.builtIn)
    }

    @Test func `what narrows is read`() throws {
        let members = """
            "lifetimeSecondsMax": 600,
            "dnsNames": {"max": 2, "suffixes": ["example.org", "example.net"]}
            """
        let bytes = try Self.file(
            .workload,
            (#""version": 3"#, "\(members), \"version\": 3"),
            (Self.keys, #""RSA-3072, exponent 65537", "P-384""#),
            ("A workload with", "Narrow: a workload with")
        )
        let limits = try CertificateProfile(parsing: bytes, kind: .workload).limits
        #expect(limits.lifetimeMax == .seconds(600))
        #expect(limits.keys == [.rsa(bits: 3072...3072), .p384])
        #expect(limits.dnsNamesMax == 2)
        #expect(limits.dnsSuffixes == ["example.org", "example.net"])
    }

    @Test(arguments: [
        (#""critical": true"#, #""critical": false"#, "extensions"),
        (#""digitalSignature""#, #""digitalSignature", "keyEncipherment""#, "extensions"),
        (#""serverAuth","#, "", "extensions"),
        ("at most 32", "at most 64", "extensions"),
        (#""serialBytes": 17"#, #""serialBytes": 8"#, "serialBytes"),
        (#""version": 3"#, #""version": 3.0"#, "version"),
        (#""backdateSeconds": 60"#, #""backdateSeconds": 300"#, "backdateSeconds"),
        (#""lifetimeSeconds": 3600"#, #""lifetimeSeconds": 60"#, "lifetimeSeconds"),
        (#""role": "workload""#, #""role": "agent""#, "role"),
        (#""isSelfSigned": false"#, #""isSelfSigned": true"#, "isSelfSigned"),
        ("RSA-2048 to RSA-4096", "RSA-1024 to RSA-4096", "subjectKeys"),
        ("RSA-2048 to RSA-4096", "RSA-2048 to RSA-8192", "subjectKeys"),
        ("RSA-2048 to RSA-4096", "RSA-0 to RSA-9223372036854775807", "subjectKeys"),
        (#""version": 3"#, #""dnsNames": {"max": 33}, "version": 3"#, "dnsNames.max"),
    ])
    func `a file that says what the code does not make widens`(
        _ from: String,
        _ to: String,
        _ member: String
    ) throws {
        let bytes = try Self.file(.workload, (from, to))
        #expect(throws: ProfileError.profileWidens(member)) {
            try CertificateProfile(parsing: bytes, kind: .workload)
        }
    }

    @Test(arguments: [
        #""lifetimeSecondsMax": 9"#, #""lifetimeSecondsMax": "600""#,
        #""lifetimeSecondsMax": 600.5"#, #""lifetimeSecondsMax": -600"#, #""dnsNames": 3"#,
        #""dnsNames": {"suffixes": []}"#, #""dnsNames": {"suffixes": [".example.org"]}"#,
        #""dnsNames": {"suffixes": ["Example.org"]}"#, #""dnsNames": {"max": -1}"#,
        #""dnsNames": {"suffix": ["example.org"]}"#, #""lifetimeSecondMax": 600"#,
        #""nameConstraints": []"#, #""role": "workload""#,
    ])
    func `a member that cannot be read refuses the file`(_ members: String) throws {
        let bytes = try Self.file(.workload, adding: members)
        #expect(throws: ProfileError.self) {
            try CertificateProfile(parsing: bytes, kind: .workload)
        }
    }

    @Test(arguments: ["", "RSA-4096 to RSA-2048, exponent 65537", "RSA-+2048, exponent 65537"])
    func `a kind of key has one spelling`(_ kind: String) throws {
        let bytes = try Self.file(.workload, (Self.keys, "\"\(kind)\""))
        #expect(throws: ProfileError.self) {
            try CertificateProfile(parsing: bytes, kind: .workload)
        }
    }

    @Test func `agents and authorities have no DNS names to narrow`() throws {
        for kind in [ProfileKind.agent, .root] {
            let bytes = try Self.file(kind, adding: #""dnsNames": {"max": 0}"#)
            #expect(throws: ProfileError.memberUnknown("dnsNames")) {
                try CertificateProfile(parsing: bytes, kind: kind)
            }
        }
    }

    @Test func `a lifetime above the file's is refused, one at it is not`() throws {
        let workshop = try Self.workshop(adding: #""lifetimeSecondsMax": 3600"#)
        #expect(try Self.refusal(workshop, Workshop.entry(lifetimeSeconds: 3600)) == nil)
        #expect(
            try Self.refusal(workshop, Workshop.entry(lifetimeSeconds: 3601))
                == .lifetimeExceedsProfile(max: .seconds(3600))
        )
    }

    @Test func `DNS names outside the file's are refused, the suffix itself is not`() throws {
        let workshop = try Self.workshop(
            adding: #""dnsNames": {"max": 2, "suffixes": ["example.org"]}"#
        )
        func refusal(_ names: String...) throws -> IssuanceRefusal? {
            try Self.refusal(workshop, Workshop.entry(dnsNames: names))
        }
        #expect(try refusal("example.org", "a.example.org") == nil)
        #expect(try refusal("badexample.org") == .dnsNameOutsideProfile("badexample.org"))
        #expect(try refusal("example.org.evil") == .dnsNameOutsideProfile("example.org.evil"))
        #expect(
            try refusal("a.example.org", "b.example.org", "c.example.org")
                == .dnsNameOutsideProfile("c.example.org")
        )
    }

    @Test func `a key outside the file's is refused`() throws {
        let bytes = try Self.file(.workload, (Self.keys, #""P-384""#))
        let profile = try CertificateProfile(parsing: bytes, kind: .workload)
        let workshop = try Workshop(profiles: CertificateProfiles([.workload: profile]))
        #expect(try Self.refusal(workshop, Workshop.entry()) == .keyOutsideProfile(.p256))
        // The agent's own certificate has a profile of its own.
        _ = try workshop.issuer.approveAgent(Workshop.request(), name: "a", now: Workshop.now)
    }

    @Test func `what a narrow profile allows is issued by the same rules`() throws {
        let workshop = try Self.workshop(adding: #""lifetimeSecondsMax": 3600"#)
        let warrant = try workshop.issuer.approve(
            Workshop.request(),
            entry: Workshop.entry(dnsNames: ["web.example.org"]),
            claiming: SPIFFEID("spiffe://example.org/web"),
            node: workshop.node,
            now: Workshop.now
        )
        #expect(try workshop.issue(warrant).prepared.role == .workload)
    }

    @Test func `an authority outside its file is not signed`() throws {
        let limits = [ProfileLimits(keys: [.p384]), ProfileLimits(lifetimeMax: .seconds(3600))]
        let rules = ["signet-profile-key", "signet-validity-within-limit"]
        for (limits, rule) in zip(limits, rules) {
            #expect(throws: AuthorityError.lint([rule])) {
                var generator = SeededGenerator(seed: 1)
                _ = try Authority.selfSigned(
                    trustDomain: TrustDomain("example.org"),
                    serverID: "server-1",
                    lifetimes: .standard,
                    profile: CertificateProfile.root.narrowed(by: limits),
                    signer: Workshop.signer(1),
                    now: Workshop.now,
                    using: &generator
                )
            }
        }
    }
}
