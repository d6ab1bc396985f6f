// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import PublicEndpoint
import TestPKI

extension WebCertificate {
    var files: CertificateKeeper.Files { .init(certificates: chain, key: keyBytes) }

    func pair(now: Date = Self.now) throws -> CertificatePair {
        try CertificatePair(certificates: chain, key: keyBytes, now: now)
    }
}
