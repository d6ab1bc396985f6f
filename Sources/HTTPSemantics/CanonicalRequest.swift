// SPDX-License-Identifier: Apache-2.0

/// A field of a head.
package struct HeaderField: Hashable, Sendable {
    package let name: ByteRange
    /// Without the white space around it.
    package let value: ByteRange
    package let known: KnownHeader

    package init(name: ByteRange, value: ByteRange, known: KnownHeader) {
        self.name = name
        self.value = value
        self.known = known
    }
}

/// A request as everybody on its way reads it: what policies decide over.
///
/// It holds offsets into the head that it was read from and is worth nothing without it. Only a
/// codec that refuses what has two readings makes one.
package struct CanonicalRequest: Sendable {
    package var method: HTTPMethod
    /// The method's bytes, for `other`.
    package var methodName: ByteRange
    package var authority: Authority
    /// The path, with its leading slash; `*` only for OPTIONS.
    package var path: ByteRange
    /// What follows the question mark; nil if there was none.
    package var query: ByteRange?
    /// All fields in their order, those of the connection included.
    package var fields: [HeaderField]

    package init(
        method: HTTPMethod = .other,
        methodName: ByteRange = .empty,
        authority: Authority = Authority(host: .empty, port: nil),
        path: ByteRange = .empty,
        query: ByteRange? = nil,
        fields: [HeaderField] = []
    ) {
        self.method = method
        self.methodName = methodName
        self.authority = authority
        self.path = path
        self.query = query
        self.fields = fields
    }
}
