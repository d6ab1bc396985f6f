// SPDX-License-Identifier: Apache-2.0

import Issuance
import TestSeeds
import Testing

/// The encrypted key of a root (pki/README.md).
struct EncryptedKeyFileTests {
    private static let passphrase = Array("a long passphrase".utf8)

    /// Of `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -aes256`.
    private static let openSSL = """
        -----BEGIN ENCRYPTED PRIVATE KEY-----
        MIIBHDBXBgkqhkiG9w0BBQ0wSjApBgkqhkiG9w0BBQwwHAQIYu3qw276DEYCAggA
        MAwGCCqGSIb3DQIJBQAwHQYJYIZIAWUDBAEqBBBfY4cVOm0D1bLV/7OoCcmNBIHA
        d3QIKQqflK8sNtOnTOTJJVMTbfoDlVTm/JnF7N8x/m314dFg3G+kJlyb7TZHVlx+
        AxYwMkWJuw6xpHTJ8tG7GqHJZ10fPwC6fjqucZxeM0tNjGKlFLKmyt1SXqjxD6Qv
        NqFmn0QNF5WJcpJPsyJye2qZSws70L97pMX1KB1VzSZBvvgP/GxYSUw1ApPL+O9r
        RUmv9mXZ17501dOH+nB8vkq6XeOG27Fomx3x/zR6hXodGXdJ7l75FNUe0JhGHvE7
        -----END ENCRYPTED PRIVATE KEY-----
        """

    private func refusal(
        of file: String,
        passphrase: [UInt8] = passphrase
    ) -> EncryptedKeyError? {
        do throws(EncryptedKeyError) {
            _ = try EncryptedKeyFile.open(Array(file.utf8), passphrase: passphrase)
            return nil
        } catch {
            return error
        }
    }

    private func sealed(seed: UInt64 = 1) throws -> (key: [UInt8], file: String) {
        let key = try MemorySigner.new(.p384).pkcs8DER
        var generator = SeededGenerator(seed: seed)
        return (
            key,
            try EncryptedKeyFile.seal(key, passphrase: Self.passphrase, using: &generator)
        )
    }

    @Test func `a key comes back`() throws {
        let (key, file) = try sealed()
        #expect(file.hasPrefix("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"))
        let opened = try EncryptedKeyFile.open(
            Array(file.utf8),
            passphrase: Self.passphrase
        )
        #expect(opened == key)
    }

    @Test func `a key that OpenSSL has encrypted is read`() throws {
        let opened = try EncryptedKeyFile.open(
            Array(Self.openSSL.utf8),
            passphrase: Self.passphrase
        )
        #expect(try MemorySigner(pkcs8DER: opened).keyType == .p384)
    }

    @Test func `a wrong passphrase opens nothing`() throws {
        let (_, file) = try sealed()
        // With some of them the padding is good by chance.
        for last in UInt8(1)...8 {
            #expect(refusal(of: file, passphrase: Self.passphrase + [last]) == .notOpened)
        }
        #expect(refusal(of: file, passphrase: []) == .passphraseLength)
    }

    @Test func `what is no encrypted key is called what it is`() throws {
        #expect(refusal(of: "SGNTKEY") == .notPEM)
        let plain = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"
        #expect(refusal(of: plain) == .otherThan("PRIVATE KEY"))
        let empty =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n"
        #expect(refusal(of: empty) == .malformed)
        #expect(refusal(of: String(repeating: " ", count: 9 * 1024)) == .length)
    }

    /// Whoever exchanges the file must not have the machine of the ceremony hang.
    @Test func `a file does not make its reader spend more than is allowed`() throws {
        #expect(refusal(of: Self.dearPBKDF2) == .cost)
        #expect(refusal(of: Self.dearScrypt) == .cost)
        #expect(refusal(of: Self.aes128) == .algorithm)
    }

    /// 50,000,000 rounds.
    private static let dearPBKDF2 = """
        -----BEGIN ENCRYPTED PRIVATE KEY-----
        MG0wWQYJKoZIhvcNAQUNMEwwKwYJKoZIhvcNAQUMMB4ECAAAAAAAAAAAAgQC+vCA
        MAwGCCqGSIb3DQIJBQAwHQYJYIZIAWUDBAEqBBAAAAAAAAAAAAAAAAAAAAAABBAA
        AAAAAAAAAAAAAAAAAAAA
        -----END ENCRYPTED PRIVATE KEY-----
        """

    /// 2^30 blocks.
    private static let dearScrypt = """
        -----BEGIN ENCRYPTED PRIVATE KEY-----
        MGUwUQYJKoZIhvcNAQUNMEQwIwYJKwYBBAHaRwQLMBYECAAAAAAAAAAAAgRAAAAA
        AgEIAgEBMB0GCWCGSAFlAwQBKgQQAAAAAAAAAAAAAAAAAAAAAAQQAAAAAAAAAAAA
        AAAAAAAAAA==
        -----END ENCRYPTED PRIVATE KEY-----
        """

    private static let aes128 = """
        -----BEGIN ENCRYPTED PRIVATE KEY-----
        MIIBHDBXBgkqhkiG9w0BBQ0wSjApBgkqhkiG9w0BBQwwHAQIKAfSUQ2sBx4CAggA
        MAwGCCqGSIb3DQIJBQAwHQYJYIZIAWUDBAECBBAIjNuJKWM2IOiAz3joKWbMBIHA
        897jNvd71QlVEZRuj9Edv222Ai4W/WFuEcwJQGJQPFvMd9nh+w1K1AspywhO0kws
        4khvd3LTPavPZnO5fpw8BYrG+4tYvSTc+QT8fvVciAvjBZZDiLY2kRL3Z0VNPmgF
        tn8GW8/ooeA7yyBmsl2vFTFbB2VGqlFUH4RLSCk4D3se+DelnXKuXRa6Du5VMwvH
        m+/z/K9jQMEicIeN0bOO69r7NhwrtYJoMJyckVylRJK6pADJZnMWwmiiApqk6bwC
        -----END ENCRYPTED PRIVATE KEY-----
        """
}
