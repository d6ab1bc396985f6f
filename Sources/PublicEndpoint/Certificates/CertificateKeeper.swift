// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials

/// Keeps the last good pair, whatever is written beside it.
///
/// The files are read whole at each look and compared with what was taken: times and sizes miss a
/// quick rewrite, and two files that are renamed one after the other do not fit each other for a
/// moment, so what does not fit is tried again.
package struct CertificateKeeper: Sendable {
    /// How often the files are looked at.
    package static let lookInterval: Duration = .seconds(10)

    /// What was found in the files.
    package struct Files: Hashable, Sendable {
        package let certificates: [UInt8]
        package let key: [UInt8]

        package init(certificates: [UInt8], key: [UInt8]) {
            self.certificates = certificates
            self.key = key
        }
    }

    /// What a look came to.
    package enum Look: Hashable, Sendable {
        /// The files hold another pair, which is in use from now on.
        case taken
        /// They hold the pair that is in use.
        case unchanged
        /// They hold no pair; what was taken before stays in use.
        case refused(String)
    }

    /// The last good one.
    package private(set) var pair: CertificatePair?
    private var files: Files?

    package init() {}

    /// The files were read.
    ///
    /// - Parameters:
    ///   - read: What they hold, or why they could not be read.
    ///   - now: The wall clock.
    /// - Returns: What came of it.
    package mutating func looked(
        _ read: Result<Files, any Error>,
        now: Date
    ) -> Look {
        do {
            let found = try read.get()
            guard found != files else { return .unchanged }
            pair = try CertificatePair(
                certificates: found.certificates,
                key: found.key,
                now: now
            )
            files = found
            return .taken
        } catch {
            return .refused("\(error)")
        }
    }
}
