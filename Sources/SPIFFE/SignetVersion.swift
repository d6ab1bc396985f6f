// SPDX-License-Identifier: Apache-2.0

/// The version of every Signet program of one build (semantic versioning 2.0).
package enum SignetVersion {
    package static let current = "0.1.0"
}
