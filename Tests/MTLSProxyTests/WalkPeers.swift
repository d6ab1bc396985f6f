// SPDX-License-Identifier: Apache-2.0

import Foundation
import HTTPSemantics
import Reactor
import Routing
import Testing

/// Request `number` of a walk and its answer, which nobody can mistake for another's.
enum WalkExchange {
    /// Every third has no body, and may be sent a second time by a proxy.
    static func isRepeatable(_ number: Int) -> Bool { number % 3 == 0 }

    static func request(_ number: Int) -> [UInt8] {
        let length = 1 + number * 7_919 % 30_000
        let body = String(repeating: "x", count: length)
        let text =
            switch number % 3 {
            case 0: "GET /\(number) HTTP/1.1\r\nhost: a\r\n\r\n"
            case 1:
                "POST /\(number) HTTP/1.1\r\nhost: a\r\ncontent-length: \(length)\r\n\r\n\(body)"
            default:
                "PATCH /\(number) HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
                    + "\(String(length, radix: 16))\r\n\(body)\r\n0\r\n\r\n"
            }
        return Array(text.utf8)
    }

    static func body(_ number: Int) -> [UInt8] {
        Array("\(number).".utf8)
            + [UInt8](repeating: UInt8(ascii: "y"), count: number * 104_729 % 90_000)
    }

    static func answer(_ number: Int, isLast: Bool) -> [UInt8] {
        let body = body(number)
        let last = isLast ? "connection: close\r\n" : ""
        return Array("HTTP/1.1 200 OK\r\n\(last)content-length: \(body.count)\r\n\r\n".utf8) + body
    }
}

/// A request or an answer that has come whole.
struct WalkMessage {
    let head: String
    let body: [UInt8]

    /// The second word of the first line.
    var target: Substring {
        let words = head.split(separator: " ", maxSplits: 2)
        return words.count > 1 ? words[1] : ""
    }

    /// Takes one from the front; nil if it is not there yet.
    init?(takingFrom bytes: inout [UInt8]) {
        guard let end = bytes.firstRange(of: Array("\r\n\r\n".utf8))?.upperBound else {
            return nil
        }
        let text = String(decoding: bytes[..<end], as: UTF8.self).lowercased()
        var whole = end
        if text.contains("\r\ntransfer-encoding: chunked") {
            let last = bytes[end...].firstRange(of: Array("\r\n0\r\n\r\n".utf8))
            guard let last else { return nil }
            whole = last.upperBound
        } else if let field = text.firstRange(of: "\r\ncontent-length: ") {
            whole += Int(text[field.upperBound...].prefix { $0.isNumber }) ?? 0
        }
        guard whole <= bytes.count else { return nil }
        head = text
        body = Array(bytes[end..<whole])
        bytes.removeFirst(whole)
    }
}

/// A client of a walk, which knows what it has asked and looks at every answer.
final class WalkClient {
    let wire: Wire
    /// The request that is being sent, and how much of it is out.
    private var current: (number: Int, bytes: [UInt8], sent: Int)?
    /// Requests of which something was sent and that are not answered, in order.
    private var owed: [Int] = []
    private var arrived: [UInt8] = []
    private var wasLast = false
    var isPaused = false
    /// Whether it has ended its side.
    private(set) var hasEnded = false
    /// Whether nothing more can come.
    private(set) var isOver = false
    /// Answers with what was asked for.
    private(set) var answered = 0

    init(_ wire: Wire) { self.wire = wire }

    /// Whether it may begin another request.
    var isFree: Bool { current == nil && !hasEnded && !isOver && owed.count < 3 }
    var waits: Bool { !isOver && (current != nil || !owed.isEmpty) }

    func begin(_ number: Int) { current = (number, WalkExchange.request(number), 0) }

    /// Sends what a piece of the current request is.
    func send(_ piece: (Int) -> Int) {
        guard var request = current, !hasEnded, !isOver else { return }
        let rest = request.bytes[request.sent...]
        guard let count = wire.sendNow(rest.prefix(piece(rest.count))) else { return }
        if request.sent == 0, count > 0 { owed.append(request.number) }
        request.sent += count
        current = request.sent < request.bytes.count ? request : nil
    }

    func endSending() {
        hasEnded = true
        wire.endSending()
    }

    /// Looks at what has come.
    func read() {
        guard !isOver else { return }
        let mayGoOn = wire.gather()
        arrived += wire.takeReceived()
        while let answer = WalkMessage(takingFrom: &arrived) { look(at: answer) }
        guard !mayGoOn else { return }
        isOver = true
        // What is cut off must not look like a proper end.
        #expect(arrived.isEmpty || wire.failure != nil, "half an answer, and an end")
    }

    private func look(at answer: WalkMessage) {
        #expect(!wasLast, "an answer after the last one")
        guard !owed.isEmpty else {
            Issue.record("an answer that nobody has asked for: \(answer.head)")
            return
        }
        let number = owed.removeFirst()
        wasLast = answer.head.contains("\r\nconnection: close")
        guard answer.target == "200" else {
            let known = ["403", "408", "502", "503", "504"]
            #expect(known.contains(String(answer.target)), "\(answer.head)")
            return
        }
        answered += 1
        let isOwn = answer.body == WalkExchange.body(number)
        #expect(isOwn, "request \(number) has the answer of \(answer.body.prefix(8))")
    }
}

/// A connection of the application of a walk.
final class WalkServer {
    let wire: Wire
    private var arrived: [UInt8] = []
    private var unsent: [UInt8] = []
    private var isLast = false
    var isPaused = false
    private(set) var isOver = false

    init(_ wire: Wire) { self.wire = wire }

    /// Reads requests and answers them, a piece at a time.
    ///
    /// - Parameters:
    ///   - heard: Told of the number of each request, once it is there; says whether the connection
    ///     ends with its answer.
    ///   - piece: How much of what waits is sent.
    func work(_ heard: (Int) -> Bool, _ piece: (Int) -> Int) {
        guard !isOver, !isPaused else { return }
        let mayGoOn = wire.gather()
        arrived += wire.takeReceived()
        while !isLast, let request = WalkMessage(takingFrom: &arrived) {
            let number = Int(request.target.dropFirst()) ?? -1
            isLast = heard(number)
            unsent += WalkExchange.answer(number, isLast: isLast)
        }
        while mayGoOn, !unsent.isEmpty {
            let count = wire.sendNow(unsent[..<piece(unsent.count)])
            guard let count, count > 0 else { break }
            unsent.removeFirst(count)
            if count < 4_096 { break }
        }
        if !mayGoOn || isLast && unsent.isEmpty { close() }
    }

    func close(resetting: Bool = false) {
        isOver = true
        if resetting { wire.with { $0.resetOnClose() } }
        wire.close()
    }
}
