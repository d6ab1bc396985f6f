// SPDX-License-Identifier: Apache-2.0

import Foundation
import PolicyDocuments
import SPIFFE
import Testing

/// The examples of docs/policy.md, which people copy.
struct PolicyPageTests {
    @Test func `every example of the page is a policy whose tests hold`() throws {
        let page = URL(filePath: #filePath).deletingLastPathComponent()
            .appending(path: "../../docs/policy.md").standardizedFileURL
        let text = try String(contentsOf: page, encoding: .utf8)
        let examples = text.components(separatedBy: "```yaml\n").dropFirst()
            .compactMap { $0.components(separatedBy: "```").first }
        #expect(examples.count == 4)
        for example in examples {
            let documents = try Document.parse(Array(example.utf8), file: "docs/policy.md")
            #expect(documents.count == 1 && documents[0].warnings.isEmpty)
            guard case .accessPolicy(let spec) = documents.first?.spec else {
                Issue.record("no policy: \(example)")
                continue
            }
            #expect(!spec.tests.isEmpty)
            let trustDomain = try TrustDomain("example.org")
            #expect(documents[0].problems(inTrustDomain: trustDomain).isEmpty)
        }
    }
}
