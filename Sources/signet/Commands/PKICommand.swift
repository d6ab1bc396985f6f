// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Clocks
internal import DurableFiles
internal import Foundation
internal import Issuance
internal import SPIFFE

/// `signet pki`: the ceremony of an offline root (pki/README.md).
///
/// It asks no server and no agent, and is made to be run on a machine without network.
struct PKICommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pki",
        abstract: "Make an offline root, and certify upstream authorities below it.",
        discussion: """
            For servers with upstream: disk. Nothing is asked of server or agent: run it on a machine \
            without network, and keep the root's key there. The steps are in pki/README.md, for \
            OpenSSL too.

            Example: signet pki show upstream.csr
            """,
        subcommands: [Root.self, Sign.self, Show.self]
    )

    struct Root: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make the key and the certificate of a root, for ten years.",
            discussion: """
                The key is written encrypted with the passphrase (PKCS #8, which OpenSSL and \
                pki/ceremony/sign.sh read too), and no file is overwritten. Whoever has it is the \
                trust domain for everybody who has the root.

                Example: signet pki root --trust-domain example.org --key root.key \
                --passphrase-file /media/stick/passphrase --out root.pem
                """
        )
        @Option(
            name: .customLong("trust-domain"),
            help: ArgumentHelp("Its trust domain.", valueName: "name")
        )
        var trustDomain: String
        @OptionGroup var key: RootKeyOptions
        @Option(
            name: .customLong("key-type"),
            help: ArgumentHelp(
                "ec-p256, ec-p384, rsa-2048 or rsa-4096.",
                valueName: "type"
            )
        )
        var keyType = AuthorityKeyType.p384.rawValue
        @Option(help: ArgumentHelp("Where the certificate is written, PEM.", valueName: "file"))
        var out: String

        func run() throws {
            let domain: TrustDomain
            do {
                domain = try TrustDomain(trustDomain)
            } catch { throw ValidationError("--trust-domain \(trustDomain): \(error)") }
            guard let type = AuthorityKeyType(rawValue: keyType) else {
                throw ValidationError("--key-type \(keyType): it is one of those in --help")
            }
            try PKICommand.requireNew(key.key)
            try PKICommand.requireNew(out)
            let passphrase = try key.passphrase()
            let root = try Ceremony.root(of: domain, keyType: type, now: SystemClock().wallTime)
            var generator = SystemRandomNumberGenerator()
            let sealed = try EncryptedKeyFile.seal(
                root.key,
                passphrase: passphrase,
                using: &generator
            )
            // The key first: a root without key would be published for nothing.
            try DurableFile.write(Array(sealed.utf8), to: key.key, mode: 0o600)
            try PKICommand.write(root.certificate, to: out)
            try PKICommand.tell("root", out)
        }
    }

    struct Sign: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Certify the key of a server's request, for a year.",
            discussion: """
                The root's key is one of signet pki root or of pki/ceremony/root.sh. Of the request \
                only the key is taken; --key-id is what signet-server \
                --request-upstream printed, brought here otherwise than the request. With \
                --name-constraints the certificate is for the root's trust domain alone, which \
                rustls does not read: it then refuses every chain below.

                Example: signet pki sign --root root.pem --key root.key --passphrase-file \
                /media/stick/passphrase --request upstream.csr --key-id 3f0c... --out upstream.pem
                """
        )
        @Option(help: ArgumentHelp("The root's certificate, PEM.", valueName: "file"))
        var root: String
        @OptionGroup var key: RootKeyOptions
        @Option(help: ArgumentHelp("The server's request, PEM.", valueName: "file"))
        var request: String
        @Option(
            name: .customLong("key-id"),
            help: ArgumentHelp("The key ID that the server printed.", valueName: "hex")
        )
        var keyID: String
        @Flag(
            name: .customLong("name-constraints"),
            help: "Constrain it to URIs of the root's trust domain."
        )
        var constrainsNames = false
        @Option(help: ArgumentHelp("Where the certificate is written, PEM.", valueName: "file"))
        var out: String

        func run() throws {
            try PKICommand.requireNew(out)
            let roots = try PKICommand.certificates(root)
            guard let certificate = roots.first, roots.count == 1 else {
                throw CommandFailure("\(root) has more than one certificate; name the root's alone")
            }
            let csr: [UInt8]
            do {
                csr = try CertificateFile.request(PKICommand.read(request))
            } catch let error as CertificateFileError {
                throw CommandFailure("\(request): \(error)")
            }
            let signed = try Ceremony.intermediate(
                for: csr,
                keyID: keyID,
                below: Ceremony.Root(certificate: certificate, key: try key.opened()),
                constrainsNames: constrainsNames,
                now: SystemClock().wallTime
            )
            try PKICommand.write(signed, to: out)
            try PKICommand.tell("certificate", out)
        }
    }

    struct Show: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show the keys of certificates and requests, to compare them.",
            discussion: "Example: signet pki show root.pem upstream.pem upstream.csr"
        )
        @Argument(help: ArgumentHelp("PEM files.", valueName: "file")) var files: [String]
        @OptionGroup var output: OutputOptions

        func run() throws {
            let views = try files.flatMap { file -> [PKIView] in
                let bytes = try PKICommand.read(file)
                if let request = try? CertificateFile.request(bytes) {
                    return [try PKIView(request: request, file: file)]
                }
                return try PKICommand.certificates(file).map { try PKIView(certificate: $0, file) }
            }
            try output.print(views) { PKIView.table(views) }
        }
    }

    /// Where a root's key is, and what encrypts it.
    struct RootKeyOptions: ParsableArguments {
        @Option(help: ArgumentHelp("The encrypted key of the root.", valueName: "file"))
        var key: String
        @Option(
            name: .customLong("passphrase-file"),
            help: ArgumentHelp(
                "The key's passphrase: a file of yours that is closed to others.",
                valueName: "file"
            )
        )
        var passphraseFile: String

        /// One newline at its end is not part of it.
        func passphrase() throws -> [UInt8] {
            var bytes = try DurableFile.readSecret(
                passphraseFile,
                bytesMax: SealedKey.passphraseBytesMax + 1
            )
            if bytes.last == UInt8(ascii: "\n") { bytes.removeLast() }
            guard (1...SealedKey.passphraseBytesMax).contains(bytes.count) else {
                throw CommandFailure("\(passphraseFile): \(SealedKeyError.passphraseLength)")
            }
            // OpenSSL takes the first line, so that the key would be another to it.
            guard bytes.allSatisfy({ $0 != 0 && $0 != UInt8(ascii: "\n") }) else {
                throw CommandFailure(
                    "\(passphraseFile): a passphrase is one line",
                    remedy: "Write one line into it: openssl rand -hex 32"
                )
            }
            return bytes
        }

        /// The key: as `signet pki root` and `pki/ceremony/root.sh` write it, or as the former did
        /// first.
        func opened() throws -> [UInt8] {
            let file = try DurableFile.readSecret(key, bytesMax: EncryptedKeyFile.fileBytesMax)
            let passphrase = try passphrase()
            do {
                return SealedKey.isSealed(file)
                    ? try SealedKey.open(
                        file,
                        for: Ceremony.rootPurpose,
                        passphrase: passphrase
                    ) : try EncryptedKeyFile.open(file, passphrase: passphrase)
            } catch {
                throw CommandFailure("\(key): \(error)")
            }
        }
    }

    // MARK: - Files

    fileprivate static func read(_ path: String) throws -> [UInt8] {
        try DurableFile.read(path, bytesMax: CertificateFile.fileBytesMax)
    }

    fileprivate static func certificates(_ path: String) throws -> [[UInt8]] {
        do {
            return try CertificateFile.certificates(read(path))
        } catch let error as CertificateFileError {
            throw CommandFailure("\(path): \(error)")
        }
    }

    fileprivate static func write(_ certificate: [UInt8], to path: String) throws {
        let text = CertificateFile.text(certificate: certificate)
        try DurableFile.write(Array(text.utf8), to: path, mode: 0o644)
    }

    /// Says what was made: the key ID is compared and written down.
    fileprivate static func tell(_ what: String, _ path: String) throws {
        Terminal.out("\(what): \(path)")
        for der in try certificates(path) {
            Terminal.out("key ID: \(try LeafCertificate(der: der).keyIdentifier)")
        }
    }

    /// A key or certificate of a ceremony is never overwritten.
    fileprivate static func requireNew(_ path: String) throws {
        guard !FileManager.default.fileExists(atPath: path) else {
            throw CommandFailure(
                "\(path) is there already",
                remedy: "Name another file, or move that one away if it is of no more use."
            )
        }
    }
}
