// SPDX-License-Identifier: Apache-2.0

import Reactor
import TestSeeds
import Testing

@Suite struct BufferTests {
    @Test func `bytes come out in the order in which they went in`() {
        var buffer = Buffer()
        var shape = [buffer.count, buffer.capacity]
        #expect(shape == [0, 0])
        buffer.append("abc" as StaticString)
        buffer.append([UInt8(ascii: "d")].span)
        buffer.append(UInt8(ascii: "e"))
        var bytes = buffer.copy()
        #expect(bytes == Array("abcde".utf8))
        buffer.consume(2)
        bytes = buffer.copy()
        #expect(bytes == Array("cde".utf8))
        var other = Buffer()
        other.append(buffer, 1..<3)
        bytes = other.copy()
        #expect(bytes == Array("de".utf8))
        buffer.consume(3)
        buffer.release()
        shape = [buffer.count, buffer.capacity]
        #expect(shape == [0, 0])
    }

    @Test func `small leftovers take little memory`() {
        var buffer = Buffer()
        buffer.append(1)
        let capacity = buffer.capacity
        #expect(capacity == Buffer.allocationBytesMin)
        var larger = Buffer()
        larger.append([UInt8](repeating: 1, count: 3000).span)
        let exact = larger.capacity
        #expect(exact == 3000)
    }

    @Test(arguments: [UInt64(1), 2, 3, 4])
    func `a buffer behaves as an array does`(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var buffer = Buffer()
        var model: [UInt8] = []
        for _ in 0..<2000 {
            switch UInt8.random(in: 0..<8, using: &random) {
            case 0..<4:
                let count = Int.random(in: 0...700, using: &random)
                let bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
                buffer.append(bytes.span)
                model += bytes
            case 4..<7:
                let count = Int.random(in: 0...model.count, using: &random)
                buffer.consume(count)
                model.removeFirst(count)
            default:
                guard Bool.random(using: &random) else { continue }
                buffer.release()
                model = []
            }
            let bytes = buffer.copy()
            #expect(bytes == model)
        }
    }
}
