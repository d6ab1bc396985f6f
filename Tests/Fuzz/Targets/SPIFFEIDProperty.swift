// SPDX-License-Identifier: Apache-2.0

internal import SPIFFE

/// What is accepted is what the grammar says, is kept byte by byte, and is a template too.
enum SPIFFEIDProperty {
    static func check(_ input: [UInt8]) throws(PropertyBroken) -> Bool {
        guard let text = String(validating: input, as: UTF8.self) else { return false }
        let id = try? SPIFFEID(text)
        try expect((id != nil) == isID(input), "the ID and the grammar disagree about \(text)")
        if let id {
            try expect(Array(id.description.utf8) == input, "the ID \(text) became \(id)")
            let again = try? SPIFFEID(trustDomain: id.trustDomain, path: id.path)
            try expect(again == id, "the parts of \(text) do not make it again")
        }
        let domain = try? TrustDomain(text)
        try expect((domain != nil) == isTrustDomain(input[...]), "trust domain \(text)")

        guard let template = try? IDTemplate(parsing: text) else {
            // Templates are wider than IDs but for the reserved ones and those without a path.
            let isWorkload = id.map { !$0.isReserved && !$0.path.isEmpty } ?? false
            try expect(!isWorkload, "the ID \(text) is no template")
            return id != nil
        }
        try expect(Array(template.description.utf8) == input, "the template \(text) changed")
        if template.isLiteral {
            let node = TemplateNode(name: "n", selectors: [])
            let resolved = try? template.resolve(trustDomain: template.trustDomain, node: node)
            try expect(resolved != nil && resolved == id, "the literal template \(text)")
        } else {
            try expect(id == nil, "the ID \(text) has variables")
        }
        return true
    }

    /// SPIFFE-ID section 2, from its text: scheme, trust domain, segments.
    private static func isID(_ bytes: [UInt8]) -> Bool {
        let scheme = Array("spiffe://".utf8)
        guard bytes.count <= 2048, bytes.starts(with: scheme) else { return false }
        var parts = bytes.dropFirst(scheme.count)
            .split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)[...]
        guard let domain = parts.popFirst(), isTrustDomain(domain) else { return false }
        return parts.allSatisfy { segment in
            !segment.isEmpty && segment.allSatisfy(isSegmentCharacter)
                && !segment.elementsEqual(".".utf8) && !segment.elementsEqual("..".utf8)
        }
    }

    private static func isTrustDomain(_ bytes: ArraySlice<UInt8>) -> Bool {
        (1...255).contains(bytes.count)
            && bytes.allSatisfy {
                isSegmentCharacter($0) && !(UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0)
            }
    }

    private static func isSegmentCharacter(_ byte: UInt8) -> Bool {
        let character = Character(UnicodeScalar(byte))
        return character.isASCII
            && (character.isLetter || character.isNumber || ".-_".contains(character))
    }
}
