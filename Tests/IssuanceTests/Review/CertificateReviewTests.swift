// SPDX-License-Identifier: Apache-2.0

import Crypto
import FoundationEssentials
import Issuance
import SPIFFE
import Testing

/// What `signet ca recheck` makes of a record (docs/decisions/0020-authorities-under-another.md).
struct CertificateReviewTests {
    private let workshop: Workshop
    private let recorded: RecordedCertificate

    init() throws {
        workshop = try Workshop()
        let warrant = try workshop.issuer.approve(
            Workshop.request(),
            entry: Workshop.entry(dnsNames: ["a.example.org", "b.example.org"]),
            claiming: SPIFFEID("spiffe://example.org/web"),
            node: workshop.node,
            now: Workshop.now
        )
        let prepared = try workshop.issue(warrant).prepared
        recorded = RecordedCertificate(
            serial: prepared.serial.bytes,
            role: prepared.role,
            id: prepared.id.description,
            dnsNames: prepared.dnsNames,
            spki: prepared.spki,
            notBefore: prepared.notBefore,
            notAfter: prepared.notAfter,
            tbsSHA256: prepared.tbsSHA256
        )
    }

    private func defects(
        _ certificate: RecordedCertificate,
        lifetimes: SVIDLifetimes = .standard,
        profiles: CertificateProfiles = .standard,
        authority: Authority? = nil
    ) throws -> [CertificateDefect] {
        try CertificateReview(
            authority: authority ?? workshop.authority,
            lifetimes: lifetimes,
            profiles: profiles
        )
        .defects(of: certificate)
    }

    @Test func `what was issued is made again byte for byte`() throws {
        #expect(try defects(recorded) == [])
        var old = workshop.authority
        old.state = .old
        #expect(try defects(recorded, authority: old) == [])
    }

    @Test func `a changed name shows`() throws {
        var changed = recorded
        changed.id += "x"
        #expect(try defects(changed) == [.digest])
        changed = recorded
        changed.dnsNames[0] += "x"
        #expect(try defects(changed) == [.digest])
        changed = recorded
        changed.dnsNames.removeLast()
        #expect(try defects(changed) == [.digest])
    }

    @Test func `every other changed field shows`() throws {
        var changed = recorded
        changed.serial[16] ^= 1
        #expect(try defects(changed) == [.digest])
        changed = recorded
        changed.notBefore += 1
        #expect(try defects(changed) == [.digest])
        changed = recorded
        changed.notAfter -= 1
        #expect(try defects(changed) == [.digest])
        changed = recorded
        changed.spki = Array(try Workshop.key(3).publicKey.derRepresentation)
        #expect(try defects(changed) == [.digest])
        changed = recorded
        changed.dnsNames.swapAt(0, 1)
        #expect(try defects(changed) == [.digest])
        changed = recorded
        changed.tbsSHA256[0] ^= 1
        #expect(try defects(changed) == [.digest])
        let other = try Workshop(signer: Workshop.signer(9)).authority
        #expect(try defects(recorded, authority: other).contains(.digest))
    }

    @Test func `what is no record of ours is named`() throws {
        var changed = recorded
        changed.serial = [2] + changed.serial.dropFirst()
        #expect(try defects(changed) == [.record("serial")])
        changed = recorded
        changed.spki = [0x30, 0x00]
        #expect(try defects(changed) == [.record("key")])
        changed = recorded
        changed.notAfter = Date(timeIntervalSince1970: -1)
        #expect(try defects(changed) == [.record("validity")])
    }

    @Test func `today's lifetimes and profile are what it is read by`() throws {
        let shorter = try SVIDLifetimes(
            workload: .seconds(1800),
            workloadMax: .seconds(1800),
            agent: .seconds(1800),
            server: .seconds(1800)
        )
        #expect(
            try defects(recorded, lifetimes: shorter) == [.lint([CertificateReview.lifetimeRule])]
        )
        // Others of that server live longer, this one does not.
        let onlyWorkloads = try SVIDLifetimes(workload: .seconds(1800), workloadMax: .seconds(1800))
        #expect(
            try defects(recorded, lifetimes: onlyWorkloads)
                == [.lint([CertificateReview.lifetimeRule])]
        )
        let limits = ProfileLimits(dnsNamesMax: 1)
        let narrow = CertificateProfiles([.workload: CertificateProfile.leaf.narrowed(by: limits)])
        #expect(try defects(recorded, profiles: narrow) == [.lint(["signet-profile-dns-names"])])
    }

    @Test func `an entry's revision grants what it could have granted`() throws {
        let id = try SPIFFEID("spiffe://example.org/web")
        func defect(
            _ entry: RegistrationEntry,
            _ id: SPIFFEID = id,
            names: [String]? = [],
            lifetime: TimeInterval = 3600,
            standard: Duration? = nil
        ) -> EntryGrantDefect? {
            entry.grantDefect(
                id: id,
                dnsNames: names,
                issuedAt: Workshop.now,
                notAfter: Workshop.now + lifetime,
                defaultLifetime: standard,
                in: workshop.trustDomain
            )
        }
        #expect(defect(try Workshop.entry()) == nil)
        #expect(defect(try Workshop.entry(), try SPIFFEID("spiffe://example.org/db")) == .id)
        #expect(defect(try Workshop.entry(), try SPIFFEID("spiffe://other.org/web")) == .id)
        let template = try Workshop.entry("spiffe://example.org/{node.role}")
        #expect(defect(template) == nil)
        #expect(defect(template, try SPIFFEID("spiffe://example.org/signet/web")) == .id)
        #expect(defect(try Workshop.entry(dnsNames: ["a.example.org"])) == .dnsNames)
        #expect(defect(try Workshop.entry(dnsNames: ["a.example.org"]), names: nil) == nil)
        #expect(defect(try Workshop.entry(expires: Workshop.now + 3599)) == .expires)
        #expect(defect(try Workshop.entry(expires: Workshop.now + 3600)) == nil)
        #expect(defect(try Workshop.entry(lifetimeSeconds: 3599)) == .lifetime)
        #expect(defect(try Workshop.entry(lifetimeSeconds: 3600)) == nil)
        #expect(defect(try Workshop.entry(), standard: .seconds(3599)) == .lifetime)
        #expect(defect(try Workshop.entry(), standard: .seconds(3600)) == nil)
        let own = try Workshop.entry(lifetimeSeconds: 3600)
        #expect(defect(own, standard: .seconds(3599)) == nil)
    }
}
