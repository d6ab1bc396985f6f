// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import ControlAPI
internal import Issuance
internal import Logging
internal import Synchronization
internal import Telemetry

/// Whether the authority's key has failed to sign, and has not signed since.
final class SignerTrouble: Sendable {
    private let isFailing = Mutex(false)
    private let began = Signal()

    var isPresent: Bool { isFailing.withLock { $0 } }

    func begin() {
        isFailing.withLock { $0 = true }
        began.signal()
    }

    func end() { isFailing.withLock { $0 = false } }

    /// Returns when it begins, or when the task is cancelled.
    func wait() async { await began.wait() }
}

/// A batch on its way to the thread that signs it.
private final class BatchAside: Sendable {
    private let batch: Mutex<IssuanceBatch?>

    init(_ batch: consuming IssuanceBatch) {
        self.batch = Mutex(batch)
    }

    func sign(with signer: any Signer) throws -> [IssuedCertificate] {
        guard let batch = batch.withLock({ $0.take() }) else { return [] }
        return try batch.sign(with: signer)
    }
}

extension ServerCore {
    /// How often a signer that failed is tried until it signs.
    static let signerRetryInterval: Duration = .seconds(5)
    /// What is signed then: no certificate, and nothing that could be read as one.
    static let signerProbe = Array("signet: does this key sign?".utf8)

    /// Refuses what the authority's key could not sign, before anything of it is committed.
    func requireSigner() throws(APIError) {
        guard signerTrouble.isPresent else { return }
        throw APIError(
            .unavailable,
            "signerUnavailable",
            "the authority's key cannot sign at the moment; the server tries it again by itself",
            retryAfter: Self.signerRetryInterval
        )
    }

    /// Signs what has been committed; where a signature waits for a device, on a thread apart.
    func sign(
        _ batch: consuming IssuanceBatch,
        with trust: ServerTrust
    ) async throws(APIError) -> [IssuedCertificate] {
        do {
            guard keys.signaturesWait else { return try batch.sign(with: trust.signer) }
            let aside = BatchAside(batch)
            return try await keys.apart { _ in try aside.sign(with: trust.signer) }
        } catch {
            logger.critical("signing failed after commit", metadata: ["error": "\(error)"])
            health.unmet("authority", reason: "\(error)")
            guard case IssuanceError.signer = error else { throw APIError(issuance: error) }
            signerTrouble.begin()
            try requireSigner()
            throw APIError(issuance: error)
        }
    }

    /// After a failure, tries until the authority's key signs again.
    func watchSigner() async {
        while !Task.isCancelled {
            await signerTrouble.wait()
            while signerTrouble.isPresent, !Task.isCancelled {
                try? await clock.sleep(untilBoot: clock.bootTime + Self.signerRetryInterval)
                guard !Task.isCancelled, let signer = try? trust.signer else { continue }
                do {
                    _ = try await keys.apart { _ in try signer.signature(for: Self.signerProbe) }
                    signerTrouble.end()
                    health.met("authority")
                    logger.notice("the authority's key signs again")
                } catch {
                    health.unmet("authority", reason: "\(error)")
                }
            }
        }
    }
}
