// SPDX-License-Identifier: Apache-2.0

extension SourceRule {
    /// Cores are pure: no clock, no randomness of the system, no task, no lock, no output.
    ///
    /// What they need of these is an argument.
    static let coreRules: [SourceRule] = [
        .bans(
            "a core has no clock",
            ["Date()", "ContinuousClock", "SuspendingClock", "DispatchTime", "clock_gettime"],
            in: Paths.isCore,
            refuses: ["let now = Date()", "func f(now: Date = Date()) {}"],
            accepts: ["let then = Date(timeIntervalSince1970: 0)", "// Date() is banned"]
        ),
        coreReadsNoNow,
        .bans(
            "a core starts no task",
            ["Task", "TaskGroup", "withTaskGroup", "DispatchQueue", "Thread"],
            in: Paths.isCore,
            refuses: ["func f() { Task { g() } }", "try Task.checkCancellation()"],
            accepts: ["let name = \"Task\"", "struct TaskList {}"]
        ),
        .bans(
            "a core is synchronous",
            ["async", "await"],
            // Path building of swift-certificates is asynchronous; once per connection or authority.
            in: { path in
                Paths.isCore(path)
                    && !["AuthorityPath", "PeerVerifier", "UpstreamChain"].contains {
                        path.hasSuffix("/\($0).swift")
                    }
            },
            refuses: ["func f() async {}", "let a = \"\\(await g())\""],
            accepts: ["// async", "let text = \"async\""]
        ),
        .bans(
            "a core writes no log",
            ["print(", "debugPrint(", "dump(", "Logger", "NSLog", "stderr", "stdout"],
            in: Paths.isCore,
            refuses: ["print(1)", "func f() { print(\"\") }", "let log: Logger"],
            accepts: ["func sprint(to: Int) {}", "let print = 1"]
        ),
        .bans(
            "a core holds no lock",
            ["Mutex", "NSLock", "Atomic", "NIOLock", "NIOLockedValueBox", "OSAllocatedUnfairLock"],
            in: Paths.isCore,
            refuses: ["let state = Mutex(0)"],
            accepts: ["// a Mutex around this machine", "let mutex = 1"]
        ),
        .bans(
            "a core does no I/O",
            ["FileManager", "FileHandle", "ProcessInfo", "getenv", "Bundle.main", "URLSession"],
            in: Paths.isCore,
            refuses: ["FileManager.default.createFile(atPath: path, contents: nil)"],
            accepts: ["struct FileHandles {}"]
        ),
        .bans(
            "a core has no unsafe code",
            ["unsafe", "@unsafe"],
            in: Paths.isCore,
            refuses: ["let a = unsafe b", "nonisolated(unsafe) var a = 1"],
            accepts: ["// unsafe", "let unsafeNames = 1"]
        ),
        coreDrawsNothing,
        coreImportsNoSystem,
    ]

    private static let coreReadsNoNow = SourceRule(
        name: "a core reads no .now",
        applies: Paths.isCore,
        check: { source in
            source.places(of: ".now").compactMap { index in
                // `request.now` is a value somebody gave; `Date.now` and `.now` are clocks.
                if index > 0, source.tokens[index].joined {
                    let before = source.tokens[index - 1]
                    let isValue =
                        before.kind == .identifier && !(before.text.first?.isUppercase ?? true)
                    if isValue || [")", "]", "?", "!", "}"].contains(before.text) { return nil }
                }
                return Finding(source.tokens[index].line, "'.now' reads a clock")
            }
        },
        refuses: ["let a = Date.now", "f(at: .now)"],
        accepts: ["let a = input.now", "let b = inputs[0].now", "struct A { var now: Int }"]
    )

    private static let coreDrawsNothing = SourceRule(
        name: "a core draws no randomness of its own",
        // A key is drawn from the system's generator and from no other.
        applies: { Paths.isCore($0) && !$0.hasSuffix("/MemorySigner.swift") },
        check: { source in
            var findings: [Finding] = []
            let names = [
                "SystemRandomNumberGenerator", "arc4random", "getentropy", "getrandom", "UUID()",
                "PrivateKey()", "SymmetricKey(size:",
            ]
            for name in names {
                findings += source.places(of: name).map {
                    Finding(source.tokens[$0].line, "'\(name)' uses the system's randomness")
                }
            }
            for verb in ["random", "randomElement", "shuffle", "shuffled"] {
                for index in source.places(of: ".\(verb)(") {
                    let end = source.closing(of: index + 2) ?? source.tokens.count - 1
                    if !source.tokens[index...end].contains(where: { $0.text == "using" }) {
                        let line = source.tokens[index].line
                        findings.append(Finding(line, "'.\(verb)(' without 'using:'"))
                    }
                }
            }
            return findings
        },
        refuses: [
            "let a = Int.random(in: 0..<9)", "let b = list.shuffled()",
            "var g = SystemRandomNumberGenerator()", "let key = P256.Signing.PrivateKey()",
        ],
        accepts: [
            "let a = Int.random(in: 0..<9, using: &generator)",
            "let key = try PrivateKey(derBytes: bytes)",
        ]
    )

    private static let coreImportsNoSystem = SourceRule(
        name: "a core imports no Foundation and no system",
        applies: Paths.isCore,
        check: { source in
            let banned: Set<String> = [
                "CLinux", "Darwin", "Dispatch", "Foundation", "Glibc", "Logging", "Musl", "NIOCore",
                "NIOPosix", "Synchronization", "os",
            ]
            return source.imports.filter { banned.contains($0.module) }.map {
                Finding($0.line, "a core does not import \($0.module)")
            }
        },
        refuses: ["import Foundation", "package import struct Foundation.Date", "import Glibc"],
        accepts: ["import FoundationEssentials", "import struct FoundationEssentials.Date"]
    )
}
