// SPDX-License-Identifier: Apache-2.0

extension TrustBundle {
    /// Those of `x509Authorities` that may have authorities below them.
    ///
    /// A server without an upstream publishes its own authority, self-signed too, which certifies
    /// leaves alone (`pathLenConstraint` 0): no server is below it. One that a server would not take as
    /// a root is none here either (`UpstreamChain.problem(ofRoot:trustDomain:)`, but for the signature,
    /// which nobody verifies of an anchor).
    package var rootsOfAuthorities: [[UInt8]] {
        x509Authorities.filter { der in
            guard let read = try? LeafCertificate(der: der) else { return false }
            return read.isCA && read.isSelfIssued
                && read.keyUsage?.contains(.keyCertSign) == true
                && read.pathLength.map { $0 > 0 } ?? true
                && read.uriNames == [trustDomain.id.description]
                && read.subjectKeyID?.count == KeyIdentifier.bytesCount
                && !read.constrainsOtherNames
        }
    }
}
