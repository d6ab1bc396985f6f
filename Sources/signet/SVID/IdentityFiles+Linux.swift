// SPDX-License-Identifier: Apache-2.0

internal import DurableFiles
internal import Foundation
internal import Glibc

/// An identity as PEM files, for programs that read files.
///
/// ```
/// DIR/svid.pem      -> .current/svid.pem        chain, leaf first
/// DIR/svid_key.pem  -> .current/svid_key.pem    private key (PKCS#8)
/// DIR/bundle.pem    -> .current/bundle.pem      authorities of the own trust domain
/// DIR/federated     -> .current/federated       partner.example.pem: authorities of another one
/// DIR/.current      -> .set-4d1f...             changed by one rename
/// ```
/// All files change in one step, so key and certificate always belong together. The set before stays
/// until the next change, for a reader that is between two files. `federated` is there, be it empty:
/// a program that loads what is in it trusts nobody else once a trust domain has left.
package struct IdentityFiles: Sendable {
    private enum Name {
        static let chain = "svid.pem"
        static let key = "svid_key.pem"
        static let bundle = "bundle.pem"
        static let federated = "federated"
        static let current = ".current"
        static let setPrefix = ".set-"
        static let all = [chain, key, bundle, federated]
    }

    package let directory: String
    /// Permission bits of `svid.pem` and of bundles.
    package let mode: UInt32
    /// Permission bits of `svid_key.pem`.
    package let keyMode: UInt32

    /// Names a directory; nothing is written yet.
    package init(directory: String, mode: UInt32 = 0o644, keyMode: UInt32 = 0o600) {
        self.directory = directory
        self.mode = mode
        self.keyMode = keyMode
    }

    /// Replaces all files.
    ///
    /// - Throws: `CommandFailure` when a file of that name is in the way, `FileError`; the files
    ///   are then those from before.
    package func write(_ identity: WorkloadIdentity) throws {
        try DurableFile.makeDirectory(directory, mode: 0o755)
        for name in Name.all { try checkFree(name) }
        let before = target(of: Name.current)
        let set = Name.setPrefix + String(UInt64.random(in: 0 ... .max), radix: 16)
        let path = "\(directory)/\(set)"
        try DurableFile.makeDirectory(path, mode: 0o755)
        do {
            try DurableFile.makeDirectory("\(path)/\(Name.federated)", mode: 0o755)
            var files = [
                (Name.chain, identity.chainPEM, mode), (Name.key, identity.privateKeyPEM, keyMode),
                (Name.bundle, identity.bundlePEM, mode),
            ]
            for (trustDomain, text) in identity.federatedPEM {
                files.append(("\(Name.federated)/\(trustDomain).pem", text, mode))
            }
            for (name, text, mode) in files {
                try DurableFile.write(Array(text.utf8), to: "\(path)/\(name)", mode: mode)
            }
            try link(Name.current, to: set)
        } catch {
            try? FileManager.default.removeItem(atPath: path)
            throw error
        }
        for name in Name.all where target(of: name) == nil {
            try link(name, to: "\(Name.current)/\(name)")
        }
        removeSets(except: [set, before])
    }

    /// Removes what `write` made, so that nobody goes on using the identity.
    package func remove() {
        for name in Name.all + [Name.current] where target(of: name) != nil {
            try? FileManager.default.removeItem(atPath: "\(directory)/\(name)")
        }
        removeSets(except: [])
    }

    /// Refuses to replace what is not ours.
    private func checkFree(_ name: String) throws {
        let path = "\(directory)/\(name)"
        guard let attributes = try? FileManager.default.attributesOfItem(atPath: path) else {
            return
        }
        guard attributes[.type] as? FileAttributeType == .typeSymbolicLink,
            target(of: name) == "\(Name.current)/\(name)"
        else {
            throw CommandFailure(
                "\(path) exists and was not written by signet",
                remedy: "Move it away, or name another --write-dir."
            )
        }
    }

    private func target(of name: String) -> String? {
        try? FileManager.default.destinationOfSymbolicLink(atPath: "\(directory)/\(name)")
    }

    /// Makes or replaces a symbolic link in one step.
    private func link(_ name: String, to target: String) throws(CommandFailure) {
        let path = "\(directory)/\(name)"
        let temporary = "\(path).\(UInt32.random(in: 0 ... .max)).new"
        guard unsafe symlink(target, temporary) == 0 else {
            throw Self.failure(temporary, errno)
        }
        guard unsafe rename(temporary, path) == 0 else {
            let number = errno
            _ = unsafe unlink(temporary)
            throw Self.failure(path, number)
        }
    }

    private static func failure(_ path: String, _ number: Int32) -> CommandFailure {
        CommandFailure(
            "cannot make the link \(path): \(SystemCalls.text(ofErrno: number))",
            remedy: "Name a --write-dir on a file system that this user may write."
        )
    }

    private func removeSets(except kept: [String?]) {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
        for name in names where name.hasPrefix(Name.setPrefix) && !kept.contains(name) {
            try? FileManager.default.removeItem(atPath: "\(directory)/\(name)")
        }
    }
}
