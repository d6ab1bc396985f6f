// SPDX-License-Identifier: Apache-2.0

/// Everything that is served at one moment, replaced whole.
package struct PublicPages: Hashable, Sendable {
    struct Page: Hashable, Sendable {
        let document: PublicDocument
        let body: PublicBody
    }

    private let prefix: String
    /// By the path of a request as it stands.
    private var pages: [[UInt8]: Page] = [:]

    /// Serves nothing yet.
    ///
    /// - Parameter url: Below whose path the documents are; nil: there is nothing before theirs.
    package init(below url: PublicURL?) {
        prefix = url?.path ?? ""
    }

    /// Adds a document, or replaces it.
    package mutating func set(_ body: PublicBody, as document: PublicDocument) {
        pages[Array((prefix + document.path).utf8)] = Page(document: document, body: body)
    }

    func page(at path: [UInt8]) -> Page? { pages[path] }
}
