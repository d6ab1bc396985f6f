// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import DurableFiles
internal import FoundationEssentials
internal import Issuance
internal import SPIFFE

/// An upstream authority whose key this server has, certified by hand below an offline root
/// (docs/decisions/0020-authorities-under-another.md, "Disk: an offline root").
struct DiskUpstream: UpstreamAuthority {
    /// PEM, from the key's certificate upwards, without the root.
    let certificatePath: String
    /// DER, as read at the start.
    let roots: [[UInt8]]
    let logic: ServerLogic
    let keys: KeyVault
    let clock: any NodeClock

    let kind = UpstreamKind.disk

    /// The certificates of the file, as it is now.
    var above: [[UInt8]]? { try? Self.chain(at: certificatePath) }

    /// The file is read anew each time: it is replaced before it ends, while the server runs.
    func certify(_ request: UpstreamRequest) async throws(UpstreamError) -> [[UInt8]] {
        let chain = try Self.chain(at: certificatePath)
        let key: SubjectPublicKey
        do throws(CertificateRequestError) {
            key = try CertificateRequest(der: request.csr).publicKey
        } catch { throw .unavailable("the server's own request cannot be read: \(error)") }
        let (logic, now) = (logic, clock.wallTime)
        let id = try Self.keyID(of: chain[0], at: certificatePath)
        let path = certificatePath
        do {
            // The key may be in a device.
            let certificate = try await keys.apart { vault in
                guard let signer = try vault.upstreamSigner(id: id) else {
                    throw UpstreamError.unavailable(
                        "\(path): its key \(id) is not here; the ceremony certified another "
                            + "request, or the key was lost: make a new one with signet-server "
                            + "--request-upstream"
                    )
                }
                var generator = SystemRandomness()
                return try AuthorityCertifier(
                    certificate: chain[0],
                    signer: signer,
                    trustDomain: logic.trustDomain
                ).certify(
                    key,
                    serverID: request.serverID ?? logic.serverID,
                    profile: logic.profiles[ProfileKind.authority],
                    lifetime: .seconds(request.lifetimeSeconds),
                    backdate: logic.lifetimes.backdate,
                    now: now,
                    using: &generator
                )
            }
            return [certificate] + chain
        } catch let error as UpstreamError {
            throw error
        } catch {
            throw .unavailable("\(path): \(error)")
        }
    }

    /// Roots change with the configuration, and so with a restart.
    func watch(
        _ tell: @Sendable (UpstreamTrust) async -> Void
    ) async throws(UpstreamError) {
        await tell(UpstreamTrust(roots: roots))
    }

    /// Reads the certificates of a file.
    ///
    /// - Throws: `UpstreamError.unavailable` with the path and what is wrong.
    static func chain(at path: String) throws(UpstreamError) -> [[UInt8]] {
        let bytes: [UInt8]
        do throws(FileError) {
            try DurableFile.requireOwn(file: path)
            bytes = try DurableFile.read(path, bytesMax: CertificateFile.fileBytesMax)
        } catch { throw .unavailable("upstreamCertificate: \(error)") }
        let chain: [[UInt8]]
        do throws(CertificateFileError) {
            chain = try CertificateFile.certificates(bytes)
        } catch { throw .unavailable("upstreamCertificate: \(path): \(error)") }
        guard chain.count < UpstreamChain.countMax else {
            throw .unavailable(
                "upstreamCertificate: \(path): there are more than \(UpstreamChain.countMax - 1) "
                    + "certificates; write the one for the server's key first, and no root"
            )
        }
        for der in chain where UpstreamChain.isSelfIssued(der) {
            throw .unavailable(
                "upstreamCertificate: \(path): a certificate is self-signed, and the key of a root "
                    + "belongs offline; write roots into the file of upstreamRoots"
            )
        }
        return chain
    }

    private static func keyID(
        of der: [UInt8],
        at path: String
    ) throws(UpstreamError) -> String {
        guard let read = try? LeafCertificate(der: der) else {
            throw .unavailable("upstreamCertificate: \(path): the first certificate cannot be read")
        }
        return read.keyIdentifier.description
    }

    /// The key ID of the certificate in a file; nil if it cannot be read.
    static func keyID(at path: String) -> String? {
        guard let chain = try? chain(at: path), let first = chain.first else { return nil }
        return try? keyID(of: first, at: path)
    }
}
