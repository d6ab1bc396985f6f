// SPDX-License-Identifier: Apache-2.0

import SPIFFE
import Testing

struct TokenAudiencesTests {
    private func refusal(_ texts: [String]) -> TokenAudienceError? {
        do throws(TokenAudienceError) {
            _ = try TokenAudiences(texts)
            return nil
        } catch {
            return error
        }
    }

    @Test func `J-7 audiences are named, few, short and single`() throws {
        let (most, bytes) = (TokenAudiences.countMax, TokenAudiences.bytesMax)
        let longest = String(repeating: "a", count: bytes)
        #expect(refusal([]) == .missing)
        #expect(refusal((0...most).map { "a\($0)" }) == .tooMany(most + 1))
        for audience in ["", longest + "a", "a\n", "a\0", "\u{7F}"] {
            #expect(refusal(["x", audience]) == .malformed(index: 1))
        }
        #expect(refusal(["a", "b", "a"]) == .twice(index: 2))
        #expect(refusal([longest]) == nil)
        #expect(refusal([longest, "b" + longest.dropFirst(), "c"]) == .tooLong)
    }

    @Test func `audiences are compared byte by byte`() throws {
        // Unicode calls them equal, and verifiers do not.
        #expect(refusal(["K", "\u{212A}"]) == nil)
        let (one, other) = (try TokenAudiences(["K"]), try TokenAudiences(["\u{212A}"]))
        #expect(one != other)
        #expect(Set([one, other]).count == 2)
        #expect(try TokenAudiences(["a", "b"]) != TokenAudiences(["b", "a"]))
    }
}
