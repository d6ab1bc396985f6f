// SPDX-License-Identifier: Apache-2.0

import Testing
import signet

@Suite struct TableTests {
    @Test func `columns are as wide as their widest cell`() {
        let table = Table(headings: ["A", "LONG"], rows: [["wide cell", "1"], ["x", "22"]])
        #expect(table.text == "A          LONG\nwide cell  1\nx          22")
    }

    @Test func `an empty table says so in its own words`() {
        #expect(Table(headings: ["A"], rows: []).text == "nothing found")
        #expect(Table(empty: "no agents yet", headings: ["A"], rows: []).text == "no agents yet")
    }

    @Test(arguments: ["\u{1B}[2J", "a\nb", "\u{7F}", "\u{0}", "\u{9B}31m", "a\u{202E}b"])
    func `what a peer chose cannot steer the terminal`(cell: String) {
        let text = Table(headings: ["A"], rows: [[cell]]).text
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        #expect(lines.count == 2)
        let steering = text.unicodeScalars.filter {
            $0 != "\n"
                && ($0.properties.generalCategory == .control
                    || $0.properties.generalCategory == .format)
        }
        #expect(steering.isEmpty)
    }

    @Test func `a reason from an agent cannot steer the terminal`() {
        let lines = "web\u{1B}[2J refused:\r\n  a\u{202E}b\n\u{9B}31m"
        #expect(Terminal.printableLines(lines) == "web?[2J refused:?\n  a?b\n?31m")
        #expect(Terminal.printableLines("plain\n") == "plain\n")
    }

    @Test func `letters of other scripts stay`() {
        #expect(Table(headings: ["N"], rows: [["Zürich 東京"]]).text == "N\nZürich 東京")
    }
}
