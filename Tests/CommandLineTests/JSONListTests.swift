// SPDX-License-Identifier: Apache-2.0

import Testing
import signet

struct JSONListTests {
    @Test func `what get prints as a list is applied as documents`() {
        #expect(JSONList.documents("[{\"a\":1}]\n") == "{\"a\":1}\n")
        #expect(
            JSONList.documents("[{\"a\":[1,2]},\n{\"b\":{\"c\":3}}]")
                == "{\"a\":[1,2]}\n---\n\n{\"b\":{\"c\":3}}\n"
        )
    }

    @Test func `what is in quotes separates nothing`() {
        #expect(
            JSONList.documents(#"[{"a":"],[{\"},"},{"b":"\\"}]"#)
                == "{\"a\":\"],[{\\\"},\"}\n---\n{\"b\":\"\\\\\"}\n"
        )
    }

    /// The server says what is wrong with it, where it stands.
    @Test(
        arguments: [
            "", "a: [1]", "kind: Role\n", "[1, 2]", "[{}] x", "[{]", "[\"{}\"]", "[{}", "- a: 1\n",
        ]
    )
    func `everything else stays as it is`(content: String) {
        #expect(JSONList.documents(content) == content)
    }
}
