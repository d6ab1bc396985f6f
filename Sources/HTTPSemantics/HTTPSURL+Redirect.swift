// SPDX-License-Identifier: Apache-2.0

extension HTTPSURL {
    /// The URL that the field `Location` of a redirect means (RFC 9110 section 10.2.2).
    ///
    /// - Parameter location: The field's value: a URL, or what is relative to this one: another host,
    ///   path or query. Segments `.` and `..` are not resolved but refused.
    /// - Returns: The URL to ask.
    /// - Throws: `HTTPSURLError` naming what is wrong with it.
    package func redirected(to location: [UInt8]) throws(HTTPSURLError) -> HTTPSURL {
        guard location.count <= Self.bytesMax else { throw .tooLong }
        guard let text = String(validating: location, as: UTF8.self) else { throw .target }
        // A colon before any slash ends a scheme (RFC 3986 section 4.2).
        let isWhole = location.first { "/?#:".utf8.contains($0) } == UInt8(ascii: ":")
        if isWhole { return try HTTPSURL(parsing: text) }
        if location.starts(with: "//".utf8) { return try HTTPSURL(parsing: "https:" + text) }
        let origin = "https://\(authority)"
        let path = target.utf8.prefix { $0 != UInt8(ascii: "?") }
        switch location.first {
        case UInt8(ascii: "/"): return try HTTPSURL(parsing: origin + text)
        case UInt8(ascii: "?"):
            return try HTTPSURL(parsing: origin + String(decoding: path, as: UTF8.self) + text)
        case nil, UInt8(ascii: "#"): throw .fragment
        default:
            // A path begins with a slash, so that there is one.
            let end = path.lastIndex(of: UInt8(ascii: "/")) ?? path.startIndex
            let folder = String(decoding: path[...end], as: UTF8.self)
            return try HTTPSURL(parsing: origin + folder + text)
        }
    }
}

/// How far the redirects of one fetch may lead (SPIFFE Federation section 5.2.4).
///
/// They are followed and never kept: the next fetch begins where the admin said.
package struct RedirectTrail: Hashable, Sendable {
    /// Most redirects of one fetch: one from an old name, one to where files lie, and one to spare.
    package static let redirectsMax = 3

    /// What is to be asked now.
    package private(set) var url: HTTPSURL
    /// Whether the host vouches for what it serves, so that no other does.
    private let staysOnHost: Bool
    private var redirects = 0

    /// Begins where the admin said.
    ///
    /// - Parameters:
    ///   - url: What is fetched.
    ///   - staysOnHost: Whether the endpoint is known by its host's name alone, which is all that
    ///     anybody has reviewed; else it shows the same ID wherever it is.
    package init(from url: HTTPSURL, staysOnHost: Bool) {
        self.url = url
        self.staysOnHost = staysOnHost
    }

    /// Follows a redirect.
    ///
    /// - Parameter location: The value of its field `Location`.
    /// - Throws: `RedirectRefusal`; then the fetch is over.
    package mutating func follow(_ location: [UInt8]) throws(RedirectRefusal) {
        guard redirects < Self.redirectsMax else { throw .tooMany }
        let next: HTTPSURL
        do throws(HTTPSURLError) {
            next = try url.redirected(to: location)
        } catch {
            throw .url(error)
        }
        guard !staysOnHost || next.host == url.host else { throw .otherHost }
        redirects += 1
        url = next
    }
}

/// Why a redirect is not followed.
package enum RedirectRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    case otherHost
    case tooMany
    case url(HTTPSURLError)

    package var description: String {
        switch self {
        case .otherHost: "it leads to another host, for which nobody vouches with https_web"
        case .tooMany: "there are more than \(RedirectTrail.redirectsMax) redirects"
        case .url(let error): "it leads to no https URL: \(error)"
        }
    }
}
